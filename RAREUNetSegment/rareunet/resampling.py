"""One grid <-> another over the same field of view, as a matrix for each axis. Arrays are (C, Z, Y, X)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def resample(image: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Resamples (C, Z, Y, X) to another size over the same field of view; its own inverse with sizes swapped.

    Linear along each axis; where an axis gets coarser the triangle widens with it, so that no voxel is skipped.
    """
    for axis, size in enumerate(shape, start=1):
        if image.shape[axis] != size:
            image = apply_along_axis(image, resampling_matrix(image.shape[axis], size), axis)
    return image


def resampling_matrix(size: int, new_size: int) -> np.ndarray:
    """(new_size, size) float32 weights; rows add up to 1. Voxel i covers [i, i + 1) of `size` equal parts."""
    step = size / new_size
    centres = (np.arange(new_size) + 0.5) * step - 0.5
    distance = np.abs(centres[:, np.newaxis] - np.arange(size))
    weights = np.clip(1 - distance / max(step, 1.0), 0, None)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def restore(scores: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Brings scores (K, Z, Y, X) back to a scan's size over the same field of view.

    Linear along an axis that gets finer. Along one that gets coarser, a voxel of the scan takes the mean of what it
    covers and nothing from beyond, unlike in `resample`: its class is the one that fills most of it.
    """
    for axis, size in enumerate(shape, start=1):
        if scores.shape[axis] != size:
            scores = apply_along_axis(scores, restoring_matrix(scores.shape[axis], size), axis)
    return scores


def restore_planes(scores: np.ndarray, planes: slice, size: int) -> np.ndarray:
    """What `restore` to `size` planes along z gives for some of those planes, from the scores near them."""
    if scores.shape[1] == size:
        return scores[:, planes]
    rows = restoring_matrix(scores.shape[1], size)[planes]
    used = np.flatnonzero(rows.any(axis=0))
    nearby = slice(used[0], used[-1] + 1)
    return apply_along_axis(scores[:, nearby], rows[:, nearby], 1)


def restoring_matrix(size: int, new_size: int) -> np.ndarray:
    """(new_size, size) float32 weights of `restore`."""
    if new_size < size:
        return profile_matrix(size, new_size, size / new_size)
    return resampling_matrix(size, new_size)


def profile_matrix(size: int, new_size: int, step: float, thickness: float = 1.0) -> np.ndarray:
    """(new_size, size) float32 weights of a box slice profile; rows add up to 1.

    Args:
        size: fine voxels, each of length 1.
        new_size: coarse voxels; coarse voxel i is centred at (i + 0.5) * step from the start of the field of view.
        step: distance between coarse voxels, in fine voxels.
        thickness: excited part of each step; below 1 there are gaps between the slices.
    """
    half = max(thickness * step, 1.0) / 2
    centres = (np.arange(new_size) + 0.5) * step
    low, high = (centres - half)[:, np.newaxis], (centres + half)[:, np.newaxis]
    edges = np.arange(size)
    overlap = np.clip(np.minimum(high, edges + 1) - np.maximum(low, edges), 0, None)
    return (overlap / overlap.sum(axis=1, keepdims=True)).astype(np.float32)


def apply_along_axis(image: np.ndarray, matrix: np.ndarray, axis: int) -> np.ndarray:
    """Multiplies one axis of an array by a (new, old) matrix."""
    return np.moveaxis(np.tensordot(matrix, image, axes=(1, axis)), 0, axis)
