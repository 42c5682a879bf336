"""Overlap of two label maps."""

from __future__ import annotations

import numpy as np


def dice_per_class(predicted: np.ndarray, reference: np.ndarray, classes: int) -> list[float]:
    """Dice of each foreground class; NaN for a class absent from both (it is left out of means).

    Args:
        predicted, reference: class indices, equal shapes.
        classes: number of classes, background included.

    Raises:
        ValueError: the shapes differ.
    """
    if predicted.shape != reference.shape:
        raise ValueError(f"prediction {predicted.shape} and reference {reference.shape} differ in size.")
    scores = []
    for index in range(1, classes):
        p, r = predicted == index, reference == index
        total = int(p.sum()) + int(r.sum())
        scores.append(2 * int((p & r).sum()) / total if total else float("nan"))
    return scores
