"""Oblique scans: as they are, or resampled to a straight grid for the network?

    python docs/study/oblique.py MODEL ... --config RAREUNetTraining/Scripts/hippocampus.toml data.folder=PATH

Every held-out scan is sampled on a grid that is turned about an axis through its middle, with a box slice profile.
Prints the Dice of both ways on that grid. Which one is taken depends on the angle, see rareunet.oblique.
"""

from __future__ import annotations

from collections import defaultdict
from unittest.mock import patch

import numpy as np
from pairs import held_out_samples, print_pairs

from rareunet import oblique
from rareunet.volume import Volume
from rareunet.world_grids import image_on_grid
from rareunet_training.data.samples import Sample
from rareunet_training.evaluation.conditions import native_volume
from rareunet_training.evaluation.metrics import dice_per_class
from rareunet_training.evaluation.scores import mean_of

AXES = "RAS"
# axis of the turn, degrees, spacing (R, A, S) along the turned axes in voxels of the scan
TURNS = [
    *((axis, degrees, (1, 1, 1)) for axis in AXES for degrees in (10, 20, 30, 40)),
    *(("R", degrees, spacing) for degrees in (20, 30, 40) for spacing in ((1, 1, 4), (2, 2, 2))),
]


def turned(
    sample: Sample, axis: str, degrees: float, steps: tuple[int, int, int]
) -> tuple[Volume, np.ndarray]:
    """The scan on a turned grid that is as large, and the classes (Z, Y, X) there."""
    scan, angle = native_volume(sample), np.deg2rad(degrees)
    first, second = (i for i in range(3) if i != AXES.index(axis))
    turn = np.eye(3)
    turn[first, [first, second]] = np.cos(angle), -np.sin(angle)
    turn[second, [first, second]] = np.sin(angle), np.cos(angle)
    size = np.ceil(np.array(scan.shape[::-1]) / steps).astype(int)
    fine = np.eye(4)
    fine[:3, :3] = turn * scan.spacing_mm[::-1]
    fine[:3, 3] = _middle(scan.ijk_to_ras, scan.shape[::-1]) - fine[:3, :3] @ ((size * steps - 1) / 2)
    coarse = fine.copy()
    coarse[:3, :3] *= steps
    coarse[:3, 3] = _middle(fine, size * steps) - coarse[:3, :3] @ ((size - 1) / 2)

    def averaged(image: np.ndarray) -> np.ndarray:
        found, inside = image_on_grid(image, scan.ijk_to_ras, (size * steps)[::-1].tolist(), fine)
        z, y, x = size[::-1]
        blocks = np.where(inside, found, 0).reshape(z, steps[2], y, steps[1], x, steps[0])
        return blocks.mean(axis=(1, 3, 5))

    shares = [averaged((sample.label == value).astype(np.float32)) for value in range(sample.label.max() + 1)]
    return Volume(averaged(scan.voxels[0]), coarse, sample.name), np.argmax(shares, axis=0)


def _middle(matrix: np.ndarray, size: np.ndarray | tuple[int, ...]) -> np.ndarray:
    return matrix[:3, :3] @ ((np.asarray(size) - 1) / 2) + matrix[:3, 3]


def main() -> None:
    dice: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for predictor, sample in held_out_samples(__doc__):
        for axis, degrees, steps in TURNS:
            volume, classes = turned(sample, axis, degrees, steps)
            pair = []
            for limit in (90.0, 0.0):
                with patch.object(oblique, "LARGEST_TILT", limit):
                    answer = predictor.predict(volume, force=True).label_map
                pair.append(mean_of(dice_per_class(answer, classes, len(predictor.bundle.labels) + 1)))
            dice[f"{degrees} degrees about {axis}, {' x '.join(map(str, steps))}"].append((pair[0], pair[1]))
    print_pairs(("as it is", "straight"), dice)


if __name__ == "__main__":
    main()
