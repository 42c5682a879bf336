"""Axes of 2.25 to 2.5 mm: should they enter at depth 1 as they are, or at depth 0, resampled to 1 mm?

    python docs/study/residuals.py MODEL --config RAREUNetTraining/Scripts/hippocampus.toml data.folder=PATH

Prints the Dice of both, on the scan's grid and in world space. The second is the rule, see
rareunet.routing.COARSEST_RESIDUAL_AT_1.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from unittest.mock import patch

import numpy as np
from pairs import model_and_samples, print_pairs

from rareunet import routing
from rareunet.predictor import Predictor
from rareunet.wording import times
from rareunet_training.conditions import coarser
from rareunet_training.evaluation import evaluate

ALONE = [tuple(mm if axis == a else 1 for a in "SAR") for mm in (2.3, 2.5) for axis in "SAR"]
TOGETHER = [
    (2.3,) * 3,
    (2.5,) * 3,
    (2.5, 1.5, 1.5),
    (2.5, 2, 2),
    (2, 2.5, 2.5),
    (2.5, 2.5, 1),
    (4, 2.5, 2.5),
    (5, 2.5, 2.5),
]
CONDITIONS = [coarser(times(spacing), spacing) for spacing in (*ALONE, *TOGETHER)]


def as_it_is(
    spacing_mm: Sequence[float], reference_mm: Sequence[float], deepest: int, entry_depth: int | None
) -> routing.Route:
    """The route without the rule."""
    with patch.object(routing, "COARSEST_RESIDUAL_AT_1", routing.COARSEST_RESIDUAL):
        return routing.route_for(spacing_mm, reference_mm, deepest, entry_depth)


def main() -> None:
    predictor, samples = model_and_samples(__doc__)
    before = Predictor(predictor.bundle, "cpu", predictor.network, as_it_is)
    dice: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for sample in samples:
        scores = [evaluate(p, [sample], CONDITIONS, "all") for p in (before, predictor)]
        for pair in zip(*scores, strict=True):
            name = f"S x A x R {pair[0].condition} mm"
            dice[name].append((pair[0].mean_dice, pair[1].mean_dice))
            dice[f"{name}, world"].append(
                tuple(float(np.nanmean([a.dice for a in s.in_world])) for s in pair)
            )
    print_pairs(("as it is", "at 1 mm"), dice)


if __name__ == "__main__":
    main()
