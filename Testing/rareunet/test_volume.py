"""Volume: what it tells and what it refuses."""

import numpy as np
import pytest
from turns import turned

from rareunet.volume import Volume

VOXELS = np.zeros((3, 4, 5), np.int16)


def matrix_with(spacing):
    return np.diag([*spacing, 1.0])


def test_shape_and_spacing_run_z_y_x():
    volume = Volume(VOXELS, matrix_with((0.5, 1, 4)))
    assert volume.voxels.shape == (1, 3, 4, 5)
    assert volume.shape == (3, 4, 5)
    assert volume.spacing_mm == (4, 1, 0.5)
    assert volume.notes == ()


def test_channels_come_first():
    assert Volume(np.zeros((2, 3, 4, 5)), np.eye(4)).shape == (3, 4, 5)


def test_the_matrix_becomes_float64_and_voxels_keep_their_type():
    volume = Volume(VOXELS, np.eye(4, dtype=np.float32))
    assert volume.ijk_to_ras.dtype == np.float64
    assert volume.voxels.dtype == np.int16


def test_spacing_of_a_turned_scan():
    matrix = np.eye(4)
    matrix[:3, :3] = turned(30, 2) * (1, 2, -3)
    assert Volume(VOXELS, matrix).spacing_mm == pytest.approx((3, 2, 1))


@pytest.mark.parametrize(
    ("voxels", "message"),
    [
        (np.zeros((4, 5)), "2 dimensions"),
        (np.zeros((1, 1, 3, 4, 5)), "5 dimensions"),
        (np.zeros((0, 4, 5)), "empty"),
        (np.zeros((0, 3, 4, 5)), "empty"),
        (np.zeros((1, 4, 5)), "single slice"),
        (np.zeros((3, 1, 5)), "single slice"),
        (np.zeros((3, 4, 5), complex), "real numbers"),
        (np.zeros((3, 4, 5), "U1"), "real numbers"),
        (np.zeros((3, 4, 5), [("R", "u1"), ("G", "u1")]), "real numbers"),
    ],
)
def test_bad_voxels_are_refused_by_name(voxels, message):
    with pytest.raises(ValueError, match=f"^case7 .*{message}"):
        Volume(voxels, np.eye(4), name="case7")


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.eye(3), "world matrix"),
        (matrix_with((float("nan"), 1, 1)), "world matrix"),
        (matrix_with((float("inf"), 1, 1)), "world matrix"),
        (matrix_with((0, 1, 1)), "spacing of 0 x 1 x 1 mm"),
        (np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "singular"),
    ],
)
def test_bad_geometry_is_refused(matrix, message):
    with pytest.raises(ValueError, match=message):
        Volume(VOXELS, matrix)


def test_left_handed_and_very_anisotropic_scans_are_fine():
    assert Volume(VOXELS, matrix_with((-0.2, 0.2, 10))).spacing_mm == pytest.approx((10, 0.2, 0.2))
