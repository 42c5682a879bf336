"""Low-resolution versions of a scan and of its label map. Arrays are (C, Z, Y, X), axis order (z, y, x).

Two ways to lose resolution: halving as the paper does it, and a slice profile for any factor per axis, as a
scanner does it. Labels stay where the voxels lie: a coarse voxel takes the class that fills most of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from rareunet.resampling import apply_along_axis, profile_matrix


def halve(image: np.ndarray, depth: int) -> np.ndarray:
    """Divides each axis of (C, Z, Y, X) by 2^depth: trilinear, voxel centres aligned, size // 2^depth."""
    size = [n // 2**depth for n in image.shape[1:]]
    tensor = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[None]
    return functional.interpolate(tensor, size=size, mode="trilinear", align_corners=False)[0].numpy()


def degrade(
    image: np.ndarray, sizes: Sequence[int], steps: Sequence[float], thickness: float = 1.0
) -> np.ndarray:
    """Samples (C, Z, Y, X) at coarse voxels of the given sizes and steps; axes with step 1 stay as they are."""
    for axis, (size, step) in enumerate(zip(sizes, steps, strict=True), start=1):
        if step != 1 or size != image.shape[axis]:
            image = apply_along_axis(image, profile_matrix(image.shape[axis], size, step, thickness), axis)
    return image


def majority_label(
    label: np.ndarray, classes: int, sizes: Sequence[int], steps: Sequence[float]
) -> np.ndarray:
    """Class (Z, Y, X) that fills most of each coarse voxel; of equally large ones the first.

    Args:
        label: (Z, Y, X) of class indices.
        classes: number of classes.
        sizes, steps: as in `degrade`; the whole voxel counts, gaps included.
    """
    majority = np.zeros(tuple(sizes), np.uint8)
    most = np.zeros(tuple(sizes), np.float32)
    for index in range(classes):  # one at a time: all at once take nine bytes per voxel and class
        fraction = degrade((label == index).astype(np.float32)[np.newaxis], sizes, steps)[0]
        majority[fraction > most] = index
        most = np.maximum(most, fraction)
    return majority


def corner_label(label: np.ndarray, depth: int) -> np.ndarray:
    """The published labels: the class at voxel 2^depth * i, half a coarse voxel off. For the study alone."""
    step = 2**depth
    z, y, x = (n // step * step for n in label.shape)
    return label[:z:step, :y:step, :x:step]
