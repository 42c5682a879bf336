"""Axes off their depth's spacing: should they enter as they are, or resampled to a finer depth's?

    python docs/study/residuals.py MODEL ... --config RAREUNetTraining/Scripts/hippocampus.toml data.folder=PATH

Prints the Dice of both, on the scan's grid and in world space: first for those that the product resamples to 1 mm
(rareunet.routing.COARSEST_FINE_RESIDUAL and UNEVEN_AT_1), then for those that it takes as they are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from pairs import held_out_samples, print_pairs, router

from rareunet import routing
from rareunet.geometry import Triple
from rareunet.predictor import Predictor
from rareunet.wording import times
from rareunet_training.data.samples import Sample
from rareunet_training.evaluation.conditions import coarser
from rareunet_training.evaluation.evaluate import evaluate
from rareunet_training.evaluation.scores import mean_of


def alone(mm: float) -> list[Triple]:
    """Voxels (S, A, R) of that size along one axis, of 1 mm along the others."""
    return [(mm, 1, 1), (1, mm, 1), (1, 1, mm)]


RESAMPLED: list[Sequence[float]] = [
    *alone(2.3), *alone(2.5), (2.3,) * 3, (2.5,) * 3, (2.5, 1.5, 1.5), (2.5, 2, 2), (2, 2.5, 2.5), (2.5, 2.5, 1),
    (4, 2.5, 2.5), (5, 2.5, 2.5),
    *alone(1.6), *alone(1.8), *alone(2.1), *alone(2.2), (1.8, 1.8, 1), (1.8, 1.3, 1.3), (2.1, 1.3, 1.3), (3, 1.8, 1.8),
    (3, 2, 2), (2, 3, 2), (2, 2, 3), (3, 3, 2), (2, 1.3, 1.3), (1.5, 2, 2), (3, 2, 1),
    (6, 1.2, 1.2), (1.2, 6, 1.2), (1.2, 1.2, 6), (6, 3, 3), (3, 3, 6),
    *alone(1.2), *alone(1.25), (1.2,) * 3, (1.25,) * 3, (1, 1.25, 1.25), (4, 1.2, 1.2), (4, 1.25, 1.25),
    (1.25, 1.25, 4),
]  # fmt: skip
AS_THEY_ARE: list[Sequence[float]] = [
    (1.12,) * 3, *alone(2), (2.1,) * 3, (2.2,) * 3, *alone(4.5), *alone(5), (4.5,) * 3, *alone(6),
]  # fmt: skip
RULES = (
    router(COARSEST_FINE_RESIDUAL=routing.COARSEST_RESIDUAL, UNEVEN_AT_1=10),
    router(COARSEST_FINE_RESIDUAL=1.04, COARSEST_RESIDUAL=1.04, UNEVEN_AT_1=-1),
)
Pairs = dict[str, list[tuple[float, float]]]


def main() -> None:
    resampled: Pairs = defaultdict(list)
    as_they_are: Pairs = defaultdict(list)
    for predictor, sample in held_out_samples(__doc__):
        without_the_rules, finer = (
            Predictor(predictor.bundle, str(predictor.device), predictor.network, rule) for rule in RULES
        )
        _compare(without_the_rules, predictor, sample, RESAMPLED, resampled)
        _compare(predictor, finer, sample, AS_THEY_ARE, as_they_are)
    for dice in (resampled, as_they_are):
        print_pairs(("as it is", "finer"), dice)


def _compare(
    first: Predictor, second: Predictor, sample: Sample, spacings: Sequence[Sequence[float]], dice: Pairs
) -> None:
    """Adds the Dice of both for the scan with voxels of each spacing."""
    conditions = [coarser(times(spacing), spacing) for spacing in spacings]
    scores = [evaluate(p, [sample], conditions, "all") for p in (first, second)]
    for a, b in zip(*scores, strict=True):
        name = f"S x A x R {a.condition} mm"
        dice[name].append((a.mean_dice, b.mean_dice))
        dice[f"{name}, world"].append(
            (mean_of(a.values("dice", "world")), mean_of(b.values("dice", "world")))
        )


if __name__ == "__main__":
    main()
