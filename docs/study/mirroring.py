"""Does mirroring at test time pay? Prints mean Dice of the plain and the mirrored answer, and their paired difference.

    python docs/study/mirroring.py MODEL ... --config RAREUNetTraining/Scripts/hippocampus.toml data.folder=PATH

The mirrored answer averages the probabilities of the scan and of the scan flipped left to right, for twice the time.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
from pairs import held_out_samples, print_pairs

from rareunet.prediction import Prediction
from rareunet.predictor import Predictor
from rareunet.volume import Volume
from rareunet_training.evaluation.conditions import coarser, native, paper_conditions
from rareunet_training.evaluation.evaluate import evaluate

CONDITIONS = [
    native(),
    coarser("isotropic 2 mm", [2, 2, 2]),
    coarser("thick 4 mm along S", [4, 1, 1]),
    *paper_conditions("aligned"),
]


class Mirrored:
    """A predictor that looks at each scan twice. Presented scans lie in canonical axes: R is the last one."""

    def __init__(self, predictor: Predictor) -> None:
        self.bundle, self._predictor = predictor.bundle, predictor

    def predict(self, volume: Volume, *, force: bool = False) -> Prediction:
        flipped = replace(volume, voxels=np.ascontiguousarray(volume.voxels[..., ::-1]))
        plain, mirrored = (
            self._predictor.predict(scan, force=force, with_probabilities=True) for scan in (volume, flipped)
        )
        assert plain.probabilities is not None
        assert mirrored.probabilities is not None
        classes = (plain.probabilities + mirrored.probabilities[..., ::-1]).argmax(axis=0)
        values = np.array([0, *(label.value for label in self.bundle.labels)], plain.label_map.dtype)
        return replace(plain, label_map=values[classes])


def main() -> None:
    dice: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for predictor, sample in held_out_samples(__doc__):
        scores = [evaluate(p, [sample], CONDITIONS, "dice") for p in (predictor, Mirrored(predictor))]
        for plain, mirrored in zip(*scores, strict=True):
            dice[plain.condition].append((plain.mean_dice, mirrored.mean_dice))
    print_pairs(("plain", "mirrored"), dice)


if __name__ == "__main__":
    main()
