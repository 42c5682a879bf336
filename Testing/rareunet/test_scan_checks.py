"""What a scan is refused or doubted for, beyond the field of view (test_predictor.py)."""

from pathlib import Path

import numpy as np
import pytest

from rareunet.architecture import Architecture
from rareunet.geometry import RegionOfInterest
from rareunet.predictor import Predictor
from rareunet.scan_checks import is_like_label_map
from rareunet.volume import Volume
from rareunet.volume_files import read_volume

SAMPLES = Path(__file__).parents[2] / "Resources" / "SampleData"
LABEL_MAP = "looks like a label map"
NO_NUMBERS = "NaN or infinite"


@pytest.fixture
def predictor(tiny_bundle) -> Predictor:
    return Predictor(tiny_bundle, "cpu")


def told(warnings, words):
    return [warning for warning in warnings if words in warning]


@pytest.mark.parametrize("case", ["hippocampus_050", "hippocampus_230"])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_label_maps_are_told_from_scans_of_whole_numbers(case, step):
    scan, labels = (read_volume(SAMPLES / f"{case}{end}.nii.gz").voxels[0] for end in ("", "-label"))
    coarse = (slice(None, None, step),) * 3
    assert is_like_label_map(labels[coarse])
    assert is_like_label_map(labels[coarse].astype(np.float32))
    assert not is_like_label_map(np.rint(scan[coarse]))


@pytest.mark.parametrize("case", ["hippocampus_050", "hippocampus_230"])
def test_scans_in_few_values_or_of_doubled_voxels_are_no_label_maps(case):
    scan = read_volume(SAMPLES / f"{case}.nii.gz").voxels[0].astype(np.float64)
    doubled = np.rint(scan).repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)
    assert not is_like_label_map(doubled)
    low, high = np.percentile(scan, (30, 70))
    window = np.clip((scan - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    assert not is_like_label_map(window)


def test_small_and_constant_arrays_are_no_label_maps():
    assert not is_like_label_map(np.zeros((9, 9, 9)))
    assert not is_like_label_map(np.arange(8).reshape(2, 2, 2) // 4)
    assert not is_like_label_map(np.full((9, 9, 9), np.nan))


def test_areas_of_other_numbers_are_no_label_map():
    areas = np.zeros((20, 20, 20))
    areas[5:15, 5:15, 5:15] = 2
    assert is_like_label_map(areas)
    assert not is_like_label_map(areas * 0.37)
    assert is_like_label_map(np.where(areas, areas, np.nan))
    assert not is_like_label_map(np.where(areas, areas * 0.37, np.inf))


def test_label_map_in_place_of_a_scan_is_warned_of(predictor, make_scan):
    scan = make_scan((20, 22, 24))
    blocks = np.zeros_like(scan.voxels)
    blocks[:, 4:12, 5:15, 6:16], blocks[:, 12:16, 5:15, 6:16] = 1, 2
    assert told(predictor.predict(Volume(blocks, scan.ijk_to_ras)).warnings, LABEL_MAP)
    assert not told(predictor.predict(scan).warnings, LABEL_MAP)


def test_voxels_that_are_no_numbers_are_counted_but_for_padding(predictor, make_scan):
    scan = make_scan((20, 22, 24))
    voxels = np.pad(scan.voxels, ((0, 0), *[(3, 3)] * 3), constant_values=np.nan)
    assert not told(predictor.predict(Volume(voxels, scan.ijk_to_ras)).warnings, NO_NUMBERS)
    voxels[0, 9, 10, 11], voxels[0, 9, 10, 12] = np.nan, np.inf
    (warning,) = told(predictor.predict(Volume(voxels, scan.ijk_to_ras)).warnings, NO_NUMBERS)
    assert "(2)" in warning
    assert "channel" not in warning


@pytest.mark.parametrize(("spacing", "off"), [((1, 1, 1), ""), ((2, 2, 2), "0.5 mm"), ((4, 4, 4), "1.5 mm")])
def test_model_that_has_learnt_displaced_labels_says_where_it_answers(make_bundle, make_scan, spacing, off):
    published = make_bundle(training={"settings": {"fit": {"protocol": "published"}}})
    warnings = Predictor(published, "cpu").predict(make_scan((12, 12, 12), spacing)).warnings
    assert bool(told(warnings, "displaced at low resolution")) == bool(off)
    assert bool(told(warnings, f"about {off} off")) == bool(off)


@pytest.mark.parametrize(
    "training", [{}, {"settings": "see README"}, {"settings": {"fit": None}}, {"settings": {"fit": "rare"}}]
)
def test_provenance_of_any_form_is_no_obstacle(make_bundle, make_scan, training):
    bundle = make_bundle(training=training)
    assert not bundle.learnt_displaced
    assert not told(Predictor(bundle, "cpu").predict(make_scan(), entry_depth=1).warnings, "displaced")


def test_region_beside_the_scan_says_where_both_lie(predictor, make_scan):
    with pytest.raises(
        ValueError, match=r"\(R 90 to 110, A -5 to 5, S 0 to 10 mm\) lies outside the scan \(R "
    ):
        predictor.predict(make_scan(), RegionOfInterest((100.0, 0.0, 5.0), (20.0, 10.0, 10.0)))


def test_one_scan_in_the_place_of_two_channels_is_warned_of(make_bundle, make_scan):
    architecture = Architecture(in_channels=3, classes=3, stages=4, filters=2, max_filters=8)
    channels = ({"name": "T1"}, {"name": "T2"}, {"name": "FLAIR"})
    predictor = Predictor(make_bundle(architecture=architecture, channels=channels), "cpu")
    scan = make_scan(channels=3)
    assert not told(predictor.predict(scan).warnings, "same scan")
    scan.voxels[2] = scan.voxels[0]
    (warning,) = told(predictor.predict(scan).warnings, "same scan")
    assert "channels T1 and FLAIR of" in warning
