"""Channels of one scan from several files: brought to the first channel's grid, then stacked.

Index coordinates run from 0 at the first voxel's centre; a scan's field of view reaches half a voxel further
than its outermost centres. scipy is imported on first use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rareunet.geometry import EDGE_TOLERANCE
from rareunet.volume import Volume
from rareunet.wording import times

SAME_GEOMETRY_MM = 1e-3  # between the channels of one scan
LEAST_OVERLAP = 0.5  # of the first channel's field of view


def join_channels(channels: Sequence[Volume], name: str) -> Volume:
    """Stacks one-channel volumes to a scan on the first one's grid.

    A channel of another geometry is resampled in world space: trilinear, NaN outside its field of view. A
    note names the channels that were resampled. The others stay as they are.

    Args:
        channels: at least one volume, each with voxels (1, Z, Y, X).
        name: what to call the scan.

    Returns:
        voxels (C, Z, Y, X) in the type that holds every channel's; a resampled channel counts as float32. A single
        channel's voxels are not copied.

    Raises:
        ValueError: a volume has several channels, or covers less than half of the first one's field of view.
    """
    first = channels[0]
    for channel in channels:
        if len(channel.voxels) != 1:
            raise ValueError(f"{channel.name} has {len(channel.voxels)} channels: give one file per channel.")
    if len(channels) == 1:
        return replace(first, name=name)
    resampled = [channel.name for channel in channels if not _same_grid(channel, first)]
    images = [c.voxels if _same_grid(c, first) else _on_grid_of(first, c)[np.newaxis] for c in channels]
    kinds = {image.dtype for image in images}
    dtype = np.result_type(*kinds)
    if dtype == np.float64 and np.dtype(np.float64) not in kinds:
        dtype = np.dtype(np.float32)
    notes = [note for channel in channels for note in channel.notes]
    if resampled:
        notes.append(
            f"Resampled to the grid of {first.name}, since they lie on others: {', '.join(resampled)}."
        )
    voxels = np.concatenate([image.astype(dtype, copy=False) for image in images])
    return Volume(voxels, first.ijk_to_ras, name, tuple(dict.fromkeys(notes)))


def _same_grid(channel: Volume, first: Volume) -> bool:
    apart = np.abs(channel.ijk_to_ras - first.ijk_to_ras).max()
    return channel.shape == first.shape and bool(apart <= SAME_GEOMETRY_MM)


def _on_grid_of(first: Volume, channel: Volume) -> np.ndarray:
    """float32 (Z, Y, X): the channel at the first one's voxel centres, NaN outside its own field of view.

    Raises:
        ValueError: it covers less than half of the first one's voxels.
    """
    image, inside = on_grid(channel.voxels[0], channel.ijk_to_ras, first.shape, first.ijk_to_ras)
    share = inside.mean()
    if share < LEAST_OVERLAP:
        raise ValueError(
            f"the channels show different places: {channel.name} covers {share:.0%} of {first.name}'s"
            f" field of view, at least {LEAST_OVERLAP:.0%} is needed. {_geometry(first)} {_geometry(channel)}"
            " Give channels of the same scan, registered to each other."
        )
    image[~inside] = np.nan
    return image


def on_grid(
    image: np.ndarray, ijk_to_ras: np.ndarray, shape: Sequence[int], new_ijk_to_ras: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """An image (Z, Y, X) at the voxel centres of another grid, trilinear.

    Args:
        ijk_to_ras, new_ijk_to_ras: (4, 4) world matrices of the image and of the other grid.
        shape: (Z, Y, X) of the other grid.

    Returns:
        float32 of that shape, and whether each voxel lies in the image's field of view.
    """
    from scipy.ndimage import affine_transform

    between = np.linalg.inv(ijk_to_ras) @ new_ijk_to_ras
    matrix, offset = between[2::-1, 2::-1], between[2::-1, 3]  # i, j, k -> z, y, x
    inside = _inside(matrix, offset, shape, image.shape)
    voxels = image.astype(np.float32, copy=False)
    # "nearest" serves the outer half of the border voxels.
    found = affine_transform(voxels, matrix, offset, tuple(shape), np.float32, order=1, mode="nearest")
    return found, inside


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


def _geometry(volume: Volume) -> str:
    size = times(reversed(volume.shape))
    matrix = np.array2string(volume.ijk_to_ras[:3], precision=4, suppress_small=True).replace("\n", "")
    return f"{volume.name}: {size} voxels, world matrix {matrix}."
