"""Whether two volumes lie on the same grid in world space, and what differs in mm if they do not.

A grid is the same whatever the order and direction in which its axes are stored.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rareunet.geometry import Reorientation, corners_ras
from rareunet.volume import Volume
from rareunet.wording import times

# Of the smaller voxel's shortest edge: headers round, and a label displaced by so little means the same.
TOLERANCE = 0.05
# Below these a difference is not worth a word of its own.
LEAST_ANGLE_DEGREES = 0.05
LEAST_SPACING_DIFFERENCE = 1e-3


def describe_difference(volume: Volume, reference: Volume) -> str:
    """What tells the grid of a volume from another one's, in mm, for a person; '' if they are the same.

    Sizes, spacings and shifts are given along R, A and S.
    """
    (shape, matrix), (wanted_shape, wanted) = _canonical(volume), _canonical(reference)
    apart = np.linalg.norm(corners_ras(shape, matrix) - corners_ras(wanted_shape, wanted), axis=1).max()
    smallest = min(*volume.spacing_mm, *reference.spacing_mm)
    if shape == wanted_shape and apart <= TOLERANCE * smallest:
        return ""
    spacing, wanted_spacing = (np.linalg.norm(m[:3, :3], axis=0) for m in (matrix, wanted))
    parts = []
    if shape != wanted_shape:
        parts.append(f"{times(shape[::-1])} voxels instead of {times(wanted_shape[::-1])}")
    if np.abs(spacing / wanted_spacing - 1).max() > LEAST_SPACING_DIFFERENCE:
        parts.append(f"{times(spacing, '.4g')} mm instead of {times(wanted_spacing, '.4g')} mm")
    cosines = ((matrix[:3, :3] / spacing) * (wanted[:3, :3] / wanted_spacing)).sum(axis=0)
    angle = float(np.degrees(np.arccos(np.clip(cosines, -1, 1)).max()))
    if angle > LEAST_ANGLE_DEGREES:
        parts.append(f"turned by {angle:.3g} degrees")
    shift = _centre(shape, matrix) - _centre(wanted_shape, wanted)
    if (distance := float(np.linalg.norm(shift))) > TOLERANCE * smallest:
        by_axis = ", ".join(f"{axis} {mm:+.2f}" for axis, mm in zip("RAS", shift, strict=True))
        parts.append(f"its centre lies {distance:.3g} mm off ({by_axis})")
    same_view = "the same field of view" if apart <= smallest / 2 else f"corners up to {apart:.3g} mm apart"
    return "; ".join([*parts, same_view])


def in_axes_of(reference: Volume, volume: Volume) -> np.ndarray:
    """The voxels (C, Z, Y, X) of a volume in the axes that the reference is stored in; the grids are the same."""
    canonical = Reorientation.to_ras(volume.ijk_to_ras).apply(volume.voxels)
    return Reorientation.to_ras(reference.ijk_to_ras).invert(canonical)


def _canonical(volume: Volume) -> tuple[tuple[int, int, int], np.ndarray]:
    """Size and world matrix with axes turned to (S, A, R)."""
    reorientation = Reorientation.to_ras(volume.ijk_to_ras)
    z, y, x = (volume.shape[axis] for axis in reorientation.source_axes)
    return (z, y, x), reorientation.matrix(volume.ijk_to_ras, volume.shape)


def _centre(shape: Sequence[int], matrix: np.ndarray) -> np.ndarray:
    return corners_ras(shape, matrix).mean(axis=0)
