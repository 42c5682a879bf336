"""What an answer is warned of: structures that a region of interest cuts off."""

from dataclasses import replace

import numpy as np
import pytest

from rareunet.answer_checks import check_border
from rareunet.geometry import RegionOfInterest
from rareunet.predictor import Predictor

CENTRE = (0.0, 15.0, 13.0)  # of the scan: voxel (10, 10, 10), 1 mm
TURN = np.array([[1, -1, 0], [1, 1, 0], [0, 0, np.sqrt(2)]]) / np.sqrt(2)


def ball(shape, centre, radius, value=5):
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    inside = (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 <= radius**2
    return np.where(inside, value, 0).astype(np.uint8)


@pytest.fixture
def scan(make_scan):
    return make_scan((21, 21, 21))


@pytest.mark.parametrize("axes", [None, TURN])
@pytest.mark.parametrize(("edge", "cut"), [(12.0, False), (8.0, True)])
def test_a_structure_that_reaches_the_border_of_the_region_is_told(scan, tiny_bundle, axes, edge, cut):
    region = RegionOfInterest(CENTRE, (edge,) * 3, axes)
    found = ball(scan.shape, (10, 10, 10), 5)
    z, y, x = np.mgrid[:21, :21, :21] - 10
    offsets = np.stack([x, y, z]) if axes is None else np.einsum("ij,jzyx->izyx", axes.T, np.stack([x, y, z]))
    found[(np.abs(offsets) > edge / 2 + 1e-6).any(axis=0)] = 0
    warnings = check_border(found, region, scan, tiny_bundle)
    assert len(warnings) == cut
    if cut:
        assert warnings[0].startswith(
            "five reaches the border of the region of interest and may be cut off there"
        )


def test_both_structures_are_named(scan, tiny_bundle):
    found = ball(scan.shape, (10, 10, 10), 9)
    found[:10][found[:10] > 0] = 9
    found[np.abs(np.arange(21) - 10) > 3] = 0
    (warning,) = check_border(found, RegionOfInterest(CENTRE, (40, 40, 6)), scan, tiny_bundle)
    assert warning.startswith("five and nine reach the border")


def test_the_border_of_the_scan_itself_is_none_of_the_regions(scan, tiny_bundle):
    everything = np.full(scan.shape, 5, np.uint8)
    assert check_border(everything, RegionOfInterest(CENTRE, (40, 40, 40)), scan, tiny_bundle) == []
    assert check_border(everything, RegionOfInterest(CENTRE, (21, 21, 21)), scan, tiny_bundle) == []
    assert check_border(everything, None, scan, tiny_bundle) == []


def test_predictions_tell_of_the_border(tiny_bundle, scan):
    predictor = Predictor(replace(tiny_bundle), "cpu")
    region = RegionOfInterest(CENTRE, (16, 16, 16))
    assert any("border of the region" in warning for warning in predictor.predict(scan, region).warnings)
    assert not any("border of the region" in warning for warning in predictor.predict(scan).warnings)
