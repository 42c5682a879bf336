"""The memory ladder: the whole scan if it fits, else ever smaller tiles, then the CPU in place of a GPU.

Tiles smaller than the crops of the training come last of all: they cost far more accuracy than anything above them.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rareunet.architecture import Architecture
from rareunet.bundle import Bundle
from rareunet.device import computes_in_bfloat16
from rareunet.errors import MemoryLadderError, is_out_of_memory
from rareunet.geometry import Shape
from rareunet.inference.free_memory import free_bytes
from rareunet.inference.memory import walk_bytes
from rareunet.inference.tiling import blend, count_tiles, smaller_tiles
from rareunet.network import RAREUNet
from rareunet.preprocessing import multiples_of
from rareunet.routing import AxisDepths, Route

log = logging.getLogger(__name__)

# Part of the free memory that may be used: estimates are that good, and other programs need some as well.
USABLE = 0.8
CPU = torch.device("cpu")
ADVICE = "close other programs or place a smaller region of interest"
ADVICE_UNDER_LIMIT = "allow more memory or place a smaller region of interest"


@dataclass(frozen=True)
class Rung:
    """One way to run the network.

    Attributes:
        device: where.
        dtype: type of the features there.
        tile: (z, y, x) voxels of the network grid at a time.
        tiles: how many.
        small: the tile is smaller than the largest crops of the training.
        bytes: what it needs on the device beside the weights.
    """

    device: torch.device
    dtype: torch.dtype
    tile: Shape
    tiles: int
    small: bool
    bytes: float

    def describe(self) -> str:
        """For a person, sizes in the order x, y, z."""
        z, y, x = self.tile
        how = f"{self.tiles} overlapping tiles of {x} x {y} x {z} voxels" if self.tiles > 1 else "one piece"
        return f"in {how} on {self.device} ({str(self.dtype).removeprefix('torch.')})"


@dataclass(frozen=True)
class Ladder:
    """The rungs for a scan from the top, its axis depths, and what each axis of a tile is a multiple of."""

    rungs: tuple[Rung, ...]
    axis_depths: AxisDepths
    multiples: Shape

    @classmethod
    def of(cls, bundle: Bundle, shape: Shape, route: Route, device: torch.device) -> Ladder:
        """The ladder of a network grid.

        Args:
            shape: (Z, Y, X) of the grid.
            device: what was asked for.
        """
        architecture, spacing = bundle.architecture, route.network_spacing_mm
        multiples = multiples_of(architecture.stages, route.axis_depths)
        whole, *tiles = smaller_tiles(shape, multiples, spacing, bundle.field_of_view_mm["largest"])
        small = smaller_tiles((whole, *tiles)[-1], multiples, spacing, (0, 0, 0))[1:]
        ways = list(_ways(whole, tiles, small, device))
        rungs = []
        for where, dtype, tile in ways:
            count = count_tiles(shape, tile, multiples)
            needed = _bytes(architecture, tile, route.axis_depths, where, dtype)
            if where == CPU and count > 1:
                needed += 4 * architecture.classes * math.prod(shape)
            rungs.append(Rung(where, dtype, tile, count, tile in small, needed))
        return cls(tuple(rungs), route.axis_depths, multiples)


@dataclass(frozen=True)
class LadderResult:
    """logits float32 (K, Z, Y, X), the rung that gave them, and the steps down to it as sentences."""

    logits: np.ndarray
    rung: Rung
    notes: tuple[str, ...]


def run_on_ladder(
    network: RAREUNet,
    image: np.ndarray,
    ladder: Ladder,
    progress: Callable[[float], None],
    memory: float | None = None,
) -> LadderResult:
    """Runs the network on the highest rung that fits, and on lower ones where memory runs out all the same.

    Args:
        network: on the device of the first rung.
        image: float32 (C, Z, Y, X).
        progress: called with the fraction done after each tile.
        memory: bytes that may be used, if so much is free; None for most of what is free.

    Raises:
        MemoryLadderError: not even the last rung fits.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(image))
    notes: list[str] = []
    reason, advice = "", ADVICE
    for rung in ladder.rungs:
        free = free_bytes(rung.device)
        allowed = USABLE * free if memory is None else min(memory, free)
        if rung.bytes > allowed:
            if not reason:
                reason = f"{rung.describe()} it needs about {_gb(rung.bytes)} and may use {_gb(allowed)}"
                advice = ADVICE_UNDER_LIMIT if allowed == memory else ADVICE
            continue
        if reason:
            notes.append(_note(rung, reason, advice))
            log.info(notes[-1])
        try:
            logits = _run(network, tensor, ladder, rung, progress)
            return LadderResult(logits.numpy(), rung, tuple(notes))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            reason, advice = f"{rung.describe()} the memory ran out", ADVICE
        if rung.device.type == "cuda":
            torch.cuda.empty_cache()
    raise MemoryLadderError(
        f"the memory is not enough for this scan: {reason}; small tiles need {_gb(ladder.rungs[-1].bytes)}."
        f" To segment it, {advice}."
    )


def _ways(
    whole: Shape, tiles: list[Shape], small: list[Shape], device: torch.device
) -> Iterator[tuple[torch.device, torch.dtype, Shape]]:
    """Device, type and tile of every rung."""
    if device.type != "cpu":
        dtype = torch.float16 if device.type == "cuda" else torch.float32
        for tile in (whole, *tiles):
            yield device, dtype, tile
    if not computes_in_bfloat16():
        yield CPU, torch.float32, whole
    # Where it is no faster it still halves the memory, and hardly changes the result, as tiles do.
    for tile in (whole, *tiles, *small):
        yield CPU, torch.bfloat16, tile


def _bytes(
    architecture: Architecture,
    tile: Shape,
    axis_depths: AxisDepths,
    device: torch.device,
    dtype: torch.dtype,
) -> float:
    if device == CPU:
        return walk_bytes(architecture, tile, axis_depths, dtype.itemsize, in_slabs=True)
    image = 4 * architecture.in_channels * math.prod(tile)
    return image + walk_bytes(architecture, tile, axis_depths, dtype.itemsize, in_slabs=False)


def _note(rung: Rung, reason: str, advice: str) -> str:
    note = f"The scan was segmented {rung.describe()}: {reason}."
    if rung.small:
        note += " These tiles are smaller than the scans that the model was trained on: expect a poor result."
    elif rung.tiles > 1:
        note += " Tiles can change the result: check it where they meet."
    return f"{note} To avoid this, {advice}."


def _run(
    network: RAREUNet,
    image: Tensor,
    ladder: Ladder,
    rung: Rung,
    progress: Callable[[float], None],
) -> Tensor:
    """Logits (K, Z, Y, X) on the CPU."""
    if rung.device != ladder.rungs[0].device:
        network = _copy_on(network, rung.device)

    def walk(tile: Tensor) -> Tensor:
        tile, depths = tile.to(rung.device), ladder.axis_depths
        if rung.device == CPU:
            return network(tile, depths, keep_features=False, dtype=rung.dtype).logits
        if rung.dtype == torch.float16:
            with torch.autocast(rung.device.type, torch.float16):
                logits = network(tile, depths, keep_features=False).logits
            if torch.isfinite(logits).all():
                return logits  # else a feature was beyond float16's range
        return network(tile, depths, keep_features=False).logits

    with torch.inference_mode():
        return blend(image, rung.tile, ladder.multiples, walk, progress)


def _copy_on(network: RAREUNet, device: torch.device) -> RAREUNet:
    """The weights go there one by one, since the device of the network may have no room for a copy."""
    weights = {id(p): torch.nn.Parameter(p.detach().to(device), False) for p in network.parameters()}
    return copy.deepcopy(network, weights)


def _gb(value: float) -> str:
    gigabytes = value / 1e9
    return f"{gigabytes:.1f} GB" if gigabytes >= 1 else f"{gigabytes:.2g} GB"
