"""The check of a data set: every fault is found, named by its case, and of the right severity."""

import json

import numpy as np
import pytest
import torch
from check_helpers import MODEL, SHAPE, label_of, only, scan_of
from turns import turned_world

from rareunet import Volume
from rareunet.volume_files import write_volume
from rareunet_training import check
from rareunet_training.__main__ import main
from rareunet_training.configuration import ModelConfig
from rareunet_training.data.cases import find_cases
from rareunet_training.data.layouts import labels_without_scan


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


def test_many_unknown_values_are_counted(data):
    data.add("a", scan_of(), label_of(scan_of(), *range(1, 300)))
    finding = next(f for f in data.check().findings if f.severity == "error")
    assert "label values [2, 4, 5, 6 and 293 more] are not in" in finding.message


def test_more_structures_than_a_model_can_have_are_an_error_and_not_proposed(data):
    data.add("a", scan_of(), label_of(scan_of(), *range(1, 256)))
    report = data.check(ModelConfig())
    assert (report.findings, len(report.proposed_labels)) == ((), 255)
    data.add("b", scan_of(9), label_of(scan_of(), *range(200, 300)))
    report = data.check(ModelConfig())
    finding = only(report)
    assert (finding.severity, finding.case, report.proposed_labels) == ("error", "", ())
    assert "299 structures (label values 1, 2, 3, 4 and 295 more), a model has at most 255" in finding.message


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
    assert report.proposed_channels == ("image",)


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


@pytest.mark.parametrize(
    ("degrees", "straight", "warned"), [(20, 10, 0), (40, 10, 1), pytest.param(40, 3, 0, id="learnt")]
)
def test_scans_that_are_segmented_on_a_straight_grid_are_warnings(data, degrees, straight, warned):
    scan = scan_of()
    data.add("a", Volume(scan.voxels, turned_world(degrees, 2) @ scan.ijk_to_ras))
    for number in range(straight):
        data.add(f"straight {number}")
    found = [f for f in data.check().findings if "turned by 40 degrees" in f.message]
    assert [f.severity for f in found] == ["warning"] * warned


def test_a_scan_far_finer_than_the_reference_is_a_warning(data):
    """In metres, say: a patch of it would take all memory."""
    data.add("a", scan_of(spacing=(1, 1, 0.2)))
    finding = only(data.check())
    assert finding.severity == "warning"
    assert "voxels of 1 x 1 x 0.2 mm (R x A x S), 5 times finer" in finding.message


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
