"""How sure a model is of an answer, told from its own probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def softmax(scores: np.ndarray) -> np.ndarray:
    """Logits (K, ...) -> probabilities (K, ...)."""
    exponentials = np.exp(scores - scores.max(axis=0))
    return exponentials / exponentials.sum(axis=0)


def certainty_of(logits: np.ndarray, found: Sequence[bool]) -> float | None:
    """The Dice between the answer and the probabilities it was chosen by, the mean of the structures that were found.

    1 where each voxel is certain. It is higher than the true Dice and no measure of it, but answers that went wrong
    have less of it (docs/study/certainty.py).

    Args:
        logits: (K, Z, Y, X), background first; on the network grid, with its padding. A region of interest that is
            turned against the scan counts with all of its box.
        found: which of the K - 1 structures the label map has.

    Returns:
        0 to 1; None where no structure was found.
    """
    classes = len(logits)
    voxels, inside, everywhere = np.zeros((3, classes))
    # One plane at a time: all probabilities of a large scan would take as much memory again.
    for plane in logits.swapaxes(0, 1):
        probabilities = softmax(plane)
        answer = probabilities.argmax(axis=0).ravel()
        voxels += np.bincount(answer, minlength=classes)
        inside += np.bincount(answer, probabilities.max(axis=0).ravel(), classes)
        everywhere += probabilities.sum(axis=(1, 2))
    counted = [k for k, there in enumerate(found, start=1) if there and voxels[k]]
    certainty = np.mean(2 * inside[counted] / (voxels[counted] + everywhere[counted])) if counted else np.nan
    return float(certainty) if np.isfinite(certainty) else None
