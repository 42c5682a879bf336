"""Bundles: what is saved comes back; whatever is damaged is refused; saving never harms what was there."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from rareunet.bundle import Bundle, Label
from rareunet.bundle_format import LARGEST_LABEL, write_hashes
from rareunet.errors import BundleError
from rareunet.network import Architecture, RAREUNet


def rewrite(bundle: Bundle, **changes: object) -> None:
    """Changes bundle.json and its hash, as someone would who knows the format."""
    path = bundle.folder / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}))
    write_hashes(bundle.folder)


def test_comes_back_as_it_was_saved(tiny_bundle):
    loaded = Bundle.load(tiny_bundle.folder)
    assert loaded.to_json() == tiny_bundle.to_json()
    assert [label.value for label in loaded.labels] == [5, 9]
    assert loaded.architecture.stages == 4
    assert loaded.deepest == 3
    assert len(loaded.sha256) == 64


def test_bundle_of_an_earlier_version_wants_turned_scans_straightened(tiny_bundle):
    description = tiny_bundle.to_json()
    del description["straighten_turned"]
    assert Bundle.from_json(description).straighten_turned
    assert not Bundle.from_json({**description, "straighten_turned": False}).straighten_turned


def test_weights_come_back_within_half_precision(make_bundle, tiny_architecture):
    bundle = make_bundle()
    torch.manual_seed(1)
    expected = RAREUNet(tiny_architecture).state_dict()["encoder.0.convolutions.0.weight"]
    network = bundle.load_network()
    found = network.state_dict()["encoder.0.convolutions.0.weight"]
    assert found.dtype == torch.float32
    assert not network.training
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_full_precision_is_exact(tmp_path, tiny_bundle, tiny_architecture):
    network = RAREUNet(tiny_architecture)
    saved = tiny_bundle.save(tmp_path / "exact", network, half=False)
    for name, tensor in saved.load_network().state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name]), name


@pytest.mark.parametrize("name", ["bundle.json", "weights.safetensors"])
def test_one_changed_byte_is_found(tiny_bundle, name):
    path = tiny_bundle.folder / name
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} does not match its SHA-256"):
        Bundle.load(tiny_bundle.folder)


@pytest.mark.parametrize("name", ["weights.safetensors", "SHA256SUMS"])
def test_missing_file_is_named(tiny_bundle, name):
    (tiny_bundle.folder / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        Bundle.load(tiny_bundle.folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format 1"),
        ({"surprise": 1}, "format 1"),
        ({"version": "first"}, "version"),
        ({"reference_spacing_mm": [1, 0, 1]}, "reference_spacing_mm"),
        ({"channels": []}, "channels"),
        ({"depths": [0, 2]}, "entry depths"),
        ({"depths": [0, 1, 2, 3, 4]}, "entry depths"),
        ({"intensity": {"lower_percentile": 60, "upper_percentile": 40}}, "percentiles"),
        ({"channels": [{"name": "a"}, {"name": "b"}]}, "1 input channels but names for 2"),
        ({"labels": [{"value": 1, "name": "one", "color": [0, 0, 0]}]}, "3 classes"),
        (
            {"labels": [{"value": 1, "name": n, "color": [0, 0, 0]} for n in "ab"]},
            "one label of its own number",
        ),
    ],
)
def test_wrong_description_is_refused(tiny_bundle, changes, message):
    rewrite(tiny_bundle, **changes)
    for read in (Bundle.load, Bundle.read):
        with pytest.raises(BundleError, match=message):
            read(tiny_bundle.folder)


@pytest.mark.parametrize("value", [LARGEST_LABEL, LARGEST_LABEL + 1])
def test_the_schema_knows_the_largest_label(make_bundle, value):
    labels = (Label(5, "five", (255, 0, 0)), Label(value, "largest", (0, 255, 0)))
    if value <= LARGEST_LABEL:
        assert make_bundle(labels=labels).labels[1].value == value
    else:
        with pytest.raises(BundleError, match=str(LARGEST_LABEL)):
            make_bundle(labels=labels)


def test_depth_that_was_not_trained_is_not_entered(tiny_bundle):
    rewrite(tiny_bundle, depths=[0, 1])
    assert Bundle.load(tiny_bundle.folder).deepest == 1


def test_gateways_need_as_many_stages(tiny_bundle):
    rewrite(
        tiny_bundle,
        architecture={**asdict(tiny_bundle.architecture), "gateways": tiny_bundle.architecture.stages},
    )
    with pytest.raises(BundleError, match="gateways need more than"):
        Bundle.load(tiny_bundle.folder)


def test_not_json_is_refused(tiny_bundle):
    (tiny_bundle.folder / "bundle.json").write_text("{")
    write_hashes(tiny_bundle.folder)
    with pytest.raises(BundleError, match="not JSON"):
        Bundle.load(tiny_bundle.folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": 5},
        {"labels": [{"name": "a"}]},
        {"depths": 1},
        {"reference_spacing_mm": [1, 1]},
        {"reference_spacing_mm": ["fine", 1, 1]},
        {"architecture": {"stages": "many"}},
        {"surprise": 1},
    ],
)
def test_a_description_is_read_before_the_package_that_checks_it_is_there(tiny_bundle, monkeypatch, changes):
    """Nor are the weights looked at; what can't be read is told the same way."""
    monkeypatch.setitem(sys.modules, "fastjsonschema", None)
    (tiny_bundle.folder / "weights.safetensors").unlink()
    read = Bundle.read(tiny_bundle.folder)
    assert (read.structure_names, read.channel_names) == (("five", "nine"), ("channel 0",))
    (tiny_bundle.folder / "bundle.json").write_text(json.dumps({**tiny_bundle.to_json(), **changes}))
    with pytest.raises(BundleError, match="is not a model description"):
        Bundle.read(tiny_bundle.folder)


def test_weights_of_another_network_are_refused(tiny_bundle):
    rewrite(tiny_bundle, architecture={**asdict(tiny_bundle.architecture), "filters": 3})
    with pytest.raises(BundleError, match="weights do not fit"):
        Bundle.load(tiny_bundle.folder).load_network()


def test_saving_again_replaces(tiny_bundle, make_bundle):
    again = make_bundle(version="0.2.0")
    assert Bundle.load(again.folder).version == "0.2.0"
    assert sorted(p.name for p in again.folder.parent.iterdir()) == ["tiny"]


def test_failed_save_keeps_the_old_one(tiny_bundle, make_bundle, monkeypatch):
    real = os.replace

    def fail_for_the_new(source, target):
        if Path(target) == tiny_bundle.folder and "-old-" not in str(source):
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", fail_for_the_new)
    with pytest.raises(OSError, match="No space"):
        make_bundle(version="0.2.0")
    assert Bundle.load(tiny_bundle.folder).version == "0.1.0"
    assert sorted(p.name for p in tiny_bundle.folder.parent.iterdir()) == ["tiny"]


def test_full_disk_while_writing_weights_keeps_the_old_one(tiny_bundle, make_bundle, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="No space"):
        make_bundle(version="0.2.0")
    assert Bundle.load(tiny_bundle.folder).version == "0.1.0"


def test_a_folder_with_other_files_is_not_replaced(tmp_path, tiny_bundle, tiny_architecture):
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "letter.txt").write_text("dear")
    with pytest.raises(BundleError, match=r"letter\.txt"):
        tiny_bundle.save(folder, RAREUNet(tiny_architecture))
    assert (folder / "letter.txt").read_text(encoding="utf-8") == "dear"


def test_a_bundle_is_saved_to_the_working_folder(tmp_path, tiny_bundle, tiny_architecture, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    saved = tiny_bundle.save(".", RAREUNet(tiny_architecture))
    assert str(saved.folder) == "."
    assert Bundle.load(tmp_path / "mine").name == tiny_bundle.name


def test_unsaved_bundle_has_no_weights(tiny_bundle):
    with pytest.raises(BundleError, match="not been saved"):
        replace(tiny_bundle, folder=None).load_network()


@pytest.mark.parametrize(
    "training", [{}, {"data": "the scans of our hospital"}, {"data": {"fold": "two"}}], ids=str
)
def test_a_maker_may_tell_of_the_training_what_he_likes(tiny_bundle, training):
    bundle = replace(tiny_bundle, training=training)
    assert (bundle.held_out_fold, bundle.case_hashes, bundle.learnt_displaced) == (None, frozenset(), False)


def test_published_preset_is_a_valid_description(make_bundle):
    small = Architecture(classes=3, stages=5, filters=2, gateways=4)
    assert make_bundle("deep", small).deepest == 4


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])  # float16 ends at 65504
def test_weights_that_would_find_nothing_are_not_saved(tmp_path, tiny_bundle, value):
    network = tiny_bundle.load_network()
    with torch.no_grad():
        next(network.parameters()).flatten()[0] = value
    with pytest.raises(BundleError, match="NaN, infinite or too large"):
        tiny_bundle.save(tmp_path / "new", network)
    assert not (tmp_path / "new").exists()
