"""Orientation, region of interest and crop: each step keeps every voxel where it is in the world."""

from itertools import permutations, product

import numpy as np
import pytest
from nibabel.orientations import aff2axcodes
from turns import turned

from rareunet.geometry import (
    RegionOfInterest,
    Reorientation,
    box_of_region,
    describe_extent,
    whole_box,
    within_region,
)

SHAPE = (3, 4, 5)
ORIENTATIONS = list(product(permutations(range(3)), product((1, -1), repeat=3)))


def world_of(matrix, shape):
    """(3, Z, Y, X): RAS position of each voxel; as voxels of a scan they say where each one lies."""
    k, j, i = np.indices(shape)
    return np.einsum("rc,czyx->rzyx", matrix[:3, :3], np.stack([i, j, k])) + matrix[:3, 3, None, None, None]


def matrix_of(order, signs, oblique=False):
    matrix = np.eye(4)
    directions = np.eye(3)[:, list(order)] * signs
    if oblique:
        directions = turned(12, 0) @ turned(-17, 2) @ directions
    matrix[:3, :3] = directions * (0.5, 1.0, 3.0)
    matrix[:3, 3] = (10, -20, 30)
    return matrix


@pytest.mark.parametrize("oblique", [False, True])
@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_reorientation_keeps_world_positions_and_inverts(order, signs, oblique):
    matrix = matrix_of(order, signs, oblique)
    scan = world_of(matrix, SHAPE)
    reorientation = Reorientation.to_ras(matrix)
    canonical = reorientation.apply(scan)
    canonical_matrix = reorientation.matrix(matrix, SHAPE)
    np.testing.assert_allclose(world_of(canonical_matrix, canonical.shape[1:]), canonical, atol=1e-9)
    np.testing.assert_array_equal(reorientation.invert(canonical), scan)
    assert reorientation.reorder(SHAPE) == canonical.shape[1:]
    assert reorientation.axis_codes == "".join(aff2axcodes(matrix))
    # x runs to R, y to A, z to S.
    assert (np.abs(canonical_matrix[:3, :3]).argmax(axis=0) == (0, 1, 2)).all()
    assert (np.diag(canonical_matrix)[:3] > 0).all()


def test_axes_of_any_turn_run_to_the_patients_ends():
    """Far from the patient's axes the nearest one of each need not be the best choice of three."""
    random = np.random.default_rng(0)
    for _ in range(500):
        turn, _ = np.linalg.qr(random.normal(size=(3, 3)))
        matrix = np.eye(4)
        matrix[:3, :3] = turn * (1.5, 1.5, 8.0)
        reorientation = Reorientation.to_ras(matrix)
        assert (np.diag(reorientation.matrix(matrix, SHAPE))[:3] >= 0).all()


def test_there_are_48_orientations():
    found = {
        (r.source_axes, r.flipped) for r in (Reorientation.to_ras(matrix_of(o, s)) for o, s in ORIENTATIONS)
    }
    assert len(found) == 48


def test_a_ras_scan_is_left_alone():
    assert Reorientation.to_ras(np.eye(4)) == Reorientation((0, 1, 2), (False, False, False))


def test_reorientation_copies_nothing():
    scan = np.zeros((1, *SHAPE))
    reorientation = Reorientation.to_ras(matrix_of((2, 0, 1), (-1, 1, -1)))
    assert np.shares_memory(reorientation.apply(scan), scan)


def test_region_holds_exactly_the_voxels_whose_centres_lie_inside():
    # 10 x 12 x 14 mm around (20.5, 20.5, 20.5): x from 15.5 to 25.5 holds the centres 16 ... 25.
    region = RegionOfInterest((20.5, 20.5, 20.5), (10, 12, 14))
    box = box_of_region(region, (40, 40, 40), np.eye(4))
    assert box == (slice(14, 28), slice(15, 27), slice(16, 26))


def test_region_in_a_flipped_scan_with_an_offset():
    # R = 50 - 2 i: 40 to 46 holds i = 2 ... 5, with centres on both faces.
    matrix = np.diag([-2.0, 1, 1, 1])
    matrix[:3, 3] = (50, 0, 0)
    box = box_of_region(RegionOfInterest((43, 5, 5), (6, 4, 2)), (20, 20, 20), matrix)
    assert box == (slice(4, 7), slice(3, 8), slice(2, 6))


def test_region_is_cut_to_the_scan():
    box = box_of_region(RegionOfInterest((0, 0, 0), (5, 5, 500)), (10, 10, 10), np.eye(4))
    assert box == (slice(0, 10), slice(0, 3), slice(0, 3))


def test_turned_region_gives_the_box_of_its_corners():
    # A square of edge 10 turned by 45 degrees reaches 7.07 mm from its centre: centres 13 ... 27.
    region = RegionOfInterest((20, 20, 20), (10, 10, 10), turned(45, 2))
    box = box_of_region(region, (40, 40, 40), np.eye(4))
    assert box == (slice(15, 26), slice(13, 28), slice(13, 28))


def test_region_along_the_axes_of_a_turned_scan_is_exact():
    matrix = np.eye(4)
    matrix[:3, :3] = turned(30, 1)
    center = tuple(matrix[:3, :3] @ (20.5, 20.5, 20.5))
    region = RegionOfInterest(center, (10, 12, 14), turned(30, 1))
    assert box_of_region(region, (40, 40, 40), matrix) == (slice(14, 28), slice(15, 27), slice(16, 26))


@pytest.mark.parametrize("axes", [None, turned(30, 1)], ids=["straight", "turned"])
def test_voxels_within_a_region_are_those_whose_centres_it_holds(axes):
    matrix = np.eye(4)
    matrix[:3, :3] = turned(15, 2) @ np.diag([1.0, 2.0, 0.5])
    region = RegionOfInterest((8.03, 24.07, 9.01), (10, 12, 6), axes)
    box = box_of_region(region, (40, 30, 40), matrix)
    inside = np.zeros((40, 30, 40), dtype=bool)
    inside[box] = within_region(region, box, matrix)
    k, j, i = np.indices(inside.shape)
    ras = np.einsum("ab,bzyx->azyx", matrix[:3, :3], np.stack([i, j, k]))
    along = np.einsum("ab,bzyx->azyx", region.frame().T, ras - np.reshape(region.center_ras, (3, 1, 1, 1)))
    expected = (np.abs(along) <= np.reshape(region.size_mm, (3, 1, 1, 1)) / 2 + 1e-6).all(axis=0)
    assert expected.any()
    np.testing.assert_array_equal(inside, expected)


@pytest.mark.parametrize("center", [(-100, 5, 5), (5, 5, 100)])
def test_region_beside_the_scan_is_refused(center):
    with pytest.raises(ValueError, match="outside the scan"):
        box_of_region(RegionOfInterest(center, (5, 5, 5)), (10, 10, 10), np.eye(4))


@pytest.mark.parametrize("center", [(-0.8, 5, 5), (5, 5, 9.8)])
def test_region_in_the_last_half_voxel_is_outside_only_beyond_the_field_of_view(center):
    # The field of view ends at -0.5 and 9.5: the first region ends, the second starts, within or beyond it.
    for size, message in [(0.4, "outside the scan"), (0.8, "between voxel centres: enlarge it")]:
        with pytest.raises(ValueError, match=message):
            box_of_region(RegionOfInterest(center, (size, size, size)), (10, 10, 10), np.eye(4))


@pytest.mark.parametrize("center", [(5.5, 5, 5), (5, 2.5, 5), (5, 5, 0.5)])
def test_region_between_voxel_centres_is_refused_as_such(center):
    with pytest.raises(ValueError, match=r"R \S+ to \S+, .*mm\) lies between voxel centres: enlarge it"):
        box_of_region(RegionOfInterest(center, (0.5, 0.5, 0.5)), (10, 10, 10), np.eye(4))


def test_region_between_voxel_centres_but_beside_the_scan_is_outside():
    with pytest.raises(ValueError, match="outside the scan"):
        box_of_region(RegionOfInterest((5.5, 5, 100), (0.5, 5, 5)), (10, 10, 10), np.eye(4))


@pytest.mark.parametrize("size", [(0, 1, 1), (-1, 1, 1), (float("nan"), 1, 1)])
def test_region_without_a_positive_size_is_refused(size):
    with pytest.raises(ValueError, match="positive edge lengths"):
        RegionOfInterest((0, 0, 0), size)


@pytest.mark.parametrize("axes", [np.diag([2, 1, 1]), [[1, 0.1, 0], [0, 1, 0], [0, 0, 1]], np.eye(2)])
def test_region_whose_axes_are_no_box_is_refused(axes):
    with pytest.raises(ValueError, match="right angles"):
        RegionOfInterest((0, 0, 0), (1, 1, 1), axes)


@pytest.mark.parametrize("text", ["1,2.5,-3,10,20,30", "-1234.567,10.1234567,0,1e-05,20,30"])
def test_region_comes_back_from_its_text(text):
    assert RegionOfInterest.parse(text).to_text() == text


def test_extent_is_told_to_a_tenth_of_a_mm():
    points = np.array([(-0.04, 1.26, -3), (0.14, 10, 2.96)])
    assert describe_extent(points) == "R 0 to 0.1, A 1.3 to 10, S -3 to 3 mm"


def test_region_from_text():
    assert RegionOfInterest.parse("1, 2.5,-3, 10,20,30") == RegionOfInterest((1, 2.5, -3), (10, 20, 30))


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d,e,f", "", "1,2,3,4,5,6,7"])
def test_region_from_other_text_is_refused(text):
    with pytest.raises(ValueError, match="six numbers"):
        RegionOfInterest.parse(text)


def test_whole_box_is_everything():
    assert np.zeros(SHAPE)[whole_box(SHAPE)].shape == SHAPE
