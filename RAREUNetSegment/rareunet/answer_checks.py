"""What makes an answer doubtful, as sentences for the user. Label maps are (Z, Y, X) on the scan's grid."""

from __future__ import annotations

import numpy as np

from rareunet.bundle import Bundle
from rareunet.geometry import RegionOfInterest, box_of_region, within_region
from rareunet.routing import Route
from rareunet.volume import Volume


def check_route(route: Route, bundle: Bundle) -> list[str]:
    """Warnings about the way that a scan takes through this model."""
    if not (bundle.learnt_displaced and route.entry_depth):
        return list(route.warnings)
    # A coarse voxel was given the label of its first fine one, whose centre lies so far from its own.
    off = (2**route.entry_depth - 1) / 2 * max(route.reference_spacing_mm)
    return [
        *route.warnings,
        f"the model {bundle.name} has learnt labels that are displaced at low resolution: entering at depth"
        f" {route.entry_depth} it answers about {off:.1f} mm off along each axis. Use it for comparisons alone.",
    ]


def check_found(volumes_ml: dict[str, float]) -> list[str]:
    """Structures (name: volume) that are missing."""
    return [f"{name} was not found in this scan." for name, ml in volumes_ml.items() if ml == 0]


def check_certainty(certainty: float | None, bundle: Bundle) -> list[str]:
    """A warning where the model is less sure than its limit, see certainty.certainty_of."""
    limit = bundle.certainty_limit
    if certainty is None or limit is None or certainty >= limit:
        return []
    return [
        f"the model is unsure of this result (its certainty is {np.floor(1000 * certainty) / 1000:.3f}; below"
        f" {limit:.3f} it is doubtful): inspect it. Very coarse or noisy voxels can be the cause, another kind of scan,"
        " a wrong orientation, or a region of interest beside the structure."
    ]


def check_border(
    label_map: np.ndarray, region: RegionOfInterest | None, volume: Volume, bundle: Bundle
) -> list[str]:
    """A warning where structures reach the border of the region, beyond which the scan goes on."""
    if region is None:
        return []
    box = box_of_region(region, volume.shape, volume.ijk_to_ras)
    z, y, x = (slice(max(0, part.start - 1), part.stop + 1) for part in box)
    values = label_map[z, y, x]
    nz, ny, nx = values.shape
    around = (slice(z.start, z.start + nz), slice(y.start, y.start + ny), slice(x.start, x.start + nx))
    beside = _beside(~within_region(region, around, volume.ijk_to_ras))
    cut = [label.name for label in bundle.labels if (values[beside] == label.value).any()]
    if not cut:
        return []
    return [
        f"{' and '.join(cut)} reach{'es' if len(cut) == 1 else ''} the border of the region of interest and may be cut"
        " off there: enlarge or move it."
    ]


def _beside(mask: np.ndarray) -> np.ndarray:
    """Voxels (Z, Y, X) of which a face touches one of the mask's."""
    beside = np.zeros_like(mask)
    for axis in range(mask.ndim):
        here, there = beside.swapaxes(0, axis), mask.swapaxes(0, axis)
        here[1:] |= there[:-1]
        here[:-1] |= there[1:]
    return beside
