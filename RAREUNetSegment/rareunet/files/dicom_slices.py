"""Where the slices of a DICOM series lie: evenly, side by side and alike, or they make no scan. Vectors are LPS, mm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rareunet.files.itk import LPS_TO_RAS

UNEVEN_SLICES = 0.1  # of the usual distance between slices
# Of that distance too: small steps add up, and beyond it a slice is nearer to its neighbour's place than to its own.
OFF_THEIR_PLACE = 0.5
SAME_POSITION_DECIMALS = 3  # of a slice's position, mm
SAME_ORIENTATION = 0.01  # between cosines: half a degree
SAME_SPACING = 0.001  # mm
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

NO_SPACING = "The slices hold no pixel spacing (0028,0030): 1 mm was assumed."
UNPLACED = (
    "The slices do not say how they lie in the patient (0020,0037): axial ones were assumed, so the result may be"
    " mirrored or turned."
)
SHEARED = "The slices are shifted against each other (a tilted gantry): the world matrix is sheared."

Rows = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Stack:
    """Slices brought into their order in space.

    Attributes:
        order: index of each slice in the order they were given in.
        ijk_to_ras: (4, 4) world matrix, mm.
        notes: what had to be assumed.
    """

    order: np.ndarray
    ijk_to_ras: np.ndarray
    notes: tuple[str, ...]


def stack_slices(
    source: Path, positions: Rows, orientations: Rows, spacings: Rows, else_spacing: Sequence[float]
) -> Stack:
    """Stacks slices by what they say of themselves; an empty row stands for one that does not say it.

    Args:
        source: the folder or file that holds them, for the messages.
        positions: three coordinates of each slice (0020,0032).
        orientations: six cosines of each slice (0020,0037); those that lack are as the others.
        spacings: between rows and between columns (0028,0030), mm; those that lack are as the others.
        else_spacing: the same where no slice tells it, as ITK has it from elsewhere.

    Raises:
        ValueError: they make no even stack, or one of the numbers makes no sense.
    """
    if not all(len(position) == 3 and np.isfinite(position).all() for position in positions):
        raise ValueError(
            f"{source}: slices without a position (0020,0032) can't be stacked. Export the series again, or"
            " convert it to .nii.gz with a program that knows where they lie."
        )
    orientation = _common(source, "orientations (0020,0037)", orientations, SAME_ORIENTATION)
    spacing = _common(source, "pixel spacings (0028,0030)", spacings, SAME_SPACING)
    along_row, along_column = _directions(source, orientation or AXIAL)
    between_rows, between_columns = _positive(source, spacing or else_spacing)
    places = np.array(positions, dtype=np.float64)
    order = np.argsort(places @ np.cross(along_row, along_column), kind="stable")
    places = places[order]
    columns = (
        between_columns * along_row,
        between_rows * along_column,
        _slice_step(source, places),
        places[0],
    )
    matrix = LPS_TO_RAS @ np.vstack([np.column_stack(columns), [0, 0, 0, 1]])
    notes = {
        NO_SPACING: not spacing and np.allclose(else_spacing, 1),
        UNPLACED: not orientation,
        SHEARED: _is_sheared(matrix),
    }
    return Stack(order, matrix, tuple(note for note, holds in notes.items() if holds))


def _common(source: Path, what: str, rows: Rows, tolerance: float) -> Sequence[float]:
    """The row that all slices agree on as far as they tell it; empty where none does."""
    told = [(number, row) for number, row in enumerate(rows, start=1) if row]
    for number, row in told:
        if not np.allclose(row, told[0][1], rtol=0, atol=tolerance, equal_nan=True):
            raise ValueError(
                f"{source} holds slices of different {what}: {_numbers(told[0][1])} in slice {told[0][0]},"
                f" {_numbers(row)} in slice {number}. Export the slices that belong together as one series."
            )
    return told[0][1] if told else ()


def _directions(source: Path, orientation: Sequence[float]) -> np.ndarray:
    """Unit vectors along the rows and along the columns; refuses what is far from two of them at right angles."""
    directions = np.reshape(orientation, (2, 3))
    # Twice, since the squares of lengths are compared.
    if not np.allclose(directions @ directions.T, np.eye(2), rtol=0, atol=2 * SAME_ORIENTATION):
        raise ValueError(
            f"{source} has an orientation of {_numbers(orientation)} (0020,0037): two directions of length 1 at right"
            " angles are needed. Export the series again."
        )
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def _positive(source: Path, spacing: Sequence[float]) -> Sequence[float]:
    if not all(0 < number < np.inf for number in spacing):
        raise ValueError(
            f"{source} has a pixel spacing of {_numbers(spacing)} mm (0028,0030): each must be positive. Export the"
            " series again."
        )
    return spacing


def _slice_step(source: Path, positions: np.ndarray) -> np.ndarray:
    """Vector from one slice to the next of even ones; refuses single, missing, uneven and coinciding slices.

    Args:
        source: where they come from, for the message.
        positions: (N, 3) in their order.
    """
    if len(positions) < 2:
        raise ValueError(f"{source} holds a single slice: a 3D scan is needed.")
    # GDCM does not sort images at one position side by side: their distances would only look uneven.
    if len(np.unique(positions.round(SAME_POSITION_DECIMALS), axis=0)) < len(positions):
        raise ValueError(
            f"{source} holds several images at one slice position: split it into one series per scan."
        )
    _check_steps(source, np.diff(positions, axis=0))
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    _check_places(source, positions, step)
    return step


def _check_steps(source: Path, steps: np.ndarray) -> None:
    """Refuses a step that differs from the others: a slice is missing."""
    usual = np.median(steps, axis=0)
    off = np.linalg.norm(steps - usual, axis=1)
    worst = int(off.argmax())
    if off[worst] > UNEVEN_SLICES * np.linalg.norm(usual):
        raise ValueError(
            f"{source} has uneven slices: {np.linalg.norm(steps[worst]):.3g} mm between slices {worst + 1} and"
            f" {worst + 2} of {len(steps) + 1}, elsewhere {np.linalg.norm(usual):.3g} mm. Export the whole"
            " series again."
        )


def _check_places(source: Path, positions: np.ndarray, step: np.ndarray) -> None:
    """Refuses a distance that drifts: each step is like its neighbours, yet slices lie far from where even ones do."""
    even = positions[0] + np.arange(len(positions))[:, np.newaxis] * step
    off = np.linalg.norm(positions - even, axis=1)
    worst = int(off.argmax())
    if off[worst] > OFF_THEIR_PLACE * np.linalg.norm(step):
        lengths = np.linalg.norm(np.diff(positions, axis=0), axis=1)
        raise ValueError(
            f"{source} has uneven slices: their distances run from {lengths.min():.3g} to {lengths.max():.3g} mm, and"
            f" slice {worst + 1} of {len(positions)} lies {off[worst]:.3g} mm from its place among even ones. Export"
            " the series with even slices."
        )


def _is_sheared(matrix: np.ndarray) -> bool:
    """Whether the slices of a world matrix (4, 4) are not stacked along their normal."""
    normal, step = np.cross(matrix[:3, 0], matrix[:3, 1]), matrix[:3, 2]
    return bool(abs(normal @ step) <= 0.9999 * np.linalg.norm(normal) * np.linalg.norm(step))


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:.4g}" for value in values)
