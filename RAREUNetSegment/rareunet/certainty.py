"""How sure a model is of an answer: told from its own probabilities, so that a wrong scan can be noticed."""

from __future__ import annotations

import numpy as np

from rareunet.bundle import Bundle


def softmax(scores: np.ndarray) -> np.ndarray:
    """Logits (K, ...) -> probabilities (K, ...)."""
    exponentials = np.exp(scores - scores.max(axis=0))
    return exponentials / exponentials.sum(axis=0)


def certainty_of(logits: np.ndarray) -> float | None:
    """The Dice between the answer and the probabilities it was chosen by, the mean of the structures that were found.

    It is what the answer's Dice would be if the probabilities were right: 1 where each voxel is certain. What was
    not found has a warning of its own. docs/study/certainty.py holds it against the true Dice.

    Args:
        logits: (K, Z, Y, X), background first; on the network grid with its padding.

    Returns:
        0 to 1; None where no structure was found.
    """
    classes = len(logits)
    voxels, inside, everywhere = np.zeros((3, classes))
    for plane in logits.swapaxes(
        0, 1
    ):  # one at a time: all probabilities of a large scan would take as much again
        probabilities = softmax(plane)
        answer = probabilities.argmax(axis=0)
        voxels += np.bincount(answer.ravel(), minlength=classes)
        inside += np.bincount(answer.ravel(), probabilities.max(axis=0).ravel(), classes)
        everywhere += probabilities.sum(axis=(1, 2))
    found = voxels > 0
    found[0] = False
    dice = 2 * inside[found] / (voxels[found] + everywhere[found])
    return float(dice.mean()) if found.any() else None


def check_certainty(certainty: float | None, bundle: Bundle) -> list[str]:
    """A warning about an answer that the model is less sure of than of those it was measured on."""
    limit = bundle.certainty_limit
    if certainty is None or limit is None or certainty >= limit:
        return []
    return [
        f"the model is unsure of this result (certainty {certainty:.3f}, usually above {limit:.3f}): inspect it, and"
        " check that scan, orientation and region of interest are right and that the whole structure is in view."
    ]
