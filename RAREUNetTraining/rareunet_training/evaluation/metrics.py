"""How well two label maps agree, structure by structure; distances in mm, by MONAI.

A structure absent from both label maps is left out: every measure is NaN. Absent from one side, Dice, IoU and surface
Dice are 0 and HD95 is NaN, because there is no surface to measure from; the volume error is -100 % for a structure that
was not found and infinite for one that is not there. Precision and recall are NaN where they divide by nothing. The
F1 score is the same number as Dice.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.metrics import (
    compute_confusion_matrix_metric,
    compute_dice,
    compute_hausdorff_distance,
    compute_iou,
    compute_surface_dice,
    get_confusion_matrix,
)
from torch import Tensor

SURFACE_TOLERANCE_MM = 1.0
NAN = float("nan")


@dataclass(frozen=True)
class Metric:
    """A measure of Agreement for tables: its title with the unit, decimals, and whether more is better."""

    title: str
    decimals: int
    higher_is_better: bool


METRICS = {
    "dice": Metric("Dice", 3, True),
    "iou": Metric("IoU", 3, True),
    "precision": Metric("precision", 3, True),
    "recall": Metric("recall", 3, True),
    "hd95_mm": Metric("HD95 (mm)", 2, False),
    "surface_dice": Metric("surface Dice at 1 mm", 3, True),
    "volume_error_percent": Metric("volume error (%)", 1, False),
}


@dataclass(frozen=True)
class Agreement:
    """How one structure of a predicted label map agrees with the reference.

    Attributes:
        dice, iou, precision, recall: of voxels, 0 to 1.
        hd95_mm: 95th percentile of the distances between the surfaces, the larger of both directions, mm.
        surface_dice: share of both surfaces that lies within 1 mm of the other one.
        volume_error_percent: predicted minus reference volume, in percent of the reference.
    """

    dice: float
    iou: float
    precision: float
    recall: float
    hd95_mm: float
    surface_dice: float
    volume_error_percent: float

    @property
    def not_found(self) -> bool:
        """The reference has the structure, the prediction does not."""
        return self.volume_error_percent == -100

    @property
    def not_there(self) -> bool:
        """The prediction has the structure, the reference does not."""
        return self.volume_error_percent == np.inf


ABSENT = Agreement(NAN, NAN, NAN, NAN, NAN, NAN, NAN)


def dice_per_class(predicted: np.ndarray, reference: np.ndarray, classes: int) -> list[float]:
    """Dice of each foreground class; NaN for a class absent from both (it is left out of means).

    Args:
        predicted, reference: class indices, equal shapes.
        classes: number of classes, background included.

    Raises:
        ValueError: the shapes differ.
    """
    return [
        compute_dice(p, r, ignore_empty=False).item() if p.any() or r.any() else NAN
        for p, r in _masks(predicted, reference, classes)
    ]


def agreement_per_class(
    predicted: np.ndarray, reference: np.ndarray, classes: int, spacing_mm: Sequence[float]
) -> tuple[Agreement, ...]:
    """All measures of each foreground class.

    Args:
        predicted, reference: class indices (Z, Y, X), equal shapes.
        classes: number of classes, background included.
        spacing_mm: (z, y, x) of their voxels.

    Raises:
        ValueError: the shapes differ.
    """
    spacing = [float(s) for s in spacing_mm]
    return tuple(_agreement(p, r, spacing) for p, r in _masks(predicted, reference, classes))


def _agreement(predicted: Tensor, reference: Tensor, spacing_mm: list[float]) -> Agreement:
    """Measures of two masks (1, 1, Z, Y, X)."""
    p, r = int(predicted.sum()), int(reference.sum())
    if p == r == 0:
        return ABSENT
    confusion = get_confusion_matrix(predicted.float(), reference.float())  # booleans would not add up
    both = p > 0 and r > 0
    return Agreement(
        dice=compute_dice(predicted, reference, ignore_empty=False).item(),
        iou=compute_iou(predicted, reference, ignore_empty=False).item(),
        precision=compute_confusion_matrix_metric("precision", confusion).item() if p else NAN,
        recall=compute_confusion_matrix_metric("recall", confusion).item() if r else NAN,
        hd95_mm=_hd95(predicted, reference, spacing_mm) if both else NAN,
        surface_dice=_surface_dice(predicted, reference, spacing_mm) if both else 0.0,
        volume_error_percent=100 * (p - r) / r if r else float("inf"),
    )


def _hd95(predicted: Tensor, reference: Tensor, spacing_mm: list[float]) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # MONAI calls its own deprecated option
        return compute_hausdorff_distance(
            predicted, reference, include_background=True, percentile=95, spacing=spacing_mm
        ).item()


def _surface_dice(predicted: Tensor, reference: Tensor, spacing_mm: list[float]) -> float:
    """Surfaces are weighed by their area in mm2, as thick voxels have faces of different sizes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return compute_surface_dice(
            predicted, reference, [SURFACE_TOLERANCE_MM], True, spacing=spacing_mm, use_subvoxels=True
        ).item()


def _masks(predicted: np.ndarray, reference: np.ndarray, classes: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Masks bool (1, 1, ...) of both label maps, one foreground class at a time: whole bodies have a hundred."""
    if predicted.shape != reference.shape:
        raise ValueError(f"prediction {predicted.shape} and reference {reference.shape} differ in size.")
    for k in range(1, classes):
        yield torch.from_numpy(predicted == k)[None, None], torch.from_numpy(reference == k)[None, None]
