"""How much of the difference between routing and resampling thick slices is voxels filled exactly by half?

    python docs/study/ties.py MODEL ... --config RAREUNetTraining/Scripts/hippocampus.toml data.folder=PATH

A voxel of a 2 mm slice that covers two voxels of the full-resolution label map is often half one class, half another;
the scores on the scan's grid then call it background. Prints the Dice of the model's own route and of the scan
resampled to the reference spacing, with all voxels and without those ties.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from pairs import held_out_samples, print_pairs

from rareunet.volume import Volume
from rareunet_training.data.degradation import degrade
from rareunet_training.data.samples import Sample, class_indices
from rareunet_training.evaluation.baselines import UpsampledPredictor
from rareunet_training.evaluation.conditions import coarser
from rareunet_training.evaluation.metrics import dice_per_class
from rareunet_training.evaluation.scores import mean_of

THICK = [
    (f"thick {mm} mm along {axis}", [mm if a == axis else 1 for a in "SAR"])
    for mm in (2, 4)
    for axis in "SAR"
]
CONDITIONS = [
    *(coarser(name, spacing) for name, spacing in THICK),
    coarser("2 x 2 x 5 mm", [5, 2, 2]),
    coarser("2 mm slices every 4 mm", [4, 1, 1], thickness=0.5),
]


def tied(sample: Sample, volume: Volume, classes: int) -> np.ndarray:
    """Voxels (Z, Y, X) of the presented volume in which two classes share the first place."""
    steps = [coarse / fine for coarse, fine in zip(volume.spacing_mm, sample.spacing_mm, strict=True)]
    masks = (sample.label == np.arange(classes)[:, None, None, None]).astype(np.float32)
    *_, second, first = np.sort(degrade(masks, volume.shape, steps), axis=0)
    return first - second < 1e-3


def main() -> None:
    dice: dict[str, list[tuple[float, float]]] = defaultdict(list)
    shares: list[float] = []
    for predictor, sample in held_out_samples(__doc__):
        routes = (predictor, UpsampledPredictor(predictor))
        values = [label.value for label in predictor.bundle.labels]
        for condition in CONDITIONS:
            volume, reference = condition.present(sample, len(values) + 1)
            ties = tied(sample, volume, len(values) + 1)
            answers = [class_indices(r.predict(volume, force=True).label_map, values) for r in routes]
            shares.append(ties.sum() / np.count_nonzero(reference))
            for name, kept in ((condition.name, ties >= 0), (f"{condition.name}, no ties", ~ties)):
                own, up = (
                    mean_of(dice_per_class(a * kept, reference * kept, len(values) + 1)) for a in answers
                )
                dice[name].append((own, up))
    print_pairs(("own route", "resampled"), dice)
    print(f"ties: {np.mean(shares):.0%} of the number of voxels that the structures fill")


if __name__ == "__main__":
    main()
