"""Names of structures in Slicer's .seg.nrrd."""

import json

import pytest
import SimpleITK as sitk
from check_helpers import label_of, scan_of

from rareunet.volume_files import write_volume
from rareunet_training import check
from rareunet_training.configuration import ModelConfig


def write_segmentation(data, name, names):
    """A case whose label map is Slicer's: one voxel of each value, named in the header."""
    scan = scan_of(len(list((data.folder / "images").iterdir())))
    write_volume(data.folder / "images" / f"{name}.nii", scan)
    label = sitk.GetImageFromArray(label_of(scan, *names).voxels[0])
    label.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    for number, (value, called) in enumerate(names.items()):
        label.SetMetaData(f"Segment{number}_Name", called)
        label.SetMetaData(f"Segment{number}_LabelValue", str(value))
    sitk.WriteImage(label, str(data.folder / "labels" / f"{name}.seg.nrrd"))


def test_names_of_segments_are_proposed(data):
    write_segmentation(data, "a", {2: "Leber über", 1: "Milz "})
    twice = {1: "milz", 2: "Leber über", 4: "Leber über"}  # 4 can't have that name too
    write_segmentation(data, "b", twice)
    report = data.check(ModelConfig(channels=[]))
    assert report.findings == ()
    assert [(x.value, x.name) for x in report.proposed_labels] == [
        (1, "Milz"),
        (2, "Leber über"),
        (4, "Label 4"),
    ]
    assert check.CheckReport.from_json(report.to_json()) == report


@pytest.mark.parametrize(
    ("others", "words"),
    [
        (
            {1: "Spleen", 2: "Liver"},
            ["label 1 is Liver in a, b; Spleen in c, as", "label 2 is Spleen in a, b; Li"],
        ),
        ({1: "Kidney"}, ["label 1 is Liver in a, b; Kidney in c"]),
        ({3: "Liver"}, ["Liver is label 1 in a, b; label 3 in c"]),
    ],
)
def test_segments_that_change_their_values_are_an_error(data, others, words):
    write_segmentation(data, "a", {1: "Liver", 2: "Spleen"})
    write_segmentation(data, "b", {2: "spleen", 1: "Liver"})
    write_segmentation(data, "c", others)
    findings = data.check(ModelConfig()).findings
    assert [(finding.severity, finding.case) for finding in findings] == [("error", "")] * len(words)
    for finding, start in zip(findings, words, strict=True):
        assert finding.message.startswith(start)
        assert "Give each structure one value and one name" in finding.message


def test_names_that_the_models_labels_don_t_share(data):
    write_segmentation(data, "a", {1: "ball", 3: "Rim"})
    assert data.check().findings == ()
    write_segmentation(data, "a", {1: "Rim", 3: "Knob"})
    error, warning = data.check().findings
    assert (error.severity, warning.severity) == ("error", "warning")
    assert (
        "label 1 is Rim in the .seg.nrrd files, but Ball in model.labels, where Rim is label 3"
        in error.message
    )
    assert warning.message.startswith("label 3 is Knob in the .seg.nrrd files, but Rim in model.labels: make")


@pytest.mark.parametrize(
    ("names", "findings"),
    [
        (
            {"1": "Rim", "3": "Ball"},
            ["label 1 is Rim in dataset.json, but Ball", "label 3 is Ball in dataset.json"],
        ),
        ({"1": "ball", "3": "bord"}, []),  # another language is no error
    ],
)
def test_structures_exchanged_against_dataset_json_are_an_error(data, names, findings):
    data.add("a")
    (data.folder / "dataset.json").write_text(json.dumps({"labels": {"0": "background", **names}}))
    found = data.check().findings
    assert [finding.severity for finding in found] == ["error"] * len(findings)
    for finding, start in zip(found, findings, strict=True):
        assert finding.message.startswith(start)


def test_overlapping_segments_are_refused(data):
    data.add("a")
    (data.folder / "labels" / "a.nii.gz").unlink()
    header = (
        "NRRD0004\ntype: uchar\ndimension: 4\nspace: left-posterior-superior\nsizes: 2 8 7 6\n"
        "space directions: none (-1,0,0) (0,-1,0) (0,0,1)\nkinds: list domain domain domain\n"
        "encoding: raw\nspace origin: (0,0,0)\n"
        "Segment0_Name:=A\nSegment0_LabelValue:=1\nSegment0_Layer:=0\n"
        "Segment1_Name:=B\nSegment1_LabelValue:=1\nSegment1_Layer:=1\n\n"
    )
    path = data.folder / "labels" / "a.seg.nrrd"
    path.write_bytes(header.encode() + bytes([1] * 2 * 8 * 7 * 6))
    message = data.check().errors[0].message
    assert message.startswith("the label map has 2 channels")
    assert "segments overlap: remove the overlaps" in message
