"""Scans turned or sheared against the patient's axes: brought to a straight grid for the network, and its answer back.

A network that has learnt scans along the axes R, A and S, up to 15 degrees off, tolerates somewhat more; beyond that a
straight grid is better, though interpolation blurs it (docs/study/oblique.py). Of a region of interest a turned scan
has only the box of voxels around its corners, which shows more than the region, and false findings beside the
structure; a straight grid shows the region alone. So there it is better much sooner (docs/study/tilted_region.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rareunet.geometry import Box, canonical_axes, corners_ras
from rareunet.intensity import IntensityRule, normalise
from rareunet.volume import Volume
from rareunet.world_grids import image_on_grid

LARGEST_TILT = 25.0  # degrees, of a whole scan
LARGEST_TILT_AROUND_REGION = 5.0  # degrees; the box around a region of 60 mm is up to 5 mm larger then
LEARNT_SHARE = 0.1  # of the scans of a training
PLANES = 16  # brought back at a time


@dataclass(frozen=True)
class Turned:
    """How a scan lies to the straight grid that the network got.

    Attributes:
        straight_to_ras: (4, 4) world matrix of the straight grid.
        ijk_to_ras: (4, 4) world matrix of the scan.
    """

    straight_to_ras: np.ndarray
    ijk_to_ras: np.ndarray


def tilt_degrees(ijk_to_ras: np.ndarray) -> float:
    """Largest angle between an axis of the scan and the patient's axis that it stands for."""
    axes = ijk_to_ras[:3, :3] / np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    sources = canonical_axes(ijk_to_ras)  # of S, A, R
    cosines = [abs(axes[2 - canonical, 2 - source]) for canonical, source in enumerate(sources)]
    return float(np.degrees(np.arccos(min(1.0, *cosines))))


def straightening_degrees(ijk_to_ras: np.ndarray, *, has_region: bool) -> float:
    """By how much a scan is turned that needs a straight grid; 0 for one that does not.

    Args:
        has_region: a region of interest is cut from it.
    """
    degrees = tilt_degrees(ijk_to_ras)
    return degrees if degrees > (LARGEST_TILT_AROUND_REGION if has_region else LARGEST_TILT) else 0.0


def learns_turned(tilts: Sequence[float]) -> bool:
    """Whether scans of these tilts (degrees) teach a model turned scans, which it then wants as they are: hearts along
    their own axes, say."""
    return sum(tilt > LARGEST_TILT for tilt in tilts) >= LEARNT_SHARE * len(tilts) > 0


def straight_spacing(spacing_mm: Sequence[float], reference_spacing_mm: Sequence[float]) -> float:
    """Of the straight grid, mm: the scan's finest, or the model's where that is coarser. A turned thick slice is thick
    along no single axis."""
    return max(min(spacing_mm), min(reference_spacing_mm))


def straighten(
    volume: Volume, box: Box, reference_spacing_mm: Sequence[float], rule: IntensityRule
) -> Volume:
    """A part of a scan on a grid along R, A and S that holds all of it; NaN where the scan has nothing or padding.

    Args:
        box: the part (z, y, x).
        reference_spacing_mm: of the model.
        rule: intensities are normalised by it first: the straight grid's border would not tell what padding is.
    """
    matrix, shape = part_to_ras(volume.ijk_to_ras, box), [part.stop - part.start for part in box]
    corners = corners_ras(shape, matrix)
    low, high = corners.min(axis=0), corners.max(axis=0)
    step = straight_spacing(volume.spacing_mm, reference_spacing_mm)
    size = np.maximum(2, np.ceil((high - low) / step - 1e-6)).astype(int)
    straight = np.diag([step, step, step, 1.0])
    straight[:3, 3] = (low + high) / 2 - step * (size - 1) / 2
    channels = []
    for channel in volume.voxels:
        normalised = normalise(channel[box][np.newaxis], rule)[0]  # 0 is padding, and nothing else is
        image, inside = image_on_grid(normalised, matrix, size[::-1].tolist(), straight)
        image[~inside | (image == 0)] = np.nan
        channels.append(image)
    return Volume(np.stack(channels), straight, volume.name)


def bring_back(
    scores: np.ndarray, turned: Turned, box: Box, decide: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Scores of a straight grid -> what is decided of them at the scan's own voxels, a few planes at a time.

    Args:
        scores: (K, Z, Y, X).
        turned: how their grid and the scan's lie.
        box: the part of it (z, y, x) that was straightened.
        decide: scores (K, z, y, x) -> (N, z, y, x).

    Returns:
        (N, Z, Y, X) of the box.
    """
    parts = []
    for start in range(box[0].start, box[0].stop, PLANES):
        planes = (slice(start, min(start + PLANES, box[0].stop)), box[1], box[2])
        shape, matrix = [part.stop - part.start for part in planes], part_to_ras(turned.ijk_to_ras, planes)
        found = [image_on_grid(score, turned.straight_to_ras, shape, matrix)[0] for score in scores]
        parts.append(decide(np.stack(found)))
    return np.concatenate(parts, axis=1)


def part_to_ras(ijk_to_ras: np.ndarray, box: Box) -> np.ndarray:
    """World matrix of a part (z, y, x) of a grid."""
    shift = np.eye(4)
    shift[:3, 3] = [part.start for part in reversed(box)]
    return ijk_to_ras @ shift
