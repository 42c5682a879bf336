"""What a segmentation gives. No torch, so that the panel can hold one that another process has made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from rareunet.bundle import Label
from rareunet.routing import Route


@dataclass
class Prediction:
    """The answer for one scan.

    Attributes:
        label_map: uint8 or uint16 (Z, Y, X) on the scan's grid; 0 is background, others are values of `labels`.
        probabilities: float32 (K, Z, Y, X) on the scan's grid, background and then all structures of the model, chosen
            or not; None unless asked for. Outside the region of interest it is background.
        route: how the scan went through the network, in canonical axes (S, A, R).
        device: where the network ran.
        seconds: seconds per step.
        volumes_ml: volume of each structure by name, ml.
        warnings: what the user should know, as sentences.
        model: name, version and hash of the model.
        labels: the structures that were asked for: all that the model has, unless some were chosen.
        certainty: how sure the model is, 0 to 1, see certainty.certainty_of, of all structures that it found, chosen or
            not; None where it found nothing.
        stepped_down: too little memory was free for one piece on the device that was asked for; the warnings say what
            was done instead.
    """

    label_map: np.ndarray
    route: Route
    device: str
    seconds: dict[str, float]
    volumes_ml: dict[str, float]
    warnings: list[str]
    model: dict[str, str]
    labels: tuple[Label, ...]
    certainty: float | None = None
    probabilities: np.ndarray | None = None
    stepped_down: bool = False

    def describe(self) -> str:
        """One line for a person: what was done and how long it took."""
        return f"{self.route.describe()}. Done on {self.device} in {sum(self.seconds.values()):.1f} s."


def volumes_ml(label_map: np.ndarray, labels: Iterable[Label], voxel_ml: float) -> dict[str, float]:
    """Volume of each structure by name, ml.

    Args:
        label_map: (Z, Y, X) of the labels' values.
        voxel_ml: volume of a voxel.
    """
    return {label.name: np.count_nonzero(label_map == label.value) * voxel_ml for label in labels}
