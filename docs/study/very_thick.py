"""Slices of 6.5 mm and more beside finer axes: should they enter at depth 3, or at depth 2, resampled to 4 mm?
And where does the model's range end?

    python docs/study/very_thick.py MODEL ... --config RAREUNetTraining/Scripts/hippocampus.toml data.folder=PATH

Prints the Dice of both, on the scan's grid. The second is the rule, see rareunet.routing.DEEPEST_ALONE; the range ends
at COARSEST_IN_RANGE.
"""

from __future__ import annotations

from collections import defaultdict

from pairs import held_out_samples, print_pairs, router

from rareunet.predictor import Predictor
from rareunet.wording import times
from rareunet_training.evaluation.conditions import coarser
from rareunet_training.evaluation.evaluate import evaluate

SPACINGS_SAR = [
    (6.5, 1, 1), (7, 1, 1), (8, 1, 1), (1, 8, 1), (1, 1, 8), (8, 2, 2), (8, 4, 4),
    (9, 1, 1), (1, 9, 1), (1, 1, 9), (10, 1, 1), (1, 10, 1), (1, 1, 10), (12, 1, 1), (1, 12, 1), (1, 1, 12),
]  # fmt: skip
CONDITIONS = [coarser(times(spacing), spacing) for spacing in SPACINGS_SAR]


def main() -> None:
    dice: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for predictor, sample in held_out_samples(__doc__):
        without_the_rule = router(DEEPEST_ALONE=predictor.bundle.deepest)
        deep = Predictor(predictor.bundle, str(predictor.device), predictor.network, without_the_rule)
        scores = [evaluate(p, [sample], CONDITIONS, "dice") for p in (deep, predictor)]
        for first, second in zip(*scores, strict=True):
            dice[f"S x A x R {first.condition} mm"].append((first.mean_dice, second.mean_dice))
    print_pairs(("depth 3", "depth 2"), dice)


if __name__ == "__main__":
    main()
