"""Overlapping tiles and their blending, for scans that do not fit into memory in one piece.

Everything is on the network grid: arrays (C, Z, Y, X), sizes (z, y, x) in its voxels. Tiles begin at multiples of
what the poolings need, so that each pools the same voxels together as the whole scan would. What still differs
is instance norm, whose statistics are those of the tile.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rareunet.geometry import Shape

# Neighbours share this part of a tile at most.
OVERLAP = 0.5
# Standard deviation of the Gaussian that weighs a tile, as a part of its size.
SIGMA = 0.125


@dataclass(frozen=True)
class Tile:
    """Where a tile lies, and its weight along each axis; the weights of all tiles add up to 1 in each voxel."""

    box: tuple[slice, slice, slice]
    weights: tuple[np.ndarray, np.ndarray, np.ndarray]


def tile_starts(size: int, tile: int, multiple: int) -> list[int]:
    """First voxels of the tiles along one axis: multiples of `multiple`, as few as the overlap allows, spread evenly.

    Args:
        size: voxels of the axis; a multiple of `multiple`, as is `tile`.
    """
    step = math.ceil(tile * (1 - OVERLAP) / multiple) * multiple
    count = -(-(size - tile) // step) + 1
    rest = (size - tile) // multiple
    return [rest * i // max(count - 1, 1) * multiple for i in range(count)]


def count_tiles(size: Sequence[int], tile: Sequence[int], multiples: Sequence[int]) -> int:
    """How many tiles cover a grid of `size`."""
    return math.prod(len(tile_starts(n, t, m)) for n, t, m in zip(size, tile, multiples, strict=True))


def blending_weights(size: int, tile: int, starts: Sequence[int]) -> list[np.ndarray]:
    """A Gaussian for each tile along one axis, float32 (tile,), divided by the sum of all tiles there."""
    distance = (np.arange(tile) - (tile - 1) / 2) / (SIGMA * tile)
    gaussian = np.exp(-(distance**2) / 2)
    total = np.zeros(size)
    for start in starts:
        total[start : start + tile] += gaussian
    return [(gaussian / total[start : start + tile]).astype(np.float32) for start in starts]


def tiles(size: Sequence[int], tile: Sequence[int], multiples: Sequence[int]) -> list[Tile]:
    """The tiles of a grid of `size`."""
    axes = []
    for n, t, multiple in zip(size, tile, multiples, strict=True):
        starts = tile_starts(n, t, multiple)
        weights = blending_weights(n, t, starts)
        axes.append([(slice(s, s + t), w) for s, w in zip(starts, weights, strict=True)])
    return [Tile((z[0], y[0], x[0]), (z[1], y[1], x[1])) for z, y, x in itertools.product(*axes)]


def blend(
    image: Tensor,
    tile: Sequence[int],
    multiples: Sequence[int],
    network: Callable[[Tensor], Tensor],
    progress: Callable[[float], None],
) -> Tensor:
    """Runs the network over the tiles of an image and adds up its answers, on the CPU and in float32.

    Args:
        image: (C, Z, Y, X) on the CPU.
        tile: size of a tile.
        multiples: what each axis of a tile is a multiple of.
        network: (1, C, z, y, x) -> logits (1, K, z, y, x) on any device.
        progress: called with the fraction done after each tile.

    Returns:
        logits (K, Z, Y, X).
    """
    places = tiles(image.shape[1:], tile, multiples)
    total: Tensor | None = None
    for done, place in enumerate(places, start=1):
        logits = network(image[(None, slice(None), *place.box)])[0].to("cpu", torch.float32)
        if len(places) == 1:
            return logits
        for axis, weights in enumerate(place.weights):
            logits *= torch.from_numpy(weights).reshape([-1 if a == axis else 1 for a in range(3)])
        if total is None:
            total = torch.zeros(len(logits), *image.shape[1:])
        total[(slice(None), *place.box)] += logits
        progress(done / len(places))
    assert total is not None
    return total


def smaller_tiles(
    size: Shape, multiples: Shape, spacing_mm: Sequence[float], smallest_mm: Sequence[float]
) -> list[Shape]:
    """Ever smaller tiles, from the whole grid on: each time the axis that reaches furthest in mm is halved.

    Args:
        size: the whole grid.
        multiples: what each axis must remain a multiple of; no axis gets smaller than twice that.
        spacing_mm: spacing of the grid.
        smallest_mm: no axis that is longer gets smaller than this.
    """
    found = [size]
    while True:
        tile = list(found[-1])
        halves = [max(-(-n // (2 * m)), 2) * m for n, m in zip(tile, multiples, strict=True)]
        extents = [
            n * s if half < n and half * s >= least else 0
            for n, half, s, least in zip(tile, halves, spacing_mm, smallest_mm, strict=True)
        ]
        if not any(extents):
            return found
        longest = extents.index(max(extents))
        tile[longest] = halves[longest]
        found.append((tile[0], tile[1], tile[2]))
