"""Input grid <-> network grid. Each step stands beside its inverse; training takes the padding from here.

Arrays are (C, Z, Y, X); after `Reorientation.apply` the axes run to S, A, R. The steps: straighten a turned scan, crop
to the region of interest and, where that saves network voxels, to the scanned part, reorient, normalise intensities,
resample the axes whose residual asks for it, pad to what the poolings need. Padding has the value 0, which is the
lowest normalised intensity and what the convolutions themselves assume beyond the border; it comes after the
intensities are measured, so it cannot change them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rareunet.geometry import (
    Box,
    RegionOfInterest,
    Reorientation,
    Shape,
    Triple,
    box_of_region,
    canonical_spacing,
    whole_box,
)
from rareunet.intensity import IntensityRule, content_box, normalise
from rareunet.oblique import (
    Turned,
    bring_back,
    part_to_ras,
    straight_spacing,
    straighten,
    straightening_degrees,
)
from rareunet.resampling import resample, restore, restore_planes
from rareunet.routing import Route, Router, route_for
from rareunet.volume import Volume

# Scores brought back to the scan's spacing at a time.
PLANES_BYTES = 32_000_000


@dataclass(frozen=True)
class GridSettings:
    """What a model's network grids are made by.

    Attributes:
        reference_spacing_mm: (S, A, R) spacing of depth 0.
        stages: poolings from depth 0 to the bottleneck.
        deepest: deepest entry depth.
        intensity: intensity rule.
        straighten_turned: see Bundle.
    """

    reference_spacing_mm: Triple
    stages: int
    deepest: int
    intensity: IntensityRule
    straighten_turned: bool = True


@dataclass(frozen=True)
class NetworkGrid:
    """How one scan was brought to the network; enough to bring an answer back.

    Attributes:
        input_shape: (Z, Y, X) of the whole scan.
        box: the voxels (z, y, x) of the scan that were used.
        reorientation: input axes -> canonical axes.
        shape: (Z, Y, X) of the used part, or of the straight grid in its place; canonical axes, spacing before
            resampling.
        resampled_shape: the same after resampling to route.network_spacing_mm.
        padding: (before, after) for each axis (z, y, x), voxels of the network grid.
        route: the route, in canonical axes.
        turned: where the scan was resampled to a straight grid first.
    """

    input_shape: tuple[int, int, int]
    box: Box
    reorientation: Reorientation
    shape: tuple[int, int, int]
    resampled_shape: tuple[int, int, int]
    padding: tuple[tuple[int, int], ...]
    route: Route
    turned: Turned | None = None


def route_of_scan(
    ijk_to_ras: np.ndarray,
    reference_spacing_mm: Sequence[float],
    deepest: int,
    entry_depth: int | None = None,
    router: Router = route_for,
    straighten_turned: bool = True,
    has_region: bool = False,
) -> Route:
    """The route by which to_network_grid brings a scan to the network; told from its geometry alone.

    Args:
        ijk_to_ras: (4, 4) world matrix of the scan.
        reference_spacing_mm: (S, A, R) spacing of depth 0.
        deepest: deepest entry depth.
        entry_depth: fixed depth for all axes, or None to choose by spacing.
        router: chooses the route.
        straighten_turned: see Bundle.
        has_region: a region of interest is cut from it.

    Raises:
        ValueError: unknown depth, unusable spacing.
    """
    spacing = canonical_spacing(ijk_to_ras)
    turned = straightening_degrees(ijk_to_ras, has_region=has_region) if straighten_turned else 0.0
    if turned:
        spacing = (straight_spacing(spacing, reference_spacing_mm),) * 3
    return replace(router(spacing, reference_spacing_mm, deepest, entry_depth), turned_degrees=turned)


def to_network_grid(
    volume: Volume,
    settings: GridSettings,
    region: RegionOfInterest | None = None,
    entry_depth: int | None = None,
    router: Router = route_for,
    keep_padding: bool = False,
) -> tuple[np.ndarray, NetworkGrid]:
    """Brings a scan to the network.

    Args:
        volume: the scan.
        settings: of the model.
        region: part of the scan to use; None for all of it.
        entry_depth: fixed depth for all axes, or None to choose by spacing.
        router: chooses the route.
        keep_padding: keep planes of padding that the scan brought along.

    Returns:
        float32 (C, Z, Y, X) on the network grid, and the grid.
    """
    box = (
        whole_box(volume.shape) if region is None else box_of_region(region, volume.shape, volume.ijk_to_ras)
    )
    reference, stages, rule = settings.reference_spacing_mm, settings.stages, settings.intensity
    degrees = straightening_degrees(volume.ijk_to_ras, has_region=region is not None)
    if settings.straighten_turned and degrees:
        used = scanned_box(volume, box)
        straight = straighten(volume, used, reference, rule)
        image, grid = to_network_grid(straight, settings, region, entry_depth, router, keep_padding)
        turned = Turned(part_to_ras(straight.ijk_to_ras, grid.box), volume.ijk_to_ras)
        route = replace(grid.route, turned_degrees=degrees)
        return image, replace(grid, input_shape=volume.shape, box=used, route=route, turned=turned)
    reorientation = Reorientation.to_ras(volume.ijk_to_ras)
    route = route_of_scan(
        volume.ijk_to_ras, reference, settings.deepest, entry_depth, router, straighten_turned=False
    )
    if not keep_padding:
        box = _without_padding(volume, box, reorientation, route, stages)
    part = reorientation.apply(volume.voxels[(slice(None), *box)])
    shape = network_shape(part.shape[1:], route)
    # A channel at a time: at the scan's own spacing all of them together can be far larger than the network grid.
    resampled = np.concatenate([resample(normalise(channel[np.newaxis], rule), shape) for channel in part])
    padding = padding_for(resampled.shape[1:], route, stages)
    grid = NetworkGrid(
        volume.shape,
        box,
        reorientation,
        _triple(part.shape[1:]),
        _triple(resampled.shape[1:]),
        padding,
        route,
    )
    return np.pad(resampled, ((0, 0), *padding)), grid


def to_input_part(
    scores: np.ndarray, grid: NetworkGrid, decide: Callable[[np.ndarray], np.ndarray] = lambda scores: scores
) -> np.ndarray:
    """Undoes padding, resampling and reorientation, a few planes at a time.

    Args:
        scores: float (K, Z, Y, X) on the network grid.
        decide: what to keep of a few planes (K, z, Y, X) at the scan's spacing, as (N, z, Y, X): all scores, or
            less, since those of a large scan take far more memory than its label map.

    Returns:
        (N, Z, Y, X) on the used part (grid.box) of the scan, in the scan's own axes.
    """
    if grid.turned is not None:
        straight = to_input_part(scores, replace(grid, turned=None))
        return bring_back(straight, grid.turned, grid.box, decide)
    inner = tuple(
        slice(before, before + size)
        for (before, _), size in zip(grid.padding, grid.resampled_shape, strict=True)
    )
    scores = scores[(slice(None), *inner)]
    z, y, x = grid.shape
    planes = max(1, PLANES_BYTES // (scores.itemsize * len(scores) * y * x))
    parts = []
    for start in range(0, z, planes):
        slab = restore_planes(scores, slice(start, start + planes), z)
        parts.append(decide(restore(slab, (slab.shape[1], y, x))))
    return grid.reorientation.invert(np.concatenate(parts, axis=1))


def to_input_grid(part: np.ndarray, grid: NetworkGrid) -> np.ndarray:
    """Undoes the crop: (Z, Y, X) of the used part -> (Z, Y, X) of the scan, 0 elsewhere."""
    whole = np.zeros(grid.input_shape, dtype=part.dtype)
    whole[grid.box] = part
    return whole


def scanned_box(volume: Volume, box: Box) -> Box:
    """The part of a box (z, y, x) of a scan outside which all channels hold only their padding value."""
    inner = [content_box(channel[box]) for channel in volume.voxels]
    parts = []
    for axis, outer in enumerate(box):
        used = [content[axis] for content in inner if content[axis].stop > content[axis].start]
        if not used:
            return box  # nothing but padding
        parts.append(slice(outer.start + min(s.start for s in used), outer.start + max(s.stop for s in used)))
    return parts[0], parts[1], parts[2]


def _without_padding(
    volume: Volume, box: Box, reorientation: Reorientation, route: Route, stages: int
) -> Box:
    """The box (z, y, x) without planes of padding that the scan brought along, on the axes where the network then
    has fewer voxels: it has learnt scans that fill its grid.
    """
    inner, kept = scanned_box(volume, box), list(box)
    sizes = []
    for candidate in (box, inner):
        part = reorientation.reorder([s.stop - s.start for s in candidate])
        shape = network_shape([int(n) for n in part], route)
        sizes.append([n + sum(pad) for n, pad in zip(shape, padding_for(shape, route, stages), strict=True)])
    for axis, before, after in zip(reorientation.source_axes, *sizes, strict=True):
        if after < before:
            kept[axis] = inner[axis]
    return kept[0], kept[1], kept[2]


def network_shape(shape: Sequence[int], route: Route) -> Shape:
    """Size (Z, Y, X) after resampling to the network's spacing; the field of view stays the same."""
    z, y, x = (
        max(1, round(n * spacing / target))
        for n, spacing, target in zip(shape, route.spacing_mm, route.network_spacing_mm, strict=True)
    )
    return z, y, x


def multiples_of(stages: int, axis_depths: Sequence[int]) -> Shape:
    """What each axis of a grid must be a multiple of, for its poolings."""
    z, y, x = (2 ** (stages - depth) for depth in axis_depths)
    return z, y, x


def padding_for(shape: Sequence[int], route: Route, stages: int) -> tuple[tuple[int, int], ...]:
    """Voxels to add (before, after) each axis so that the poolings fit; an odd one goes before."""
    multiples = multiples_of(stages, route.axis_depths)
    needed = [-(-size // multiple) * multiple for size, multiple in zip(shape, multiples, strict=True)]
    if tuple(needed) == multiples:  # one voxel at the bottleneck: instance norm needs two
        cheapest = multiples.index(min(multiples))
        needed[cheapest] *= 2
    return tuple(((n - size + 1) // 2, (n - size) // 2) for n, size in zip(needed, shape, strict=True))


def _triple(shape: Sequence[int]) -> Shape:
    z, y, x = (int(n) for n in shape)
    return z, y, x
