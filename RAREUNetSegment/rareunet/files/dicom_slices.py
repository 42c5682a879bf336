"""Where the slices of a DICOM series lie: evenly, side by side and alike, or they make no scan. Vectors are LPS, mm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

UNEVEN_SLICES = 0.1  # of the usual distance between slices
SAME_POSITION_DECIMALS = 3  # of a slice's position, mm
SAME_ORIENTATION = 0.01  # between cosines: half a degree
SAME_SPACING = 0.001  # mm

NO_SPACING = "The slices hold no pixel spacing (0028,0030): 1 mm was assumed."
UNPLACED = (
    "The slices do not say how they lie in the patient (0020,0037): axial ones were assumed, so the result may be"
    " mirrored or turned."
)
SHEARED = "The slices are shifted against each other (a tilted gantry): the world matrix is sheared."


def slice_step(folder: Path, positions: np.ndarray) -> np.ndarray:
    """Vector from one slice to the next; refuses missing, uneven and coinciding slices.

    Args:
        folder: where they come from, for the message.
        positions: (N, 3) of at least two slices, in their order.
    """
    # GDCM does not sort images at one position side by side: their distances would only look uneven.
    if len(np.unique(positions.round(SAME_POSITION_DECIMALS), axis=0)) < len(positions):
        raise ValueError(
            f"{folder} holds several images at one slice position: split it into one series per scan."
        )
    steps = np.diff(positions, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    usual = np.median(steps, axis=0)
    off = np.linalg.norm(steps - usual, axis=1)
    worst = int(off.argmax())
    if off[worst] > UNEVEN_SLICES * np.linalg.norm(usual):
        raise ValueError(
            f"{folder} has uneven slices: {lengths[worst]:.3g} mm between slices {worst + 1} and {worst + 2}"
            f" of {len(positions)}, elsewhere {np.linalg.norm(usual):.3g} mm. Export the whole series again."
        )
    return (positions[-1] - positions[0]) / (len(positions) - 1)


def check_alike(
    folder: Path,
    orientations: Sequence[Sequence[float]] | np.ndarray,
    spacings: Sequence[Sequence[float]] | np.ndarray,
) -> None:
    """Refuses slices that lie in different directions or have pixels of different sizes.

    Args:
        folder: where they come from, for the message.
        orientations: six cosines of each slice that tells them (0020,0037).
        spacings: two of each slice that tells them (0028,0030), mm.
    """
    for rows, what, tolerance in (
        (orientations, "orientations (0020,0037)", SAME_ORIENTATION),
        (spacings, "pixel spacings (0028,0030)", SAME_SPACING),
    ):
        for number, row in enumerate(rows, start=1):
            if not np.allclose(row, rows[0], rtol=0, atol=tolerance):
                raise ValueError(
                    f"{folder} holds slices of different {what}: {_numbers(rows[0])} in the first,"
                    f" {_numbers(row)} in slice {number}. Export the slices that belong together as one series."
                )


def is_sheared(matrix: np.ndarray) -> bool:
    """Whether the slices of a world matrix (4, 4) are not stacked along their normal."""
    normal, step = np.cross(matrix[:3, 0], matrix[:3, 1]), matrix[:3, 2]
    return bool(abs(normal @ step) <= 0.9999 * np.linalg.norm(normal) * np.linalg.norm(step))


def _numbers(values: Sequence[float] | np.ndarray) -> str:
    return " ".join(f"{value:.4g}" for value in values)
