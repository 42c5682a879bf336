"""A checkpoint of the published code gives the same logits here, at every entry.

The expected logits come from a walk written out in plain functional calls on the published names, in the
published (x, y, z) order. Where RAREUNET_PUBLISHED_CODE names a checkout of
https://github.com/simonwinther/RARE-UNet, its own classes are held against the import too (needs omegaconf).
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch.nn import functional

from rareunet.bundle import Bundle
from rareunet.errors import BundleError
from rareunet.predictor import Predictor
from rareunet.published_checkpoint import import_checkpoint
from rareunet.volume import Volume

DEPTH, FILTERS, SHAPE = 5, 4, (32, 64, 32)


def published_config(**changes: object) -> dict:
    """What the published code writes beside a checkpoint, as far as it matters here."""
    architecture = {
        "path": {"_target_": "models.rare_unet.RAREUNet"},
        "pp": "rare",
        "name": "rare_unet",
        "depth": DEPTH,
        "n_filters": FILTERS,
        "dropout": 0.2,
        "norm_type": "instance",
        "activation_type": "leaky_relu",
        "num_multiscale_levels": 3,
    }
    dataset = {"name": "Hippocampus", "target_shape": list(SHAPE), "num_classes": 3, "in_channels": 1}
    for key, value in changes.items():
        section = architecture if key in architecture or key == "n_gate_blocks" else dataset
        section[key] = value
    others = {
        "wandb": {"group": "${dataset.name}"},
        "training": {"loss": {"_target_": "utils.losses.${..name}"}},
    }
    return {"architecture": architecture, "dataset": dataset, **others}


def width(stage: int, filters: int = FILTERS) -> int:
    return min(filters * 2**stage, 320)


def published_weights(levels: int = 3, gate_blocks: int = 2, channels: int = 1, classes: int = 3) -> dict:
    """Random weights with the published names and shapes."""
    torch.manual_seed(0)
    weights: dict[str, torch.Tensor] = {}

    def add(name: str, *shape: int) -> None:
        fan = max(1, int(np.prod(shape[1:])))
        weights[f"{name}.weight"] = torch.randn(*shape) * (2 / fan) ** 0.5
        outputs = shape[1] if "up_convs" in name else shape[0]
        weights[f"{name}.bias"] = torch.randn(outputs) * 0.1

    def add_block(name: str, inputs: int, outputs: int, repeats: int) -> None:
        for i in range(repeats):
            add(f"{name}.conv.{3 * i}", outputs, inputs if i == 0 else outputs, 3, 3, 3)
            weights[f"{name}.conv.{3 * i + 1}.weight"] = 1 + torch.randn(outputs) * 0.2
            weights[f"{name}.conv.{3 * i + 1}.bias"] = torch.randn(outputs) * 0.2

    for k in range(DEPTH):
        add_block(f"encoders.{k}", channels if k == 0 else width(k - 1), width(k), 2)
    add_block("bn", width(DEPTH - 1), width(DEPTH), 2)
    for i, k in enumerate(reversed(range(DEPTH))):
        add(f"up_convs.{i}", width(k + 1), width(k), 3, 3, 3)
        add_block(f"decoders.{i}", 2 * width(k), width(k), 1)
    for d in range(1, levels + 1):
        add_block(f"msb_blocks.{d - 1}", channels, width(d), gate_blocks)
        add(f"ms_heads.{d - 1}", classes, width(d), 1, 1, 1)
    add("final_conv", classes, width(0), 1, 1, 1)
    return weights


def published_logits(weights: dict, image: torch.Tensor, entry: int) -> torch.Tensor:
    """The paper's network on (B, C, X, Y, Z), without dropout."""

    def layer(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        return weights[f"{name}.weight"], weights[f"{name}.bias"]

    def block(name: str, features: torch.Tensor) -> torch.Tensor:
        index = 0
        while f"{name}.conv.{index}.weight" in weights:
            features = functional.conv3d(features, *layer(f"{name}.conv.{index}"), padding=1)
            scale, shift = layer(f"{name}.conv.{index + 1}")
            features = functional.leaky_relu(
                functional.instance_norm(features, weight=scale, bias=shift), 0.01
            )
            index += 3
        return features

    features, skips = image, []
    for k in range(entry, DEPTH):
        gate = k == entry and entry > 0
        features = block(f"msb_blocks.{entry - 1}" if gate else f"encoders.{k}", features)
        skips.append(features)
        features = functional.max_pool3d(features, 2)
    features = block("bn", features)
    for i in range(DEPTH - entry):
        up = functional.conv_transpose3d(
            features, *layer(f"up_convs.{i}"), stride=2, padding=1, output_padding=1
        )
        features = block(f"decoders.{i}", torch.cat([up, skips.pop()], dim=1))
    return functional.conv3d(features, *layer(f"ms_heads.{entry - 1}" if entry else "final_conv"))


@pytest.fixture
def files(tmp_path):
    """Writes a checkpoint and its config; returns what import_checkpoint takes."""

    def write(content: object, config: dict | None = None) -> tuple[Path, Path, Path]:
        checkpoint, settings = tmp_path / "best_model.pth", tmp_path / "config.yaml"
        torch.save(content, checkpoint)
        settings.write_text(yaml.safe_dump(published_config() if config is None else config))
        return checkpoint, settings, tmp_path / "imported"

    return write


def training_checkpoint(weights: dict, prefix: str = "") -> dict:
    return {
        "epoch": 17,
        "model_state_dict": {prefix + name: tensor for name, tensor in weights.items()},
        "optimizer_state_dict": {"state": {}, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999)}]},
        "config": published_config(),
        "best_metric": 0.83,
    }


def largest_difference(bundle: Bundle, expected, entry: int, shape=SHAPE, channels: int = 1) -> float:
    """Between the imported network and `expected`, both on one random image in its own axis order."""
    torch.manual_seed(entry)
    image = torch.rand(1, channels, *(n // 2**entry for n in shape))
    with torch.inference_mode():
        logits = bundle.load_network()(image.permute(0, 1, 4, 3, 2), (entry,) * 3).logits
        return float((logits.permute(0, 1, 4, 3, 2) - expected(image)).abs().max())


def test_logits_equal_the_published_ones_at_every_entry(files):
    weights = published_weights()
    bundle = Bundle.load(import_checkpoint(*files(training_checkpoint(weights))).folder)
    for entry in range(4):
        difference = largest_difference(bundle, lambda x, d=entry: published_logits(weights, x, d), entry)
        assert difference < 1e-4, f"entry {entry}"


@pytest.mark.parametrize("kind", ["distributed", "bare", "half"])
def test_other_ways_of_saving_give_the_same_network(files, kind):
    weights = {name: tensor.half().float() for name, tensor in published_weights().items()}
    expected = import_checkpoint(*files(training_checkpoint(weights))).load_network().state_dict()
    other = {
        "distributed": training_checkpoint(weights, prefix="module."),
        "bare": weights,
        "half": {name: tensor.half() for name, tensor in weights.items()},
    }[kind]
    for name, tensor in import_checkpoint(*files(other)).load_network().state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_a_wrong_axis_order_would_be_noticed(files):
    """The comparison above can fail: an image that is not transposed gives other logits."""
    weights = published_weights()
    network = import_checkpoint(*files(weights)).load_network()
    image = torch.rand(1, 1, *SHAPE)
    with torch.inference_mode():
        difference = network(image, (0, 0, 0)).logits - published_logits(weights, image, 0)
    assert difference.abs().max() > 1e-2


def test_other_channels_classes_levels_and_gate_blocks(files):
    weights = published_weights(levels=2, gate_blocks=1, channels=4, classes=4)
    config = published_config(num_multiscale_levels=2, n_gate_blocks=1, in_channels=4, num_classes=4)
    bundle = import_checkpoint(*files(weights, config))
    assert bundle.deepest == 2
    for entry in range(3):
        difference = largest_difference(
            bundle, lambda x, d=entry: published_logits(weights, x, d), entry, channels=4
        )
        assert difference < 1e-4, f"entry {entry}"


def test_levels_default_to_all_below_the_bottleneck(files):
    config = published_config()
    del config["architecture"]["num_multiscale_levels"]
    assert import_checkpoint(*files(published_weights(levels=DEPTH - 1), config)).deepest == DEPTH - 1


def test_baseline_without_gateways(files):
    config = published_config(pp="unet", name="bb")
    weights = published_weights(levels=0)
    bundle = import_checkpoint(*files(training_checkpoint(weights), config))
    assert bundle.deepest == 0
    assert not bundle.learnt_displaced
    assert largest_difference(bundle, lambda x: published_logits(weights, x, 0), 0) < 1e-4


def test_the_bundle_says_what_it_is(files):
    bundle = import_checkpoint(
        *files(training_checkpoint(published_weights())), labels=["anterior", "posterior"]
    )
    loaded = Bundle.load(bundle.folder)
    assert loaded.name == "rare-unet-hippocampus"
    assert loaded.reference_spacing_mm == (1, 1, 1)
    assert loaded.field_of_view_mm["largest"] == (32, 64, 32)
    assert [(label.value, label.name) for label in loaded.labels] == [(1, "anterior"), (2, "posterior")]
    assert loaded.training["epoch"] == 17
    volume = Volume(np.random.default_rng(0).normal(size=(20, 30, 20)), np.eye(4))
    assert Predictor(loaded, "cpu").predict(volume).label_map.shape == (20, 30, 20)
    assert loaded.learnt_displaced


def test_labels_are_numbered_if_not_named(files):
    bundle = import_checkpoint(*files(published_weights()), name="mine")
    assert bundle.name == "mine"
    assert [label.name for label in bundle.labels] == ["Label 1", "Label 2"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ["one"]}, "the model has 2"),
        ({"labels": ["a", ""]}, "a name of its own"),
        ({"labels": ["a", "a"]}, "a name of its own"),
        ({"name": "A B"}, "name 'A B'"),
    ],
)
def test_wrong_names_are_refused(files, options, message):
    arguments = files(published_weights())
    with pytest.raises(ValueError, match=message):
        import_checkpoint(*arguments, **options)
    assert not arguments[2].exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm_type": "batch"}, "norm_type is 'batch': only 'instance'"),
        ({"activation_type": "gelu"}, "activation_type is 'gelu': only 'leaky_relu'"),
        ({"num_classes": 1}, "num_classes is 1"),
        ({"n_filters": "${dataset.filters}"}, "n_filters is '\\${dataset.filters}': write a whole number"),
        ({"num_multiscale_levels": 5}, "5 gateways need more than 5 stages"),
        ({"target_shape": [32, 64]}, "target_shape"),
    ],
)
def test_configuration_that_can_not_be_imported(files, changes, message):
    arguments = files(published_weights(), published_config(**changes))
    with pytest.raises(ValueError, match=message):
        import_checkpoint(*arguments)
    assert not arguments[2].exists()


@pytest.mark.parametrize("text", ["- a list", "architecture: 3\n", "a: [", "\x00"])
def test_file_that_is_no_configuration(files, text):
    checkpoint, settings, output = files(published_weights())
    settings.write_text(text)
    with pytest.raises(ValueError, match=r"config\.yaml"):
        import_checkpoint(checkpoint, settings, output)


def test_missing_surplus_and_misshapen_weights_are_listed(files):
    weights = published_weights()
    del weights["bn.conv.3.bias"]
    weights["decoders.0.conv.3.weight"] = torch.zeros(2)
    weights["final_conv.bias"] = torch.zeros(7)
    with pytest.raises(BundleError) as error:
        import_checkpoint(*files(weights))
    message = str(error.value)
    assert "1 missing: bn.conv.3.bias" in message
    assert "1 not known: decoders.0.conv.3.weight" in message
    assert "final_conv.bias (7,) instead of (3,)" in message


def test_baseline_configuration_with_gateway_weights_is_refused(files):
    with pytest.raises(BundleError, match=r"not known: ms_heads\.0\.bias"):
        import_checkpoint(*files(published_weights(), published_config(pp="unet")))


class Trap:
    """Unpickling it calls a function."""

    def __reduce__(self):
        return (os.mkdir, ("trapped",))


def test_code_in_a_checkpoint_is_not_run(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        BundleError, match=r"values \(\S*mkdir\): loading it could run code.*model_state_dict"
    ):
        import_checkpoint(*files({"model_state_dict": published_weights(), "extra": Trap()}))
    assert not Path("trapped").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a checkpoint",
        b"PK\x03\x04 cut off",
        bytes(200),
        b"<!DOCTYPE html>",
        b"version https://git-lfs",
    ],
)
def test_file_that_is_no_checkpoint(files, content):
    checkpoint, settings, output = files(published_weights())
    checkpoint.write_bytes(content)
    with pytest.raises(BundleError, match=r"best_model\.pth is damaged or not a PyTorch checkpoint"):
        import_checkpoint(checkpoint, settings, output)


@pytest.mark.parametrize(
    "content", [[1, 2], {}, {"epoch": 3}, {"model_state_dict": {}}, {"model_state_dict": 5}]
)
def test_checkpoint_without_weights(files, content):
    with pytest.raises(BundleError, match="checkpoint"):
        import_checkpoint(*files(content))


@pytest.mark.parametrize("baseline", [False, True])
def test_the_published_classes_themselves(files, baseline, monkeypatch):
    folder = os.environ.get("RAREUNET_PUBLISHED_CODE")
    if not folder:
        pytest.skip("RAREUNET_PUBLISHED_CODE names no checkout of the published code")
    omegaconf = pytest.importorskip("omegaconf")
    monkeypatch.syspath_prepend(folder)
    for name in [n for n in sys.modules if n.split(".")[0] == "models"]:
        monkeypatch.delitem(sys.modules, name)
    names = ("models.unet", "UNet3D") if baseline else ("models.rare_unet", "RAREUNet")
    config = published_config(**({"pp": "unet", "name": "bb"} if baseline else {}))
    torch.manual_seed(5)
    original = getattr(importlib.import_module(names[0]), names[1])(omegaconf.OmegaConf.create(config)).eval()
    with torch.no_grad():
        for parameter in original.parameters():  # norms start as 1 and 0, which would hide a mix-up
            parameter.add_(torch.randn_like(parameter) * 0.05)
    content = {**training_checkpoint(original.state_dict()), "config": config}
    bundle = import_checkpoint(*files(content, config))
    original.mode = "inference"
    for entry in range(1 if baseline else 4):
        difference = largest_difference(bundle, original, entry)
        print(f"{names[1]} entry {entry}: largest difference {difference:.2e}")
        assert difference < 1e-4


def test_without_an_output_the_bundle_takes_its_own_name(files, tmp_path, monkeypatch):
    checkpoint, settings, _ = files(published_weights())
    monkeypatch.chdir(tmp_path)
    bundle = import_checkpoint(checkpoint, settings)
    assert bundle.folder == Path(bundle.name)
    assert Bundle.load(tmp_path / bundle.name).name == bundle.name
