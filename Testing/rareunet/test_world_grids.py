"""From one grid to another in world space."""

import numpy as np

from rareunet.world_grids import image_on_grid, labels_on_grid


def test_label_map_on_another_grid_takes_the_nearest_voxel():
    label_map = np.arange(1, 5, dtype=np.uint8).reshape(4, 1, 1)
    coarse = np.diag([1.0, 1.0, 2.0, 1.0])
    coarse[2, 3] = 0.5  # its first voxel begins where the fine one begins
    fine = labels_on_grid(label_map, coarse, (10, 1, 1), np.eye(4))[:, 0, 0]
    assert fine.tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 0, 0]
    flipped = np.diag([1.0, 1.0, -1.0, 1.0])
    flipped[2, 3] = 3
    assert labels_on_grid(label_map, flipped, (4, 1, 1), np.eye(4))[:, 0, 0].tolist() == [4, 3, 2, 1]


def test_image_on_another_grid_is_interpolated_and_knows_its_field_of_view():
    image = np.arange(4.0).reshape(4, 1, 1)
    half = np.diag([1.0, 1.0, 0.5, 1.0])
    half[2, 3] = -1.0  # one voxel before the first
    found, inside = image_on_grid(image, np.eye(4), (11, 1, 1), half)
    np.testing.assert_allclose(found[2:9, 0, 0], np.arange(0, 3.5, 0.5))
    assert inside[:, 0, 0].tolist() == [False, *[True] * 9, False]
