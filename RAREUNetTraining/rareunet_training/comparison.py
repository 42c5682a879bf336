"""Two evaluations side by side: what differs on the same cases, and whether that can be chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rareunet_training.metrics import METRICS
from rareunet_training.score_files import ScoreSet
from rareunet_training.scores import Score, mean_of

RESAMPLES = 5000  # of the bootstrap
TIE = 1e-6  # less is rounding


@dataclass(frozen=True)
class PairedDifference:
    """How `other` differs from `base` on the cases that both were scored on, under one condition.

    Attributes:
        condition, base, other: names.
        cases: how many were paired.
        base_mean, other_mean: means over these.
        difference: mean of other minus base.
        standard_error: of that mean; NaN for a single case.
        interval: 95 % of the bootstrapped means of the differences; NaN for a single case.
        p_value: Wilcoxon signed-rank test, two-sided; 1 where nothing differs.
        p_holm: the same after Holm's correction over the conditions of this pair.
        wins, losses: cases in which other was better, and worse.
        base_seconds, other_seconds: mean seconds of a prediction; NaN where not measured.
    """

    condition: str
    base: str
    other: str
    cases: int
    base_mean: float
    other_mean: float
    difference: float
    standard_error: float
    interval: tuple[float, float]
    p_value: float
    p_holm: float
    wins: int
    losses: int
    base_seconds: float
    other_seconds: float


def compare(
    base: ScoreSet, other: ScoreSet, metric: str = "dice", frame: str = "scan"
) -> list[PairedDifference]:
    """Compares every condition that both have, with Holm's correction over the conditions.

    Args:
        base, other: evaluations of the same cases.
        metric: one of metrics.METRICS.
        frame: "scan" or "world", see scores.Score.

    Raises:
        ValueError: no case or condition in common, or a case has different label maps in the two.
    """
    _check_references(base, other)
    if base.labels != other.labels:
        raise ValueError(
            f"{base.name} was scored on {', '.join(base.labels)}, {other.name} on {', '.join(other.labels)}: compare"
            " models of the same structures."
        )
    conditions = dict.fromkeys(score.condition for score in base.scores)
    found = (_compare_condition(base, other, condition, metric, frame) for condition in conditions)
    differences = [difference for difference in found if difference is not None]
    if not differences:
        raise ValueError(
            f"{base.name} and {other.name} have no {METRICS[metric].title} of the same case and condition in common:"
            " evaluate them on the same scans with the same protocol."
        )
    corrected = holm([difference.p_value for difference in differences])
    return [replace(d, p_holm=p) for d, p in zip(differences, corrected, strict=True)]


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for being so many, after Holm (1979)."""
    order = np.argsort(p_values)
    corrected, largest = np.zeros(len(p_values)), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected.tolist()


def _compare_condition(
    base: ScoreSet, other: ScoreSet, condition: str, metric: str, frame: str
) -> PairedDifference | None:
    ours, theirs = _by_case(base, condition), _by_case(other, condition)
    pairs = [
        (mean_of(ours[case].values(metric, frame)), mean_of(theirs[case].values(metric, frame)), case)
        for case in ours
        if case in theirs
    ]
    pairs = [pair for pair in pairs if np.isfinite(pair[0]) and np.isfinite(pair[1])]
    if not pairs:
        return None
    a, b = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
    differences = b - a
    gains = differences if METRICS[metric].higher_is_better else np.abs(a) - np.abs(b)
    cases = [pair[2] for pair in pairs]
    several = len(pairs) > 1
    p_value = _wilcoxon(differences)
    return PairedDifference(
        condition, base.name, other.name, len(pairs), float(a.mean()), float(b.mean()), float(differences.mean()),
        float(differences.std(ddof=1) / np.sqrt(len(pairs))) if several else float("nan"),
        _bootstrap(differences), p_value, p_value, int((gains > TIE).sum()), int((gains < -TIE).sum()),
        mean_of([ours[case].seconds for case in cases]), mean_of([theirs[case].seconds for case in cases]),
    )  # fmt: skip


def _wilcoxon(differences: np.ndarray) -> float:
    from scipy.stats import wilcoxon

    moved = differences[np.abs(differences) > TIE]
    return float(wilcoxon(moved).pvalue) if moved.size else 1.0


def _bootstrap(differences: np.ndarray) -> tuple[float, float]:
    from scipy.stats import bootstrap

    if len(differences) < 2:
        return float("nan"), float("nan")
    result = bootstrap(
        (differences,), np.mean, n_resamples=RESAMPLES, method="percentile", random_state=0
    ).confidence_interval
    return float(result.low), float(result.high)


def _by_case(scores: ScoreSet, condition: str) -> dict[str, Score]:
    return {score.case: score for score in scores.scores if score.condition == condition}


def _check_references(base: ScoreSet, other: ScoreSet) -> None:
    common = [case for case in base.references if case in other.references]
    differing = [case for case in common if base.references[case] != other.references[case]]
    if differing:
        raise ValueError(
            f"{differing[0]} has another label map in the evaluation of {base.name} than in that of {other.name}"
            f" ({len(differing)} of {len(common)} cases): evaluate both on the same data."
        )
