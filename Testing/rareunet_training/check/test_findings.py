"""The check of a data set: every fault is found, named by its case, and of the right severity."""

import json
import shlex
import weakref

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from rareunet import Volume
from rareunet.volume_files import write_volume
from rareunet_training import check
from rareunet_training.__main__ import main
from rareunet_training.check import proposals, reading, summary
from rareunet_training.check.proposals import nearest_power_of_two
from rareunet_training.configuration import ModelConfig, read_config
from rareunet_training.data.cases import find_cases
from rareunet_training.data.layouts import labels_without_scan

SHAPE = (6, 7, 8)  # Z, Y, X
MODEL = ModelConfig(labels=[{"value": 1, "name": "Ball"}, {"value": 3, "name": "Rim"}])


def scan_of(seed=0, shape=SHAPE, spacing=(1, 1, 1), channels=1):
    """A random scan with spacing (x, y, z), mm."""
    voxels = np.random.default_rng(seed).normal(100, 20, (channels, *shape)).astype(np.float32)
    return Volume(voxels, np.diag([*spacing, 1.0]))


def label_of(scan, *values):
    """A label map with one voxel of each value."""
    label = np.zeros(scan.shape, np.int16)
    label.flat[5 : 5 + len(values)] = values
    return Volume(label, scan.ijk_to_ras)


class DataSet:
    """A folder that is filled case by case."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("images", "labels"):
            (folder / name).mkdir()

    def add(self, name, scan=None, label=None, extension=".nii.gz"):
        scan = scan_of(len(list((self.folder / "images").iterdir()))) if scan is None else scan
        write_volume(self.folder / "images" / f"{name}{extension}", scan)
        write_volume(
            self.folder / "labels" / f"{name}.nii.gz", label_of(scan, 1, 3) if label is None else label
        )

    def check(self, model=MODEL):
        return check.check_cases(find_cases(self.folder), model)


@pytest.fixture
def data(tmp_path):
    return DataSet(tmp_path)


def only(report):
    """The one finding of a report."""
    assert len(report.findings) == 1, report.findings
    return report.findings[0]


def test_facts_of_a_clean_case(data):
    scan = scan_of(spacing=(1, 2, 4))
    data.add("a", scan)
    report = data.check()
    (case,) = report.cases
    assert report.findings == case.findings == ()
    assert (case.name, case.shape, case.channels, case.orientation) == ("a", SHAPE, 1, "RAS")
    assert case.spacing_mm == (4, 2, 1)
    assert case.axis_depths == (2, 1, 0)
    assert case.volumes_ml == {"Ball": pytest.approx(0.008), "Rim": pytest.approx(0.008)}
    (intensities,) = case.intensities
    assert intensities.median == pytest.approx(float(np.median(scan.voxels)))
    assert (intensities.smallest, intensities.largest) == (scan.voxels.min(), scan.voxels.max())


def test_shape_and_spacing_are_along_canonical_axes(data):
    matrix = np.array([[0, 0, 3.0, 0], [-1, 0, 0, 0], [0, -2, 0, 0], [0, 0, 0, 1]])  # i: P, j: I, k: R
    scan = Volume(scan_of().voxels, matrix)
    data.add("a", scan)
    (case,) = data.check().cases
    assert case.orientation == "PIR"
    assert (case.shape, case.spacing_mm) == ((7, 8, 6), (2, 1, 3))  # S, A, R


def spoil_constant(scan):
    scan.voxels[:] = 7


def spoil_nan(scan):
    scan.voxels[0, 0, 0, :2] = np.nan, np.inf


@pytest.mark.parametrize(
    ("spoil", "severity", "words"),
    [
        (spoil_constant, "error", "the scan is constant"),
        (spoil_nan, "warning", "the scan is NaN or infinite in 2 voxels"),
    ],
)
def test_intensities(data, spoil, severity, words):
    scan = scan_of()
    spoil(scan)
    data.add("a", scan)
    finding = only(data.check())
    assert (finding.severity, finding.case) == (severity, "a")
    assert words in finding.message


def test_label_map_in_place_of_a_scan_is_a_warning(data):
    blocks = np.zeros((16, 16, 16), np.uint8)
    blocks[2:10, 2:10, 2:10], blocks[10:14, 2:10, 2:10] = 1, 2
    blocks[14, 5:9, 5:9] = 3
    data.add("a", Volume(blocks, np.eye(4)), label=Volume(np.where(blocks == 2, 1, blocks), np.eye(4)))
    finding = only(data.check())
    assert finding.severity == "warning"
    assert finding.message.startswith("the scan looks like a label map")


def test_scan_without_any_number(data):
    scan = scan_of()
    scan.voxels[:] = np.nan
    data.add("a", scan)
    report = data.check()
    assert [finding.severity for finding in report.findings] == ["error", "warning"]
    assert report.cases[0].intensities[0].median is None


def test_constant_channel_among_others_is_a_warning(data):
    scan = scan_of(channels=2)
    scan.voxels[1] = 0
    data.add("a", scan)
    finding = only(data.check(ModelConfig(channels=["T1", "T2"], labels=MODEL.labels)))
    assert (finding.severity, finding.message) == (
        "warning",
        "channel T2 is constant: it tells the network nothing.",
    )


@pytest.mark.parametrize(
    ("values", "severity", "words"),
    [
        (
            (1, 7, 3),
            "error",
            r"label values [7] are not in the label set: accepted are 0 and 1 (Ball), 3 (Rim)",
        ),
        ((-1, 1, 3), "error", "label values [-1]"),
    ],
)
def test_label_values(data, values, severity, words):
    data.add("a", scan_of(), label_of(scan_of(), *values))
    finding = only(data.check())
    assert (finding.severity, finding.case) == (severity, "a")
    assert words in finding.message


def test_negative_label_is_an_error_without_a_label_set_too(data):
    data.add("a", scan_of(), label_of(scan_of(), -1, 1))
    assert "label values [-1]" in only(data.check(ModelConfig())).message


def test_empty_label_map_and_structure_in_no_case(data):
    data.add("a")
    data.add("b", label=label_of(scan_of()))
    empty = only(data.check())
    assert (empty.severity, empty.case) == ("warning", "b")
    assert "empty" in empty.message
    wider = ModelConfig(labels=[*MODEL.labels, {"value": 9, "name": "Core"}])
    assert "label 9 (Core) occurs in no case" in data.check(wider).warnings[-1].message


def test_data_set_without_any_structure_is_an_error(data):
    data.add("a", label=label_of(scan_of()))
    report = data.check()
    assert "no case has a structure" in report.errors[0].message


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (Volume(np.full(SHAPE, 0.5, np.float32), np.eye(4)), "not whole numbers (such as 0.5)"),
        (Volume(np.full(SHAPE, 1 - 1e-7, np.float32), np.eye(4)), "not whole numbers (such as 0.9999999)"),
        (Volume(np.ones((2, *SHAPE), np.uint8), np.eye(4)), "2 channels"),
        (
            Volume(np.ones((6, 7, 4), np.uint8), np.diag([2.0, 1, 1, 1])),
            "4 x 7 x 6 voxels instead of 8 x 7 x 6",
        ),
    ],
)
def test_label_maps_that_stop_a_training(data, label, words):
    data.add("a")
    data.add("b", label=label)
    finding = only(data.check())
    assert (finding.severity, finding.case) == ("error", "b")
    assert words in finding.message


def test_whole_numbers_as_floats_are_a_label_map(data):
    label = label_of(scan_of(), 1, 3)
    data.add("a", scan_of(), Volume(label.voxels.astype(np.float32), label.ijk_to_ras))
    assert data.check().findings == ()


def test_channels_on_other_grids(data):
    first, second = scan_of(1), scan_of(2)
    shifted = second.ijk_to_ras.copy()
    shifted[0, 3] = 2
    write_volume(data.folder / "images" / "a_0000.nii", first)
    write_volume(data.folder / "images" / "a_0001.mha", Volume(second.voxels, shifted))
    write_volume(data.folder / "labels" / "a.nii", label_of(first, 1, 3))
    two = ModelConfig(channels=["T1", "T2"], labels=MODEL.labels)
    finding = only(data.check(two))
    assert finding.severity == "warning"
    assert (
        "channel a_0001 lies on another grid than a_0000 (its centre lies 2 mm off (R +2.00"
        in finding.message
    )
    shifted[0, 3] = 100
    write_volume(data.folder / "images" / "a_0001.mha", Volume(second.voxels, shifted))
    report = data.check(two)
    assert "the channels show different places" in report.errors[0].message


def test_wrong_number_of_channels(data):
    data.add("a")
    data.add("b", scan_of(9, channels=4))
    for names, case, found in (
        (["T1"], "b", "4 channels, the model takes 1 (T1)"),
        (["T1"] * 4, "a", "1 channel"),
    ):
        finding = only(data.check(ModelConfig(channels=names, labels=MODEL.labels)))
        assert (finding.severity, finding.case) == ("error", case)
        assert found in finding.message


def test_without_named_channels_most_cases_say_how_many(data):
    for name in "abc":
        data.add(name)
    data.add("d", scan_of(9, channels=2))
    report = data.check(ModelConfig(channels=[], labels=MODEL.labels))
    assert only(report).message == "2 channels, most cases have 1: give it the same."


def test_duplicates_are_found_in_another_format_type_and_orientation(data):
    whole = Volume(np.round(scan_of().voxels), np.eye(4))
    turned = Volume(
        np.ascontiguousarray(whole.voxels[:, :, ::-1].astype(np.int16)),
        np.array([[1, 0, 0, 0], [0, -1.0, 0, 6], [0, 0, 1, 0], [0, 0, 0, 1]]),
    )
    data.add("a", whole)
    data.add("b", turned, extension=".nrrd")
    data.add("c")
    finding = only(data.check())
    assert (finding.severity, finding.case) == ("warning", "b")
    assert finding.message.startswith("the same voxels as a")


def test_files_that_are_missing_or_damaged(data):
    for name in "abcd":
        data.add(name)
    images, labels = data.folder / "images", data.folder / "labels"
    (images / "a.nii.gz").write_bytes((images / "a.nii.gz").read_bytes()[:100])
    (labels / "b.nii.gz").write_text("a report")
    (labels / "c.nii.gz").unlink()
    report = data.check()
    assert [(finding.severity, finding.case) for finding in report.findings] == [("error", c) for c in "abc"]
    for finding, words in zip(
        report.findings, ("could not be read", "could not be read", "not exist"), strict=True
    ):
        assert words in finding.message
    assert report.cases[0].shape is None
    assert report.cases[0].label_volumes != ()
    assert report.cases[2].shape == SHAPE


def test_unexpected_failure_of_one_file_does_not_stop_the_others(data, monkeypatch):
    data.add("a")
    data.add("b")
    read = reading.read_volume

    def fail(path):
        if path.name == "a.nii.gz":
            raise RuntimeError("broken library")
        return read(path)

    monkeypatch.setattr(reading, "read_volume", fail)
    report = data.check()
    assert {(f.case, f.message) for f in report.errors} == {("a", "RuntimeError: broken library")}


def test_one_case_is_in_memory_at_a_time(data, monkeypatch):
    for name in "abc":
        data.add(name)
    read, volumes, seen = reading.read_volume, [], []

    def remember(path):
        volume = read(path)
        volumes.append((path.name, weakref.ref(volume.voxels)))
        seen.append({name for name, voxels in volumes if voxels() is not None})
        return volume

    monkeypatch.setattr(reading, "read_volume", remember)
    data.check()
    assert seen == [{f"{name}.nii.gz"} for name in "aabbcc"]


@pytest.mark.parametrize(
    ("degrees", "straight", "warned"), [(20, 10, 0), (40, 10, 1), pytest.param(40, 3, 0, id="learnt")]
)
def test_scans_that_are_segmented_on_a_straight_grid_are_warnings(data, degrees, straight, warned):
    angle, scan = np.deg2rad(degrees), scan_of()
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    scan = Volume(scan.voxels, turn @ scan.ijk_to_ras)
    data.add("a", scan)
    for number in range(straight):
        data.add(f"straight {number}")
    found = [f for f in data.check().findings if "turned by 40 degrees" in f.message]
    assert [f.severity for f in found] == ["warning"] * warned


def test_spacing_beyond_the_models_range_is_a_warning(data):
    data.add("a", scan_of(spacing=(1, 1, 20)))
    finding = only(data.check())
    assert finding.severity == "warning"
    assert "z has a spacing of 20.0 mm, coarser than the model's range" in finding.message


def test_assumptions_of_published_pairs_are_warnings(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    torch.save(torch.rand(1, 8, 7, 6), tmp_path / "images" / "a.nii.pt")
    torch.save(torch.ones(1, 8, 7, 6), tmp_path / "masks" / "a.nii.pt")
    report = check.check_cases(find_cases(tmp_path), ModelConfig())
    assert only(report).severity == "warning"
    assert "1 mm and axes that run to R, A and S were assumed" in only(report).message


# Proposals


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


def write_csv(data, *columns):
    """One case with an image for each column."""
    for number, column in enumerate(columns):
        write_volume(data.folder / "images" / f"{column}.nii", scan_of(number))
    write_volume(data.folder / "labels" / "a.nii", label_of(scan_of(), 1, 3))
    images = ",".join(f"images/{column}.nii" for column in columns)
    path = data.folder / "cases.csv"
    path.write_text(f"case,{','.join(columns)},label\na,{images},labels/a.nii\n", encoding="utf-8")
    return find_cases(path)


def test_columns_name_the_channels(data):
    cases = write_csv(data, "FLAIR", "T1")
    assert check.check_cases(cases, ModelConfig(channels=[])).proposed_channels == ("FLAIR", "T1")
    for names in (["flair", "t1"], ["T2", "T1"]):  # the same in small letters; others, which say nothing
        assert check.check_cases(cases, ModelConfig(channels=names, labels=MODEL.labels)).findings == ()


def test_channels_in_another_order_are_an_error(data):
    expected = ModelConfig(channels=["T1", "FLAIR"], labels=MODEL.labels)
    finding = only(check.check_cases(write_csv(data, "FLAIR", "T1"), expected))
    assert (finding.severity, finding.case) == ("error", "")
    assert "named FLAIR, T1 in this order, the model's channels T1, FLAIR" in finding.message


def test_channels_in_another_order_than_in_dataset_json_are_an_error(data):
    (data.folder / "dataset.json").write_text(json.dumps({"channel_names": {"0": "FLAIR", "1": "T1"}}))
    data.add("a", scan_of(channels=2))
    expected = ModelConfig(channels=["T1", "FLAIR"], labels=MODEL.labels)
    assert "the model's channels T1, FLAIR" in only(data.check(expected)).message


def test_label_map_without_a_scan_is_a_warning(data, capsys):
    data.add("a")
    write_volume(data.folder / "labels" / "b.seg.nrrd", label_of(scan_of(), 1))
    labels = labels_without_scan(data.folder)
    finding = only(check.check_cases(find_cases(data.folder), MODEL, labels_alone=labels))
    assert (finding.severity, finding.case) == ("warning", "b.seg.nrrd")
    assert main(["check", str(data.folder)]) == 0
    assert "warning: b.seg.nrrd: a label map without a scan" in capsys.readouterr().out


def test_nothing_readable_proposes_nothing(data):
    data.add("a")
    (data.folder / "images" / "a.nii.gz").write_text("a report")
    report = data.check()
    assert report.proposed_patch is report.proposed_reference_spacing_mm is None


# Names in Slicer's .seg.nrrd


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
