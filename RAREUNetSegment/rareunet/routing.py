"""Spacing -> route: how deep each axis of a scan enters the encoder. Pure arithmetic, no torch.

A spacing of 2^d times the reference belongs to depth d. Each axis gets its own depth; the scan as a whole
enters at the shallowest of them, and an axis that belongs deeper waits (is not pooled) until the others
have caught up. What is left between an axis' spacing and its depth's spacing is the residual. An axis that lies too
far from any depth's spacing is resampled to that of the next finer depth but one (3 mm to 1 mm, not to 2): on voxels
hardly smaller than the scan's own, the scan's label map can't be told exactly, and on held-out scans Dice was lower.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rareunet.geometry import Triple

AXIS_NAMES = ("z", "y", "x")

# Residuals in [FINEST, COARSEST] may enter as they are: the network has learnt them by scaling augmentation.
FINEST_RESIDUAL = 0.8
COARSEST_RESIDUAL = 1.25
# Those of depths 0 and 1 only up to here (1.125 and 2.25 mm): at 1 mm Dice was 0.00 to 0.02 higher on held-out scans of
# 1.2 and 1.25 mm, 0.00 to 0.06 on those of 2.3 to 2.5 mm (docs/study/residuals.py). At depth 2 slices along S were
# worse off finer.
COARSEST_FINE_RESIDUAL = 1.125
# Beyond this one of the deepest depth the model's range ends (9 mm), as do the slices that `fit` shows: Dice of
# held-out scans in slices of 8, 9, 10 and 12 mm along S was 0.76, 0.64, 0.53 and 0.37 (docs/study/very_thick.py).
COARSEST_IN_RANGE = 1.125
# Axes wait at depth 1 for others at depth 0 only if the network sees them at twice the reference, up to this share, and
# the others at the reference. All other scans gained 0.00 to 0.03 at depth 0 (the same study). Doubled axes beside the
# reference lost 0.01 there on the scan's grid and gained 0.01 in world space: they stay, being faster.
UNEVEN_AT_1 = 0.01
# An axis whose spacing is from FINEST_RESIDUAL of a depth's spacing on belongs to that depth.
DEPTH_ROUNDING = math.log2(1 / FINEST_RESIDUAL)
# An axis goes deeper only together with all others: alone it left too few slices to see a structure by (on held-out
# scans with slices of 6.5 to 8 mm Dice was 0.05 to 0.34 lower).
DEEPEST_ALONE = 2
# Spacings come from float32 headers: 1.125 may read 1.1250001.
TOLERANCE = 1e-4

AxisDepths = tuple[int, int, int]


@dataclass(frozen=True)
class Route:
    """The way of one scan through the network. Every triple is in the order (z, y, x).

    Attributes:
        spacing_mm: spacing of the scan, or of the straight grid that a turned one was brought to.
        reference_spacing_mm: spacing of depth 0 of the model.
        axis_depths: depth of each axis.
        network_spacing_mm: spacing that the network sees; differs from spacing_mm on resampled axes.
        warnings: what a user should know, as sentences.
        turned_degrees: by how much the scan is turned against the patient's axes, where it was brought to a straight
            grid for that; else 0.
    """

    spacing_mm: Triple
    reference_spacing_mm: Triple
    axis_depths: AxisDepths
    network_spacing_mm: Triple
    warnings: tuple[str, ...] = ()
    turned_degrees: float = 0.0

    @property
    def entry_depth(self) -> int:
        """Depth at which the scan enters the encoder: the shallowest of the axis depths."""
        return min(self.axis_depths)

    @property
    def resampled_axes(self) -> tuple[bool, bool, bool]:
        z, y, x = (n != s for n, s in zip(self.network_spacing_mm, self.spacing_mm, strict=True))
        return z, y, x

    def describe(self) -> str:
        """One line for a person, axes in the order x, y, z as scanners print them."""
        text = f"{' x '.join(_mm(s) for s in reversed(self.spacing_mm))} mm"
        if self.turned_degrees:
            text += f" along the patient's axes (resampled: the scan is turned by {self.turned_degrees:.0f} degrees)"
        text += f": enters at depth {self.entry_depth}"
        for axis in (2, 1, 0):
            if self.axis_depths[axis] > self.entry_depth:
                text += f", {AXIS_NAMES[axis]} at depth {self.axis_depths[axis]}"
        for axis in (2, 1, 0):
            if self.resampled_axes[axis]:
                text += (
                    f"; {AXIS_NAMES[axis]} resampled from {_mm(self.spacing_mm[axis])}"
                    f" to {_mm(self.network_spacing_mm[axis])} mm"
                )
        return text


def route_for(
    spacing_mm: Sequence[float],
    reference_spacing_mm: Sequence[float] = (1.0, 1.0, 1.0),
    deepest: int = 3,
    entry_depth: int | None = None,
) -> Route:
    """Chooses the route of a scan.

    Args:
        spacing_mm: spacing of the scan (z, y, x), mm.
        reference_spacing_mm: spacing (z, y, x) that the model calls depth 0, mm.
        deepest: deepest entry depth the model has (its number of gateways).
        entry_depth: forces every axis to this depth; each axis further than the tolerated residual from that
            depth's spacing is then resampled to it. None chooses by spacing.

    Raises:
        ValueError: a spacing is not a positive finite number, or entry_depth is not in 0..deepest.
    """
    spacing, reference = (
        _checked_triple(spacing_mm, "spacing"),
        _checked_triple(reference_spacing_mm, "reference"),
    )
    if entry_depth is not None and not 0 <= entry_depth <= deepest:
        raise ValueError(
            f"entry depth {entry_depth} does not exist in this model: choose 0 to {deepest} or 'auto'."
        )
    ways = [_route_axis(axis, spacing[axis], reference[axis], deepest, entry_depth) for axis in range(3)]
    if entry_depth is None and min(depth for depth, _, _ in ways) <= DEEPEST_ALONE:
        limit = min(deepest, DEEPEST_ALONE)
        ways = [
            _route_axis(axis, spacing[axis], reference[axis], deepest, limit) if way[0] > limit else way
            for axis, way in enumerate(ways)
        ]
    if min(depth for depth, _, _ in ways) == 0 and not _doubled(spacing, reference, ways):
        ways = [
            (0, own, warning) if depth == 1 else (depth, target, warning)
            for own, (depth, target, warning) in zip(reference, ways, strict=True)
        ]
    depths, targets, warnings = zip(*ways, strict=True)
    return Route(spacing, reference, depths, targets, tuple(w for w in warnings if w))


# (spacing_mm, reference_spacing_mm, deepest, entry_depth) -> Route: route_for, or another rule in a study.
Router = Callable[[Sequence[float], Sequence[float], int, int | None], Route]


def _route_axis(
    axis: int, spacing: float, reference: float, deepest: int, forced: int | None
) -> tuple[int, float, str]:
    """Depth, network spacing and warning ('' for none) of one axis."""
    ratio = spacing / reference
    warning = ""
    if ratio > 2**deepest * COARSEST_IN_RANGE + TOLERANCE:
        warning = (
            f"{AXIS_NAMES[axis]} has a spacing of {_mm(spacing)} mm, coarser than the model's range of"
            f" {_mm(reference * FINEST_RESIDUAL)} to {_mm(reference * 2**deepest * COARSEST_IN_RANGE)} mm:"
            " expect a poor result."
        )
    depth = forced
    if depth is None:
        depth = min(max(math.floor(math.log2(ratio) + DEPTH_ROUNDING + TOLERANCE), 0), deepest)
    depth_spacing = reference * 2**depth
    residual = spacing / depth_spacing
    fine = depth == 0 or (depth == 1 and forced is None)
    coarsest = COARSEST_FINE_RESIDUAL if fine else COARSEST_RESIDUAL
    if FINEST_RESIDUAL - TOLERANCE <= residual <= coarsest + TOLERANCE:
        return depth, spacing, warning
    in_range = ratio < 2**deepest or residual <= COARSEST_RESIDUAL
    if forced is None and residual > coarsest and in_range and depth > 0:
        depth -= 1
        depth_spacing = reference * 2**depth
    return depth, depth_spacing, warning


def _doubled(spacing: Triple, reference: Triple, ways: Sequence[tuple[int, float, str]]) -> bool:
    """Whether the network sees the axes of depth 0 at the reference and those of depth 1 at twice the reference.

    An axis of depth 0 that had to be made finer for it, such as one of 3 mm, does not count.
    """
    limit = UNEVEN_AT_1 + TOLERANCE
    return all(
        abs(target / (own * 2**depth) - 1) <= limit and (depth == 1 or mm <= own * (1 + limit))
        for mm, own, (depth, target, _) in zip(spacing, reference, ways, strict=True)
        if depth <= 1
    )


def _checked_triple(values: Sequence[float], name: str) -> Triple:
    numbers = tuple(float(v) for v in values)
    if len(numbers) != 3 or not all(math.isfinite(v) and v > 0 for v in numbers):
        raise ValueError(
            f"{name} {numbers} mm: three positive numbers (z, y, x) are needed. Repair the scan's header."
        )
    return numbers[0], numbers[1], numbers[2]


def _mm(value: float) -> str:
    if value < 0.01:
        return f"{value:.2g}"
    text = f"{value:.2f}".rstrip("0") if value < 100 else f"{value:.0f}"
    return text + "0" if text.endswith(".") else text
