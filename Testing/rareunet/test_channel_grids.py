"""Channels on different grids: each voxel of the result shows the same place in every channel."""

import sys

import numpy as np
import pytest
from turns import turned_world

from rareunet.channel_grids import join_channels
from rareunet.volume import Volume

SHAPE = (6, 8, 10)
RANDOM = np.random.default_rng(0).integers(-500, 500, SHAPE).astype(np.int16)
MATRIX = np.array([[0, 0, 3, -10.5], [-0.5, 0, 0, 20], [0, 0.8, 0, 30], [0, 0, 0, 1.0]])
TURN = turned_world(11, 2)


def shifted(matrix, i, j, k):
    move = np.eye(4)
    move[:3, 3] = (i, j, k)
    return matrix @ move


def ramp(matrix, shape):
    """A scan whose value is a linear function of the place (R, A, S), which trilinear resampling keeps."""
    k, j, i = np.indices(shape)
    r, a, s, _ = np.einsum("rc,czyx->rzyx", matrix, np.stack([i, j, k, np.ones(shape)]))
    return 100 + r - 2 * a + 3 * s


@pytest.mark.parametrize("matrix", [MATRIX, TURN @ MATRIX, np.eye(4)])
def test_a_shift_by_whole_voxels_is_exact(matrix):
    # The second channel starts at the first one's voxel i = 2, j = -1, k = 1.
    first = Volume(RANDOM, matrix, "t1")
    joined = join_channels([first, Volume(RANDOM, shifted(matrix, 2, -1, 1), "t2")], "case")
    assert joined.voxels.dtype == np.float32
    assert joined.name == "case"
    np.testing.assert_array_equal(joined.ijk_to_ras, matrix)
    np.testing.assert_array_equal(joined.voxels[0], RANDOM)
    np.testing.assert_allclose(joined.voxels[1, 1:, :-1, 2:], RANDOM[:-1, 1:, :-2], atol=1e-4)
    outside = np.ones(SHAPE, bool)
    outside[1:, :-1, 2:] = False
    np.testing.assert_array_equal(np.isnan(joined.voxels[1]), outside)


def test_a_shift_on_a_straight_grid_keeps_every_bit():
    joined = join_channels([Volume(RANDOM, np.eye(4)), Volume(RANDOM, shifted(np.eye(4), 0, 0, 2))], "case")
    np.testing.assert_array_equal(joined.voxels[1, 2:], RANDOM[:-2])


@pytest.mark.parametrize("turn", [np.eye(4), TURN])
def test_a_coarser_channel_keeps_its_places(turn):
    # Twice the spacing, over a far larger field of view.
    coarse = turn @ shifted(MATRIX, -35, -35, -35) @ np.diag([2, 2, 2, 1.0])
    first = Volume(RANDOM.astype(np.float32), MATRIX, "t1")
    joined = join_channels([first, Volume(ramp(coarse, (40, 40, 40)), coarse, "t2")], "case")
    np.testing.assert_allclose(joined.voxels[1], ramp(MATRIX, SHAPE), atol=1e-3)


def test_a_coarser_channel_of_the_same_field_of_view_has_no_gaps():
    # Voxels of 2 mm over the same 12 x 12 x 12 mm: the outer half voxels take the border's value.
    coarse = shifted(np.eye(4), 0.5, 0.5, 0.5) @ np.diag([2, 2, 2, 1.0])
    values = np.arange(6, dtype=np.uint8) * np.ones((6, 6, 1), np.uint8)
    joined = join_channels([Volume(np.zeros((12, 12, 12)), np.eye(4)), Volume(values, coarse)], "case")
    expected = np.clip((np.arange(12) - 0.5) / 2, 0, 5)
    np.testing.assert_allclose(joined.voxels[1], np.broadcast_to(expected, (12, 12, 12)), atol=1e-6)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float16, np.int32, np.float64])
def test_any_number_type_can_be_resampled(dtype):
    voxels = (RANDOM > 0).astype(dtype)
    joined = join_channels([Volume(RANDOM, MATRIX), Volume(voxels, shifted(MATRIX, 1, 0, 0))], "case")
    assert joined.voxels.dtype == np.float32
    np.testing.assert_allclose(joined.voxels[1, :, :, 1:], voxels[:, :, :-1], atol=1e-4)


def test_no_overlap_is_refused_with_both_geometries():
    far = shifted(np.eye(4), 1000, 0, 0)
    with pytest.raises(ValueError, match="t2 covers 0% of t1's field of view") as caught:
        join_channels([Volume(RANDOM, np.eye(4), "t1"), Volume(RANDOM[:4], far, "t2")], "case")
    assert "t1: 10 x 8 x 6 voxels, world matrix" in str(caught.value)
    assert "t2: 10 x 8 x 4 voxels, world matrix" in str(caught.value)
    assert "1000" in str(caught.value)


@pytest.mark.parametrize(("shift", "accepted"), [(5, True), (6, False), (-5, True), (-6, False)])
def test_half_of_the_field_of_view_is_enough(shift, accepted):
    channels = [Volume(RANDOM, np.eye(4)), Volume(RANDOM, shifted(np.eye(4), shift, 0, 0))]
    if accepted:
        assert np.isnan(join_channels(channels, "case").voxels[1]).mean() == 0.5
    else:
        with pytest.raises(ValueError, match="covers 40%"):
            join_channels(channels, "case")


def test_channels_of_the_same_geometry_stay_untouched_without_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.ndimage", None)
    rounded = MATRIX + 5e-4
    joined = join_channels([Volume(RANDOM, MATRIX), Volume(RANDOM + 1, rounded)], "case")
    assert joined.voxels.dtype == np.int16
    assert joined.notes == ()
    np.testing.assert_array_equal(joined.voxels, [RANDOM, RANDOM + 1])


def test_the_note_names_the_resampled_channels_only():
    moved = shifted(MATRIX, 1, 0, 0)
    channels = [
        Volume(RANDOM, MATRIX, "t1", ("A note.",)),
        Volume(RANDOM, moved, "t2"),
        Volume(RANDOM, MATRIX, "flair", ("A note.",)),
        Volume(RANDOM, moved, "dwi"),
    ]
    joined = join_channels(channels, "case")
    assert joined.notes == ("A note.", "Resampled to the grid of t1, since they lie on others: t2, dwi.")
    np.testing.assert_array_equal(joined.voxels[2], RANDOM)
