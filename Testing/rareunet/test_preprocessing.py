"""Input grid <-> network grid: what goes in comes back in the same place, and intensities do not depend on padding."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from turns import turned_world

from rareunet import preprocessing
from rareunet.geometry import RegionOfInterest, whole_box
from rareunet.intensity import IntensityRule, normalise
from rareunet.oblique import straighten
from rareunet.preprocessing import (
    GridSettings,
    padding_for,
    route_of_scan,
    to_input_grid,
    to_input_part,
    to_network_grid,
)
from rareunet.resampling import resample, resampling_matrix, restore
from rareunet.routing import route_for
from rareunet.volume import Volume

RULE = IntensityRule()
REFERENCE = (1.0, 1.0, 1.0)
SETTINGS = GridSettings(REFERENCE, stages=4, deepest=3, intensity=RULE)
ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))


def matrix_of(spacing, permutation=(0, 1, 2), signs=(1, 1, 1), origin=(-7.0, 11.0, 4.0)) -> np.ndarray:
    """World matrix whose column i points along RAS axis permutation[i]; spacing is (i, j, k)."""
    matrix = np.eye(4)
    matrix[:3, :3] = 0
    for column, (axis, sign, step) in enumerate(zip(permutation, signs, spacing, strict=True)):
        matrix[axis, column] = sign * step
    matrix[:3, 3] = origin
    return matrix


def world(shape, matrix) -> np.ndarray:
    """(3, Z, Y, X) RAS coordinates of the voxel centres."""
    k, j, i = np.indices(shape)
    return np.einsum("ab,bzyx->azyx", matrix[:3, :3], np.stack([i, j, k])) + matrix[:3, 3, None, None, None]


def centroid(weights, matrix) -> np.ndarray:
    return (world(weights.shape, matrix) * weights).sum(axis=(1, 2, 3)) / weights.sum()


def blob(spacing, matrix_kind=((0, 1, 2), (1, 1, 1)), extent=96.0, width=14.0):
    """A Gaussian blob off the middle of a scan, and its centre in RAS."""
    matrix = matrix_of(spacing, *matrix_kind)
    shape = tuple(round(extent / s) for s in reversed(spacing))
    middle = matrix[:3, :3] @ (np.array(shape[::-1]) - 1) / 2 + matrix[:3, 3]
    centre = middle + np.array([2.3, -3.1, 1.7])
    squared = ((world(shape, matrix) - centre[:, None, None, None]) ** 2).sum(axis=0)
    return Volume(np.exp(-squared / (2 * width**2)).astype(np.float32), matrix), centre


def there_and_back(volume, settings=SETTINGS, **options):
    image, grid = to_network_grid(volume, settings, **options)
    return image, grid, to_input_part(image, grid)


@pytest.mark.parametrize("orientation", ORIENTATIONS[::4], ids=str)
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 4.0, 2.0)], ids=str)
def test_round_trip_without_resampling_is_exact(orientation, spacing):
    voxels = np.random.default_rng(0).normal(size=(1, 7, 10, 13)).astype(np.float32)
    volume = Volume(voxels, matrix_of(spacing, *orientation))
    image, grid, back = there_and_back(volume)
    assert not any(grid.route.resampled_axes)
    np.testing.assert_array_equal(back, normalise(voxels, RULE))
    multiples = [2 ** (4 - depth) for depth in grid.route.axis_depths]
    assert all(n % m == 0 for n, m in zip(image.shape[1:], multiples, strict=True))
    assert np.prod([n // m for n, m in zip(image.shape[1:], multiples, strict=True)]) >= 2


@pytest.mark.parametrize("spacing", [(0.7, 3.0, 1.4), (0.4, 0.4, 6.0), (12.0, 1.0, 1.0)], ids=str)
def test_round_trip_with_resampling_keeps_shape_and_smooth_content(spacing):
    volume, _ = blob(spacing, width=24.0)
    _, grid, back = there_and_back(volume)
    assert any(grid.route.resampled_axes)
    assert back.shape == volume.voxels.shape
    np.testing.assert_allclose(back, normalise(volume.voxels, RULE), atol=0.06)


@pytest.mark.parametrize("permutation", list(itertools.permutations(range(3))), ids=str)
def test_network_axes_run_to_superior_anterior_right(permutation):
    """Along each axis of the network grid only one world coordinate changes, and it rises."""
    matrix = matrix_of((1, 1, 1), permutation, (-1, 1, -1))
    coordinates = world((6, 5, 4), matrix)
    for axis, ras in enumerate((2, 1, 0)):
        image, grid, _ = there_and_back(Volume(coordinates[ras], matrix))
        inner = image[0][tuple(slice(b, b + n) for (b, _), n in zip(grid.padding, grid.shape, strict=True))]
        steps = np.diff(inner, axis=axis)
        assert (steps >= 0).all()
        assert steps.sum() > 0
        assert all(not np.diff(inner, axis=other).any() for other in range(3) if other != axis)


@pytest.mark.parametrize(
    "spacing",
    [
        (1, 1, 1),
        (2, 2, 2),
        (4, 4, 4),
        (8, 8, 8),
        (1, 1, 4),
        (4, 1, 1),
        (1, 2, 8),
        (0.5, 0.5, 6),
        (3, 3, 3),
        (1.4, 0.7, 7),
    ],
    ids=str,
)
@pytest.mark.parametrize("entry_depth", [None, 0, 1, 2, 3])
def test_a_blob_stays_where_it_is(spacing, entry_depth):
    """Its centroid agrees in world space within 0.1 of the coarsest voxel, on the network grid and back."""
    volume, centre = blob(spacing, ((2, 0, 1), (-1, 1, -1)))
    image, grid, back = there_and_back(volume, entry_depth=entry_depth)
    tolerance = 0.1 * max(*spacing, *grid.route.network_spacing_mm)
    weights = np.clip(back[0] - 0.2, 0, None)
    assert np.abs(centroid(weights, volume.ijk_to_ras) - centre).max() < tolerance
    # On the network grid: the field of view stays, so voxel i of n covers [i, i + 1) / n of it.
    reoriented = grid.reorientation.matrix(volume.ijk_to_ras, volume.shape)
    scale = [a / b for a, b in zip(grid.shape, grid.resampled_shape, strict=True)][::-1]
    before = np.array([b for b, _ in grid.padding])[::-1]
    change = np.diag([*scale, 1.0])
    change[:3, 3] = (0.5 - before) * scale - 0.5
    weights = np.clip(image[0] - 0.2, 0, None)
    assert np.abs(centroid(weights, reoriented @ change) - centre).max() < tolerance


def test_region_of_interest_is_cut_out_and_put_back():
    volume, _ = blob((1, 1, 1))
    region = RegionOfInterest((40.0, 60.0, 50.0), (20.0, 16.0, 12.0))
    _, grid, back = there_and_back(volume, region=region)
    assert back.shape[1:] == tuple(b.stop - b.start for b in grid.box)
    whole = to_input_grid(np.ones(back.shape[1:], np.uint8), grid)
    coordinates = world(volume.shape, volume.ijk_to_ras)
    inside = np.all(
        [np.abs(coordinates[a] - region.center_ras[a]) <= region.size_mm[a] / 2 + 1e-3 for a in range(3)],
        axis=0,
    )
    np.testing.assert_array_equal(whole.astype(bool), inside)


@pytest.mark.parametrize("degrees", [20, 38])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 1.0, 3.0)], ids=str)
def test_turned_scan_comes_back_to_where_it_was(degrees, spacing):
    """A Gaussian blob, sampled on a turned grid."""
    turn = turned_world(degrees, 0)
    matrix = turn @ matrix_of(spacing)
    shape = tuple(round(60 / s) for s in reversed(spacing))
    middle = matrix[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2) + matrix[:3, 3]
    squared = ((world(shape, matrix) - (middle + [3, -5, 2])[:, None, None, None]) ** 2).sum(axis=0)
    scan = np.exp(-squared / (2 * 6.0**2)).astype(np.float32)
    whole_range = IntensityRule(0, 100)
    image, grid = to_network_grid(Volume(scan, matrix), replace(SETTINGS, intensity=whole_range))
    back = to_input_part(image, grid)
    assert (grid.turned is not None) == (degrees > 25)
    assert back.shape == (1, *shape)
    np.testing.assert_allclose(back[0], scan, atol=0.06)
    np.testing.assert_allclose(centroid(back[0], matrix), centroid(scan, matrix), atol=0.2)


def test_padding_of_a_turned_scan_does_not_count():
    """A reformat: its corners were filled with a value, which differs between programs."""
    turn = turned_world(35, 0)
    scan = np.random.default_rng(0).uniform(50, 100, size=(30, 32, 34)).astype(np.float32)
    y, z = np.meshgrid(np.arange(32) - 15.5, np.arange(30) - 14.5)
    filled = np.broadcast_to((np.hypot(y, z) > 14)[:, :, None], scan.shape)
    images = []
    for value in (np.nan, 0.0, -1024.0, -3024.0):
        volume = Volume(np.where(filled, np.float32(value), scan), turn)
        images.append(to_network_grid(volume, SETTINGS)[0])
        assert not (straighten(volume, whole_box(scan.shape), REFERENCE, RULE).voxels == 0).any()
    assert images[0].any()
    for image in images[1:]:
        np.testing.assert_allclose(image, images[0], atol=1e-4)


def test_region_on_a_turned_scan_is_what_the_network_gets():
    turn = turned_world(35, 2)
    matrix = turn @ matrix_of((1.0, 1.0, 1.0))
    volume = Volume(np.random.default_rng(0).normal(size=(60, 80, 80)), matrix)
    middle = matrix[:3, :3] @ np.array([39.5, 39.5, 29.5]) + matrix[:3, 3]
    region = RegionOfInterest(tuple(middle), (20.0, 30.0, 25.0))
    _, grid, back = there_and_back(volume, region=region)
    assert np.abs(np.subtract(grid.shape, (25, 30, 20))).max() <= 1
    assert back.shape[1:] == tuple(part.stop - part.start for part in grid.box)


def test_straight_grid_of_a_turned_scan_lies_along_the_patient():
    turn = turned_world(40, 2)
    volume = Volume(np.random.default_rng(0).normal(size=(20, 24, 22)), turn @ matrix_of((1.0, 1.0, 3.0)))
    _, grid = to_network_grid(volume, SETTINGS)
    assert grid.route.turned_degrees == pytest.approx(40)
    assert grid.route.spacing_mm == pytest.approx((1.0, 1.0, 1.0))
    told = "1.0 x 1.0 x 1.0 mm along the patient's axes (resampled: the scan is turned by 40 degrees)"
    assert grid.route.describe().startswith(told)


@pytest.mark.parametrize(("degrees", "is_straightened"), [(4, False), (8, True), (20, True)])
def test_around_a_region_the_network_gets_hardly_more_than_the_region(degrees, is_straightened):
    """The voxels around a turned region show more: the structure's surroundings, and false findings there."""
    angle = np.deg2rad(degrees)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix = turn @ matrix_of((1.0, 1.0, 1.0))
    volume = Volume(np.random.default_rng(0).normal(size=(90, 90, 90)), matrix)
    middle = matrix[:3, :3] @ np.array([44.5, 44.5, 44.5]) + matrix[:3, 3]
    region = RegionOfInterest(tuple(middle), (40.0, 60.0, 40.0))
    _, grid = to_network_grid(volume, SETTINGS, region)
    assert (grid.turned is not None) == is_straightened
    assert max(np.subtract(grid.shape, (40, 60, 40))) <= 4
    assert route_of_scan(matrix, REFERENCE, 3, has_region=True) == grid.route
    _, whole = to_network_grid(volume, SETTINGS)
    assert whole.turned is None
    _, learnt = to_network_grid(volume, replace(SETTINGS, straighten_turned=False), region)
    assert learnt.turned is None


def test_model_that_has_learnt_turned_scans_gets_them_as_they_are():
    turn = turned_world(40, 2)
    matrix = turn @ matrix_of((1.0, 1.0, 4.0))
    volume = Volume(np.random.default_rng(0).uniform(size=(8, 16, 16)).astype(np.float32), matrix)
    image, grid, back = there_and_back(volume, replace(SETTINGS, straighten_turned=False))
    assert grid.turned is None
    assert grid.route.axis_depths == (2, 0, 0)
    assert grid.route == route_of_scan(matrix, REFERENCE, 3, straighten_turned=False)
    np.testing.assert_allclose(back, normalise(volume.voxels, RULE), atol=1e-6)


@pytest.mark.parametrize("degrees", [0, 20, 40])
@pytest.mark.parametrize("entry_depth", [None, 2])
def test_route_of_scan_is_the_route_that_a_scan_takes(degrees, entry_depth):
    """Thick slices, stored along each of the patient's axes."""
    turn = turned_world(degrees, 2)
    for order in itertools.permutations(range(3)):
        matrix = turn @ matrix_of((1.0, 1.0, 4.0))[:, [*order, 3]]
        volume = Volume(np.random.default_rng(0).normal(size=(16, 16, 16)), matrix)
        _, grid = to_network_grid(volume, SETTINGS, None, entry_depth)
        assert route_of_scan(matrix, REFERENCE, 3, entry_depth) == grid.route


@pytest.mark.parametrize(("size", "new_size"), [(7, 7), (7, 14), (14, 7), (10, 3), (3, 10), (5, 1), (1, 5)])
def test_resampling_weights_add_up_and_mirror(size, new_size):
    matrix = resampling_matrix(size, new_size)
    assert matrix.shape == (new_size, size)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-6)
    assert matrix.min() >= 0
    np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-6)


def test_doubling_and_halving_by_hand():
    np.testing.assert_allclose(resampling_matrix(2, 4), [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])
    np.testing.assert_allclose(resampling_matrix(4, 2)[0], np.array([3, 3, 1, 0]) / 7, atol=1e-6)


def test_scores_of_larger_voxels_are_means_of_what_they_cover():
    """3 voxels of 2 mm to 2 of 3 mm: each takes a whole one and half of the middle one."""
    scores = np.array([6.0, 0.0, 3.0], np.float32).reshape(1, 3, 1, 1)
    np.testing.assert_allclose(restore(scores, (2, 1, 1)).ravel(), [4.0, 2.0], rtol=1e-6)
    np.testing.assert_array_equal(restore(scores, (6, 1, 1)), resample(scores, (6, 1, 1)))


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.5, 0.7, 0.6), (3.0, 3.0, 3.0), (1, 1, 4)])
def test_coming_back_a_few_planes_at_a_time_changes_nothing(spacing, monkeypatch):
    volume, _ = blob(spacing, extent=40.0)
    image, grid, expected = there_and_back(volume)
    monkeypatch.setattr(preprocessing, "PLANES_BYTES", 1)
    np.testing.assert_allclose(to_input_part(image, grid), expected, atol=1e-5)
    seen = []
    decided = to_input_part(
        image, grid, lambda scores: seen.append(scores.shape[1]) or (scores > 0.5).astype(np.uint8)
    )
    assert set(seen) == {1}
    assert decided.dtype == np.uint8
    np.testing.assert_array_equal(decided, expected > 0.5)


def test_resampling_to_the_same_size_changes_nothing():
    image = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    assert resample(image, (3, 4, 5)) is image
    assert resample(image, (6, 4, 2)).shape == (2, 6, 4, 2)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (2, 2, 2), (8, 8, 8), (1, 1, 8), (4, 1, 2)])
@pytest.mark.parametrize("size", [1, 2, 3, 16, 17])
def test_padding_fits_the_poolings_and_leaves_two_voxels(spacing, size):
    route = route_for(spacing, REFERENCE, 3)
    padding = padding_for((size,) * 3, route, 4)
    padded = [size + before + after for before, after in padding]
    at_bottleneck = [n / 2 ** (4 - depth) for n, depth in zip(padded, route.axis_depths, strict=True)]
    assert all(n == int(n) for n in at_bottleneck)
    assert np.prod(at_bottleneck) >= 2
    assert all(0 <= before - after <= 1 for before, after in padding)
