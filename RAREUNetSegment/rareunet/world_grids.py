"""From one grid to another in world space, whichever way the two lie. Arrays are (Z, Y, X).

Index coordinates run from 0 at the first voxel's centre; a scan's field of view reaches half a voxel further
than its outermost centres. scipy is imported on first use.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rareunet.geometry import EDGE_TOLERANCE


def image_on_grid(
    image: np.ndarray, ijk_to_ras: np.ndarray, shape: Sequence[int], new_ijk_to_ras: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """An image at the voxel centres of another grid, trilinear.

    Args:
        image: (Z, Y, X).
        ijk_to_ras, new_ijk_to_ras: (4, 4) world matrices of the image and of the other grid.
        shape: (Z, Y, X) of the other grid.

    Returns:
        float32 of that shape, and whether each voxel lies in the image's field of view.
    """
    from scipy.ndimage import affine_transform

    matrix, offset = _between(ijk_to_ras, new_ijk_to_ras)
    inside = _inside(matrix, offset, shape, image.shape)
    voxels = image.astype(np.float32, copy=False)
    # "nearest" serves the outer half of the border voxels.
    found = affine_transform(voxels, matrix, offset, tuple(shape), np.float32, order=1, mode="nearest")
    return found, inside


def labels_on_grid(
    label_map: np.ndarray, ijk_to_ras: np.ndarray, shape: Sequence[int], new_ijk_to_ras: np.ndarray
) -> np.ndarray:
    """A label map at the voxel centres of another grid: the nearest voxel, 0 outside.

    Args:
        label_map: (Z, Y, X).
        ijk_to_ras, new_ijk_to_ras: (4, 4) world matrices of the label map and of the other grid.
        shape: (Z, Y, X) of the other grid.
    """
    from scipy.ndimage import affine_transform

    matrix, offset = _between(ijk_to_ras, new_ijk_to_ras)
    # "grid-constant" counts the outer half of the border voxels as inside.
    return affine_transform(label_map, matrix, offset, tuple(shape), order=0, mode="grid-constant")


def _between(ijk_to_ras: np.ndarray, new_ijk_to_ras: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matrix (3, 3) and offset (3,) that take an index (z, y, x) of the new grid to one of the old."""
    between = np.linalg.inv(ijk_to_ras) @ new_ijk_to_ras
    return between[2::-1, 2::-1], between[2::-1, 3]  # i, j, k -> z, y, x


def _inside(
    matrix: np.ndarray, offset: np.ndarray, shape: Sequence[int], other_shape: Sequence[int]
) -> np.ndarray:
    """bool (Z, Y, X) of `shape`: whether matrix @ index + offset lies in the other shape's field of view."""
    inside = np.ones(tuple(shape), dtype=bool)
    z, y, x = np.ogrid[tuple(slice(n) for n in shape)]
    for row, start, size in zip(matrix, offset, other_shape, strict=True):
        position = row[0] * z + row[1] * y + row[2] * x + start
        inside &= (position >= -0.5 - EDGE_TOLERANCE) & (position <= size - 0.5 + EDGE_TOLERANCE)
    return inside
