"""Turns a checkpoint of the published RARE-UNet code into a bundle.

The published code stores arrays as (C, X, Y, Z), this project as (C, Z, Y, X): the kernels are transposed.
Source of the names: models/rare_unet.py, models/unet.py and utils/checkpoint_handler.py of
https://github.com/simonwinther/RARE-UNet.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rareunet.architecture import Architecture
from rareunet.bundle import Bundle, Label
from rareunet.errors import BundleError, first_line
from rareunet.intensity import IntensityRule
from rareunet.network import RAREUNet
from rareunet.wording import some

MAX_FILTERS = 320  # fixed in the published code
COLORS = ((128, 174, 128), (241, 214, 145), (177, 122, 101), (111, 184, 210), (216, 101, 79), (221, 130, 101))
SECTIONS = ("architecture", "dataset")  # of config.yaml; the others do not shape the network
LISTED = 8  # names in one message


def import_checkpoint(
    checkpoint: str | Path,
    config: str | Path,
    output: str | Path | None = None,
    *,
    name: str | None = None,
    labels: Sequence[str] | None = None,
) -> Bundle:
    """Writes a bundle with the weights of a published checkpoint, as float32.

    Args:
        checkpoint: .pth file; a training checkpoint or a bare state dict.
        config: the config.yaml that the published code saves beside it.
        output: the bundle's folder; one of the bundle's name in the working folder if not given.
        name: name of the bundle; from the data set's name if not given.
        labels: names of the foreground classes; "Label 1", ... if not given.

    Raises:
        BundleError: the checkpoint is not readable as plain tensors, or does not fit the configuration.
        ValueError: the configuration asks for what this network does not have.
        OSError: a file can't be read or written.
    """
    settings = read_config(Path(config))
    architecture = architecture_of(settings)
    content = load_plain(Path(checkpoint))
    network = RAREUNet(architecture)
    network.load_state_dict(convert(state_dict_of(content), network))
    training = _provenance(content, Path(checkpoint), settings)
    if architecture.gateways:  # a training here would note the protocol so
        training["settings"] = {"fit": {"protocol": "published"}}
    bundle = _describe(settings, architecture, name, labels, training)
    return bundle.save(bundle.name if output is None else output, network, half=False)


def read_config(path: Path) -> dict[str, dict[str, Any]]:
    """The sections `architecture` and `dataset` of a config.yaml."""
    try:
        import yaml
    except ImportError:
        raise ValueError("reading config.yaml needs PyYAML: run `python -m pip install pyyaml`.") from None
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    content = content if isinstance(content, dict) else {}
    missing = [key for key in SECTIONS if not isinstance(content.get(key), dict)]
    if missing:
        raise ValueError(f"{path} has no section {' and '.join(missing)}: give the checkpoint's config.yaml.")
    return {key: content[key] for key in SECTIONS}


def architecture_of(settings: Mapping[str, Mapping[str, Any]]) -> Architecture:
    """The network that these settings build; ValueError where one of its layers is not known here."""
    network, data = settings["architecture"], settings["dataset"]
    for key, supported in (("norm_type", "instance"), ("activation_type", "leaky_relu")):
        if str(network.get(key)).lower() != supported:
            raise ValueError(
                f"architecture.{key} is {network.get(key)!r}: only {supported!r} can be imported."
            )
    classes = _number(data, "dataset", "num_classes")
    if classes < 2:
        raise ValueError("dataset.num_classes is 1: at least 2, background and one structure, are needed.")
    depth = _number(network, "architecture", "depth")
    plain = "unet" in (network.get("name"), network.get("pp"))
    gateways = 0 if plain else _number(network, "architecture", "num_multiscale_levels", depth - 1)
    return Architecture(
        in_channels=_number(data, "dataset", "in_channels"),
        classes=classes,
        stages=depth,
        filters=_number(network, "architecture", "n_filters"),
        max_filters=MAX_FILTERS,
        gateways=gateways,
        gateway_convolutions=_number(network, "architecture", "n_gate_blocks", 2),
        encoder_convolutions=2,
        decoder_convolutions=1,
        dropout=float(network.get("dropout") or 0),
    )


def _number(section: Mapping[str, Any], title: str, key: str, default: int | None = None) -> int:
    value = section.get(key)
    value = default if value is None else value
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{title}.{key} is {value!r}: write a whole number into the config.yaml.")
    return value


def load_plain(path: Path) -> dict[str, Any]:
    """Reads a .pth without running any code in it; BundleError if it is damaged or holds code."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not (named := re.search(r"GLOBAL (\S+)", str(error))):
            raise BundleError(
                f"{path} is damaged or not a PyTorch checkpoint (a web page, a pointer of Git LFS?): download or copy"
                " it again."
            ) from None
        raise BundleError(
            f"{path} holds more than tensors and plain values ({named[1]}): loading it could run code. Save its"
            " 'model_state_dict' alone with torch.save where it was trained, and import that."
        ) from None
    except OSError:  # there is none, or it may not be read: the message says which
        raise
    except Exception as error:  # torch raises many kinds for a damaged file
        raise BundleError(f"{path} is damaged or not a PyTorch checkpoint ({first_line(error)}).") from None
    if not isinstance(content, dict):
        raise BundleError(f"{path} holds a {type(content).__name__}: a checkpoint or a state dict is needed.")
    return content


def state_dict_of(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of a checkpoint or bare state dict, without the prefix of distributed training."""
    weights = content.get("model_state_dict", content)
    others = (
        [str(k) for k, v in weights.items() if not isinstance(v, Tensor)]
        if isinstance(weights, Mapping)
        else ["?"]
    )
    if others or not weights:
        raise BundleError(
            f"the checkpoint has no 'model_state_dict' and is none itself ({some(others, LISTED) or 'empty'}):"
            " give best_model.pth or last_model.pth of the published code."
        )
    return {key.removeprefix("module."): tensor for key, tensor in weights.items()}


def convert(published: Mapping[str, Tensor], network: RAREUNet) -> dict[str, Tensor]:
    """Published weights (x, y, z kernels) -> the network's state dict (z, y, x kernels).

    Raises:
        BundleError: a weight is missing, left over or of another shape; the message lists them.
    """
    ours = network.state_dict()
    names = {key: published_name(key, network.architecture.stages) for key in ours}
    missing = sorted(set(names.values()) - set(published))
    surplus = sorted(set(published) - set(names.values()))
    weights = {key: published[name].float() for key, name in names.items() if name in published}
    converted = {
        key: w.permute(0, 1, 4, 3, 2).contiguous() if w.ndim == 5 else w for key, w in weights.items()
    }
    shapes = [
        f"{names[key]} {tuple(published[names[key]].shape)} instead of {tuple(ours[key].shape)}"
        for key, tensor in converted.items()
        if tensor.shape != ours[key].shape
    ]
    found = [("missing", missing), ("not known", surplus), ("of another shape", shapes)]
    problems = [f"{len(items)} {what}: {some(items, LISTED)}" for what, items in found if items]
    if problems:
        raise BundleError(
            f"the checkpoint does not fit its configuration. Weights {'; '.join(problems)}."
            " Give the config.yaml that was saved beside this checkpoint."
        )
    return converted


def published_name(key: str, stages: int) -> str:
    """The published name of one of our weights, e.g. encoder.2.norms.1.bias -> encoders.2.conv.4.bias."""
    *module, kind = key.split(".")
    if module[0] == "heads":
        return f"final_conv.{kind}" if module[1] == "0" else f"ms_heads.{int(module[1]) - 1}.{kind}"
    if module[0] == "upsamplers":  # theirs begin at the deepest stage
        return f"up_convs.{stages - 1 - int(module[1])}.{kind}"
    # Their blocks count convolution, norm and activation in one sequence.
    layer = 3 * int(module[-1]) + (1 if module[-2] == "norms" else 0)
    block = {
        "encoder": lambda: f"encoders.{module[1]}",
        "bottleneck": lambda: "bn",
        "gateways": lambda: f"msb_blocks.{int(module[1]) - 1}",
        "decoder": lambda: f"decoders.{stages - 1 - int(module[1])}",
    }[module[0]]()
    return f"{block}.conv.{layer}.{kind}"


def _describe(
    settings: Mapping[str, Mapping[str, Any]],
    architecture: Architecture,
    name: str | None,
    labels: Sequence[str] | None,
    training: dict[str, Any],
) -> Bundle:
    data = str(settings["dataset"].get("name") or "published")
    name = name or re.sub(r"[^a-z0-9_.-]+", "-", f"rare-unet-{data}".lower()).strip("-")
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", name):
        raise ValueError(
            f"name {name!r}: use small letters, digits, '_', '.' and '-', a letter or digit first."
        )
    structures = architecture.classes - 1
    labels = [f"Label {i + 1}" for i in range(structures)] if labels is None else labels
    if len(labels) != structures or not all(labels) or len(set(labels)) < structures:
        raise ValueError(
            f"labels {', '.join(labels)!r}: the model has {structures}, give each a name of its own."
        )
    return Bundle(
        name=name,
        title=f"RARE-UNet, {data} (published code)",
        description="Imported from a checkpoint of the published RARE-UNet code.",
        version="1.0.0",
        license="as the checkpoint's",
        architecture=architecture,
        reference_spacing_mm=(1.0, 1.0, 1.0),
        channels=tuple({"name": f"Channel {i + 1}"} for i in range(architecture.in_channels)),
        labels=tuple(Label(i + 1, label, COLORS[i % len(COLORS)]) for i, label in enumerate(labels)),
        intensity=IntensityRule(),
        field_of_view_mm=_field_of_view(settings["dataset"]),
        training=training,
    )


def _field_of_view(data: Mapping[str, Any]) -> dict[str, tuple[float, float, float]]:
    """Every training scan was cropped or padded to target_shape (x, y, z) at 1 mm."""
    shape = data.get("target_shape")
    if not isinstance(shape, list) or len(shape) != 3 or not all(isinstance(n, int) and n > 0 for n in shape):
        raise ValueError(f"dataset.target_shape is {shape!r}: three whole numbers (x, y, z) are needed.")
    x, y, z = map(float, shape)
    return {"smallest": (z, y, x), "largest": (z, y, x)}


def _provenance(
    content: Mapping[str, Any], path: Path, settings: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    facts: dict[str, Any] = {"source": "https://github.com/simonwinther/RARE-UNet", "file": path.name}
    known = {key: content.get(key) for key in ("epoch", "best_metric")}
    facts |= {key: value for key, value in known.items() if isinstance(value, int | float)}
    return {**facts, "dataset": str(settings["dataset"].get("name"))}
