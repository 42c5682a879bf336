"""The main path: Volume in, label map on the same grid out. The model has random weights and labels 5 and 9."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from turns import STORAGES, as_before, stored_otherwise, turned_world

from rareunet.errors import FieldOfViewError
from rareunet.geometry import RegionOfInterest, box_of_region
from rareunet.network import Architecture
from rareunet.predictor import Predictor
from rareunet.volume import Volume


@pytest.fixture
def predictor(tiny_bundle) -> Predictor:
    return Predictor(tiny_bundle, "cpu")


def test_answer_lies_on_the_scan_grid_with_the_labels_of_the_model(predictor, make_scan):
    volume = make_scan((17, 21, 19))
    prediction = predictor.predict(volume)
    assert prediction.label_map.shape == (17, 21, 19)
    assert prediction.label_map.dtype == np.uint8
    assert set(np.unique(prediction.label_map)) == {0, 5, 9}
    assert prediction.probabilities is None
    assert prediction.model == {"name": "tiny", "version": "0.1.0", "sha256": predictor.bundle.sha256}
    assert set(prediction.seconds) == {"prepare", "network", "finish"}
    assert prediction.device == "cpu"
    assert "enters at depth 0" in prediction.describe()


def test_volumes_are_voxels_times_their_size(predictor, make_scan):
    prediction = predictor.predict(make_scan((10, 12, 14), (2.0, 2.0, 3.0)))
    for name, value in (("five", 5), ("nine", 9)):
        assert prediction.volumes_ml[name] == pytest.approx((prediction.label_map == value).sum() * 12 / 1000)


def test_labels_beyond_255_are_kept(make_bundle, make_scan):
    from rareunet.bundle import Label

    labels = (Label(300, "a", (0, 0, 0)), Label(7, "b", (0, 0, 0)))
    label_map = Predictor(make_bundle(labels=labels), "cpu").predict(make_scan()).label_map
    assert label_map.dtype == np.uint16
    assert set(np.unique(label_map)) == {0, 7, 300}


def test_structures_that_were_not_asked_for_are_background(predictor, make_scan):
    scan = make_scan((17, 21, 19))
    whole, nine = predictor.predict(scan), predictor.predict(scan, structures=["nine"])
    np.testing.assert_array_equal(nine.label_map, np.where(whole.label_map == 9, 9, 0))
    assert nine.label_map.dtype == np.uint8
    assert nine.volumes_ml == {"nine": whole.volumes_ml["nine"]}
    assert [label.name for label in nine.labels] == ["nine"]
    assert nine.certainty == whole.certainty  # what the model's limit is of
    both = predictor.predict(scan, structures=["nine", "five"])
    assert both.labels == whole.labels
    assert both.certainty == whole.certainty


def test_only_structures_that_were_asked_for_are_missed(predictor, make_scan):
    scan = make_scan((17, 21, 19))
    empty = Volume(np.zeros_like(scan.voxels), scan.ijk_to_ras)
    missed = [w for w in predictor.predict(empty, structures=["nine"]).warnings if "was not found" in w]
    assert missed == ["nine was not found in this scan."]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["nine", "ten"], "tiny has no structure ten: choose from five, nine"),
        ("ten", "tiny has no structure ten"),
        ([9], "tiny has no structure 9"),
        ([], "no structure is chosen"),
    ],
)
def test_unknown_structures_are_refused(predictor, make_scan, names, message):
    with pytest.raises(ValueError, match=message):
        predictor.predict(make_scan(), structures=names)


def test_probabilities_add_up_and_agree_with_the_labels(predictor, make_scan):
    prediction = predictor.predict(make_scan(spacing=(1.0, 1.0, 3.0)), with_probabilities=True)
    assert prediction.probabilities.shape == (3, *prediction.label_map.shape)
    np.testing.assert_allclose(prediction.probabilities.sum(axis=0), 1, atol=1e-5)
    labels = np.array([0, 5, 9])[prediction.probabilities.argmax(axis=0)]
    np.testing.assert_array_equal(labels, prediction.label_map)


@pytest.mark.parametrize(
    "spacing", [(1.0, 1.0, 1.0), (1.0, 1.0, 4.0), (2.0, 2.0, 2.0), (0.6, 1.5, 4.0)], ids=str
)
def test_any_orientation_gives_the_same_answer_in_the_patient(predictor, make_scan, spacing):
    volume = make_scan((9, 11, 13), spacing)
    expected = predictor.predict(volume).label_map
    assert len(np.unique(expected)) > 1
    for order, flips in STORAGES:
        found = predictor.predict(stored_otherwise(volume, order, flips))
        np.testing.assert_array_equal(
            as_before(found.label_map, order, flips), expected, err_msg=f"{order} {flips}"
        )


@pytest.mark.parametrize("depth", range(4))
def test_fixed_entry_depth_is_used(predictor, make_scan, depth):
    prediction = predictor.predict(make_scan(), entry_depth=depth)
    assert prediction.route.axis_depths == (depth,) * 3
    assert prediction.label_map.shape == (17, 21, 19)


def test_unknown_entry_depth_is_refused(predictor, make_scan):
    with pytest.raises(ValueError, match="choose 0 to 3"):
        predictor.predict(make_scan(), entry_depth=4)


def test_wrong_number_of_channels_names_what_is_needed(make_bundle, make_scan):
    architecture = Architecture(in_channels=2, classes=3, stages=4, filters=2, max_filters=8)
    predictor = Predictor(make_bundle(architecture=architecture), "cpu")
    with pytest.raises(ValueError, match=r"1 channel\(s\), the model tiny needs 2: channel 0, channel 1"):
        predictor.predict(make_scan())
    assert predictor.predict(make_scan(channels=2)).label_map.shape == (17, 21, 19)


def test_far_too_large_scan_needs_a_region_or_force(predictor, make_scan):
    volume = make_scan((50, 20, 20), (1.0, 1.0, 2.0))
    with pytest.raises(FieldOfViewError, match="place a region of interest"):
        predictor.predict(volume)
    forced = predictor.predict(volume, force=True)
    assert any("expect false findings" in warning for warning in forced.warnings)
    region = RegionOfInterest((0.0, 15.0, 50.0), (20.0, 20.0, 40.0))
    assert not any("false findings" in w for w in predictor.predict(volume, region).warnings)


def test_somewhat_too_large_scan_is_segmented_with_a_warning(predictor, make_scan):
    largest = max(predictor.bundle.field_of_view_mm["largest"])
    inside, beyond = (make_scan((round(factor * largest), 20, 20)) for factor in (1.2, 1.5))
    assert not any("false findings" in w for w in predictor.predict(inside).warnings)
    assert any("region of interest of about that size" in w for w in predictor.predict(beyond).warnings)


@pytest.mark.parametrize("value", [0.0, -1000.0, np.nan])
def test_padding_around_a_scan_does_not_change_the_answer(predictor, make_scan, value):
    """Neither what the network sees, nor what counts as its field of view."""
    scan = make_scan((17, 21, 19))
    expected = predictor.predict(scan)
    pad = 40
    voxels = np.pad(scan.voxels, ((0, 0), *[(pad, pad)] * 3), constant_values=value)
    matrix = scan.ijk_to_ras.copy()
    matrix[:3, 3] -= matrix[:3, :3] @ np.full(3, pad)
    padded = predictor.predict(Volume(voxels, matrix, scan.name))
    inner = (slice(pad, -pad),) * 3
    np.testing.assert_array_equal(padded.label_map[inner], expected.label_map)
    assert np.count_nonzero(padded.label_map) == np.count_nonzero(expected.label_map)
    assert padded.warnings == expected.warnings


def test_a_region_on_an_oblique_scan_counts_with_its_own_size(predictor, make_scan):
    largest = predictor.bundle.field_of_view_mm["largest"]
    scan = make_scan([round(2 * mm) for mm in largest])
    matrix = turned_world(20, 0) @ scan.ijk_to_ras
    middle = matrix[:3, :3] @ ((np.array(scan.shape[::-1]) - 1) / 2) + matrix[:3, 3]
    size = tuple(float(mm) for mm in reversed(largest))
    region = RegionOfInterest(tuple(map(float, middle)), size)
    warnings = predictor.predict(Volume(scan.voxels, matrix), region).warnings
    assert not any("knows crops of up to" in warning for warning in warnings)


def test_small_field_of_view_is_warned_of(predictor, make_scan):
    assert any("may be cut off" in w for w in predictor.predict(make_scan((8, 21, 19))).warnings)


def test_outside_the_region_is_background(predictor, make_scan):
    volume = make_scan((24, 24, 24))
    region = RegionOfInterest((2.0, 15.0, 14.0), (14.0, 14.0, 14.0))
    prediction = predictor.predict(volume, region, with_probabilities=True)
    k, j, i = np.nonzero(prediction.label_map)
    ras = np.stack([i - 10, j + 5, k + 3])
    assert ras.size
    assert (np.abs(ras - np.array(region.center_ras)[:, None]) <= 7).all()
    assert prediction.probabilities[0, 0, 0, 0] == 1
    assert prediction.probabilities[1:, 0, 0, 0].sum() == 0


@pytest.mark.parametrize("degrees", [15, 35])
def test_outside_the_region_is_background_on_an_oblique_scan(predictor, make_scan, degrees):
    """The box of voxels that holds the region reaches beyond it there."""
    scan = make_scan((40, 40, 40))
    matrix = turned_world(degrees, 2) @ scan.ijk_to_ras
    middle = matrix[:3, :3] @ np.full(3, 19.5) + matrix[:3, 3]
    region = RegionOfInterest(tuple(map(float, middle)), (20.0, 20.0, 20.0))
    prediction = predictor.predict(Volume(scan.voxels, matrix), region, with_probabilities=True)
    k, j, i = np.indices(scan.shape)
    ras = np.einsum("ab,bzyx->azyx", matrix[:3, :3], np.stack([i, j, k])) + matrix[:3, 3, None, None, None]
    beyond = (np.abs(ras - middle[:, None, None, None]) > 10.01).any(axis=0)
    assert prediction.label_map[~beyond].any()
    assert not prediction.label_map[beyond].any()
    assert (prediction.probabilities[0][beyond] == 1).all()


def test_region_outside_the_scan_is_refused(predictor, make_scan):
    with pytest.raises(ValueError, match="outside the scan"):
        predictor.predict(make_scan(), RegionOfInterest((500.0, 0.0, 0.0), (20.0, 20.0, 20.0)))


def test_region_beside_a_tilted_scan_is_refused_though_its_corners_box_is_not(predictor, make_scan):
    scan = make_scan((40, 40, 40))
    turn = turned_world(20, 2)  # not straightened
    region = RegionOfInterest((0.0, -11.0, 20.0), (20.0, 20.0, 20.0))  # the scan's first corner is at 0, 0, 0
    box_of_region(region, scan.shape, turn)  # finds voxels
    with pytest.raises(ValueError, match="outside the scan"):
        predictor.predict(Volume(scan.voxels, turn), region)


def test_constant_scan_gives_an_empty_answer_and_a_warning(predictor):
    prediction = predictor.predict(Volume(np.full((16, 16, 16), 42, np.int16), np.eye(4)))
    assert not prediction.label_map.any()
    assert any("constant" in warning for warning in prediction.warnings)
    assert any("five was not found" in warning for warning in prediction.warnings)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_voxels_that_are_no_numbers_do_no_harm(predictor, make_scan, bad):
    volume = make_scan()
    volume.voxels[0, 4:6, 4:6, 4:6] = bad
    prediction = predictor.predict(volume, with_probabilities=True)
    assert np.isfinite(prediction.probabilities).all()


def test_notes_of_the_reader_are_passed_on(predictor, make_scan):
    scan = make_scan()
    volume = Volume(scan.voxels, scan.ijk_to_ras, "scan", ("the header was mended.",))
    assert "the header was mended." in predictor.predict(volume).warnings


def test_spacing_beyond_the_model_is_warned_of(predictor, make_scan):
    prediction = predictor.predict(make_scan((6, 20, 20), (1.0, 1.0, 15.0)))
    assert any("coarser than the model's range" in warning for warning in prediction.warnings)
    assert prediction.label_map.shape == (6, 20, 20)


@pytest.mark.parametrize("shape", [(2, 2, 2), (3, 5, 2), (2, 33, 7)])
def test_tiny_and_odd_scans_work(predictor, make_scan, shape):
    assert predictor.predict(make_scan(shape)).label_map.shape == shape


def test_same_scan_gives_the_same_answer(predictor, make_scan):
    first, second = (predictor.predict(make_scan()).label_map for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_progress_rises_to_one(predictor, make_scan):
    steps = []
    predictor.predict(make_scan(), progress=lambda name, fraction: steps.append((name, fraction)))
    fractions = [fraction for _, fraction in steps]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_model_without_gateways_resamples_to_its_one_depth(make_bundle, make_scan):
    architecture = Architecture(classes=3, stages=3, filters=2, gateways=0)
    predictor = Predictor(make_bundle(architecture=architecture), "cpu")
    prediction = predictor.predict(make_scan((8, 10, 10), (2.0, 2.0, 2.0)))
    assert prediction.route.axis_depths == (0, 0, 0)
    assert prediction.route.resampled_axes == (True, True, True)
    assert prediction.label_map.shape == (8, 10, 10)


def test_a_graphics_card_that_was_passed_over_is_told_with_the_answer(tiny_bundle, make_scan, monkeypatch):
    note = "The processor was used in place of the graphics card: it is broken."
    monkeypatch.setattr("rareunet.predictor.best_device", lambda: (torch.device("cpu"), note))
    assert note in Predictor(tiny_bundle).predict(make_scan()).warnings
    assert note not in Predictor(tiny_bundle, "cpu").predict(make_scan()).warnings


def test_a_turned_scan_is_told_with_the_answer(predictor, make_scan):
    scan = make_scan()
    turned = Volume(scan.voxels, turned_world(37, 2) @ scan.ijk_to_ras)
    assert "turned by 37 degrees" in predictor.predict(turned).describe()
    assert "turned by" not in predictor.predict(scan).describe()
