"""What the check proposes where the configuration leaves it open."""

import json
import shlex

import numpy as np
import pytest
from check_helpers import MODEL, label_of, only, scan_of

from rareunet import Volume
from rareunet_training import check
from rareunet_training.check import proposals, summary
from rareunet_training.check.proposals import nearest_power_of_two
from rareunet_training.configuration import ModelConfig, read_config


@pytest.mark.parametrize(
    ("size", "power"), [(31, 32), (48, 32), (48.1, 64), (55, 64), (155, 128), (1, 1), (240, 256)]
)
def test_nearest_power_of_two(size, power):
    assert nearest_power_of_two(size) == power


def test_proposals(data):
    (data.folder / "dataset.json").write_text(json.dumps({"modality": {"0": "CT"}, "labels": {"3": "Rim"}}))
    for number in range(10):
        data.add(f"thin_{number}", scan_of(number, (16, 30, 34), spacing=(0.7, 0.7, 2.8)))
    data.add("coarse", scan_of(11, (16, 30, 34), spacing=(3, 3, 3)))
    report = data.check(ModelConfig(channels=[]))
    assert report.proposed_reference_spacing_mm == (0.7, 0.7, 0.7)
    assert report.proposed_patch == (64, 32, 32)  # of 0.7 mm: 16 slices of 2.8 mm are as thick as 64 of them
    assert report.proposed_channels == ("CT",)
    assert [(label.value, label.name) for label in report.proposed_labels] == [(1, "Label 1"), (3, "Rim")]
    assert len({label.color for label in report.proposed_labels}) == 2
    assert report.cases[0].volumes_ml.keys() == {"Label 1", "Rim"}
    named = data.check(MODEL)
    assert named.proposed_channels == named.proposed_labels == ()


def test_proposed_names_with_an_apostrophe_can_be_pasted_into_a_shell(data):
    (data.folder / "dataset.json").write_text(json.dumps({"labels": {"1": "Meckel's cave", "3": "Rim"}}))
    data.add("a", scan_of(0))
    report = data.check(ModelConfig())
    (line,) = (line for line in summary.proposals(report) if "labels" in line)
    config = read_config(None, shlex.split(line))
    assert config.model.label_names == ["Meckel's cave", "Rim"]


def test_patch_has_a_voxel_along_the_thinnest_axis():
    thin = check.CaseFacts(name="a", shape=(2, 32, 32), spacing_mm=(0.1, 1.0, 1.0))
    assert proposals.propose_patch([thin], (1, 1, 1)) == (1, 32, 32)


def test_label_value_that_no_bundle_can_name_is_not_proposed(data):
    label = label_of(scan_of(), 1).voxels.astype(np.int32)
    label[..., -1] = 70000
    data.add("a", scan_of(), Volume(label, np.eye(4)))
    report = data.check(ModelConfig())
    assert "label values [70000]" in only(report).message
    assert [found.value for found in report.proposed_labels] == [1]


def test_nothing_readable_proposes_nothing(data):
    data.add("a")
    (data.folder / "images" / "a.nii.gz").write_text("a report")
    report = data.check()
    assert report.proposed_patch is report.proposed_reference_spacing_mm is None
