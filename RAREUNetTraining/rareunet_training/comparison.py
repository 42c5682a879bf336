"""Two evaluations side by side: what differs on the same cases, and whether that can be chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rareunet_training.conditions import groups, paper_scale_names
from rareunet_training.metrics import METRICS
from rareunet_training.samples import Shape
from rareunet_training.score_files import ScoreSet
from rareunet_training.scores import Score, mean_of, median_of

RESAMPLES = 5000  # of the bootstrap
TIE = 1e-6  # less is rounding


@dataclass(frozen=True)
class PairedDifference:
    """How `other` differs from `base` on the cases that both were scored on, under one condition or several.

    Attributes:
        condition, base, other: names.
        conditions: how many; above 1 a case counts with its mean over those it was scored under.
        cases: how many were paired.
        base_mean, other_mean: means over these.
        difference: mean of other minus base.
        standard_error: of that mean; NaN for a single case.
        interval: 95 % of the bootstrapped means of the differences; NaN for a single case.
        p_value: Wilcoxon signed-rank test, two-sided; 1 where nothing differs.
        p_holm: the same after Holm's correction over the conditions of this pair, or over its means of several.
        wins, losses: cases in which other was better, and worse.
        base_seconds, other_seconds: median seconds of a prediction; NaN where not measured.
        seconds_ratio: other_seconds / base_seconds.
    """

    condition: str
    base: str
    other: str
    conditions: int
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
    seconds_ratio: float


@dataclass(frozen=True)
class Terms:
    """What has to agree before two evaluations can be paired; known before anything is scored.

    Attributes:
        name: what messages call the evaluation.
        labels: names of the structures.
        conditions: names of those that are scored.
        shape: see score_files.ScoreSet.
    """

    name: str
    labels: tuple[str, ...]
    conditions: frozenset[str]
    shape: Shape


@dataclass(frozen=True)
class _Pair:
    """A case's measure and seconds in both evaluations."""

    base: float
    other: float
    base_seconds: float
    other_seconds: float


Pairs = Mapping[str, _Pair]  # by case


def compare(
    base: ScoreSet, other: ScoreSet, metric: str = "dice", frame: str = "scan"
) -> list[PairedDifference]:
    """Compares every condition that both have, then the means over each of conditions.groups with several of these.

    Args:
        base, other: evaluations of the same cases.
        metric: one of metrics.METRICS.
        frame: "scan" or "world", see scores.Score.

    Raises:
        ValueError: no case or condition in common, a case has different label maps in the two, or see check_terms.
    """
    _check_references(base, other)
    check_terms(terms_of(base), terms_of(other))
    conditions = dict.fromkeys(score.condition for score in base.scores)
    found = {condition: _pairs(base, other, condition, metric, frame) for condition in conditions}
    found = {condition: pairs for condition, pairs in found.items() if pairs}
    if not found:
        raise ValueError(
            f"{base.name} and {other.name} have no {METRICS[metric].title} of the same case and condition in common:"
            " evaluate them on the same scans with the same protocol."
        )
    names, higher = (base.name, other.name), METRICS[metric].higher_is_better
    single = [_difference(condition, names, [pairs], higher) for condition, pairs in found.items()]
    means = [_difference(title, names, pairs, higher) for title, pairs in _grouped(found).items()]
    return [*_corrected(single), *_corrected(means)]


def terms_of(scores: ScoreSet) -> Terms:
    """Of what was scored."""
    conditions = frozenset(score.condition for score in scores.scores)
    return Terms(scores.name, scores.labels, conditions, scores.shape)


def check_terms(base: Terms, other: Terms) -> None:
    """Refuses evaluations that can't be paired.

    Raises:
        ValueError: other structures, or other crops under one of the paper's scales that both have.
    """
    if base.labels != other.labels:
        raise ValueError(
            f"the structures of {base.name} are {', '.join(base.labels)}, those of {other.name}"
            f" {', '.join(other.labels)}: compare models of the same structures."
        )
    cropped = [name for name in paper_scale_names() if name in base.conditions & other.conditions]
    if cropped and base.shape != other.shape:
        ours, theirs = (" x ".join(map(str, shape)) for shape in (base.shape, other.shape))
        raise ValueError(
            f"under {cropped[0]!r} {base.name} has crops of {ours} voxels (Z, Y, X), {other.name} of {theirs}: only"
            f" scores on the same crop can be paired, so score both with the same --shape, {ours.replace(' x', '')} or"
            f" {theirs.replace(' x', '')}."
        )


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for being so many, after Holm (1979)."""
    order = np.argsort(p_values)
    corrected, largest = np.zeros(len(p_values)), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected.tolist()


def _pairs(base: ScoreSet, other: ScoreSet, condition: str, metric: str, frame: str) -> Pairs:
    """The cases with a finite value in both."""
    ours, theirs = _by_case(base, condition), _by_case(other, condition)
    pairs = {
        case: _Pair(
            mean_of(ours[case].values(metric, frame)), mean_of(theirs[case].values(metric, frame)),
            ours[case].seconds, theirs[case].seconds,
        )
        for case in ours
        if case in theirs
    }  # fmt: skip
    return {case: pair for case, pair in pairs.items() if np.isfinite([pair.base, pair.other]).all()}


def _grouped(found: Mapping[str, Pairs]) -> dict[str, list[Pairs]]:
    """What is averaged over, by its title; a group of no more than another one's conditions stands once."""
    members = {title: [name for name in names if name in found] for title, names in groups().items()}
    kept: dict[str, list[str]] = {}
    for title, names in members.items():
        if len(names) > 1 and names not in kept.values():
            kept[f"mean of {title}"] = names
    return {title: [found[name] for name in names] for title, names in kept.items()}


def _difference(
    condition: str, names: tuple[str, str], found: Sequence[Pairs], higher_is_better: bool
) -> PairedDifference:
    """Of each case's mean over the conditions in `found`."""
    cases = list(dict.fromkeys(case for pairs in found for case in pairs))
    by_case = [[pairs[case] for pairs in found if case in pairs] for case in cases]
    a = np.array([mean_of([pair.base for pair in pairs]) for pairs in by_case])
    b = np.array([mean_of([pair.other for pair in pairs]) for pairs in by_case])
    differences = b - a
    gains = differences if higher_is_better else np.abs(a) - np.abs(b)
    error = float(differences.std(ddof=1) / np.sqrt(len(cases))) if len(cases) > 1 else float("nan")
    p_value = _wilcoxon(differences)
    ours = median_of([mean_of([pair.base_seconds for pair in pairs]) for pairs in by_case])
    theirs = median_of([mean_of([pair.other_seconds for pair in pairs]) for pairs in by_case])
    return PairedDifference(
        condition, *names, len(found), len(cases), float(a.mean()), float(b.mean()), float(differences.mean()),
        error, _bootstrap(differences), p_value, p_value, int((gains > TIE).sum()), int((gains < -TIE).sum()),
        ours, theirs, theirs / ours if ours else float("nan"),
    )  # fmt: skip


def _corrected(differences: Sequence[PairedDifference]) -> list[PairedDifference]:
    corrected = holm([difference.p_value for difference in differences])
    return [replace(d, p_holm=p) for d, p in zip(differences, corrected, strict=True)]


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
