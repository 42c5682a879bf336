"""Channels of one scan from several files: brought to the first channel's grid, then stacked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rareunet.volume import Volume
from rareunet.wording import times
from rareunet.world_grids import image_on_grid

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
    return Volume(voxels, first.ijk_to_ras, name, tuple(dict.fromkeys(notes)), first.nifti_geometry)


def _same_grid(channel: Volume, first: Volume) -> bool:
    apart = np.abs(channel.ijk_to_ras - first.ijk_to_ras).max()
    return channel.shape == first.shape and bool(apart <= SAME_GEOMETRY_MM)


def _on_grid_of(first: Volume, channel: Volume) -> np.ndarray:
    """float32 (Z, Y, X): the channel at the first one's voxel centres, NaN outside its own field of view.

    Raises:
        ValueError: it covers less than half of the first one's voxels.
    """
    image, inside = image_on_grid(channel.voxels[0], channel.ijk_to_ras, first.shape, first.ijk_to_ras)
    share = inside.mean()
    if share < LEAST_OVERLAP:
        raise ValueError(
            f"the channels show different places: {channel.name} covers {share:.0%} of {first.name}'s"
            f" field of view, at least {LEAST_OVERLAP:.0%} is needed. {_geometry(first)} {_geometry(channel)}"
            " Give channels of the same scan, registered to each other."
        )
    image[~inside] = np.nan
    return image


def _geometry(volume: Volume) -> str:
    size = times(reversed(volume.shape))
    matrix = np.array2string(volume.ijk_to_ras[:3], precision=4, suppress_small=True).replace("\n", "")
    return f"{volume.name}: {size} voxels, world matrix {matrix}."
