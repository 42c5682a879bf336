"""Two evaluations side by side: what differs on the same cases, and whether that can be chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rareunet.geometry import Shape
from rareunet.wording import times
from rareunet_training.evaluation.conditions import groups, paper_scale_names
from rareunet_training.evaluation.metrics import METRICS, Agreement
from rareunet_training.evaluation.score_files import ScoreSet
from rareunet_training.evaluation.scores import Score, by_condition, mean_of, median_of

CONFIDENCE = 0.95  # of the intervals
TIE = 1e-6  # less is rounding
# 0 where one side alone has a structure, so 1 where neither has it
OVERLAPS = ("dice", "iou", "surface_dice")
VOLUME_ERROR = "volume_error_percent"


@dataclass(frozen=True)
class PairedDifference:
    """How `other` differs from `base` on the cases that both were scored on, under one condition or several.

    A case counts with its mean over the structures that have a value in both. Overlaps are 1 for a structure that the
    reference and one answer don't have and the other answer has; volume errors count without their sign.

    Attributes:
        condition, base, other: names.
        conditions: how many; above 1 a case counts with its mean over those it was scored under.
        cases: how many were paired.
        base_mean, other_mean: means over these.
        difference: mean of other minus base.
        standard_error: of that mean; NaN for a single case.
        interval: of 95 % confidence, by Student's t for paired values; NaN for a single case.
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


@dataclass(frozen=True)
class Comparison:
    """Score sets, and what each but the first differs by from the first.

    Attributes:
        sets: of the contestants.
        pairs: for each set but the first, the differences by condition, then by mean over several.
        absences: for each set but the first, what was left out, in words.
        metric: one of metrics.METRICS.
        frame: "scan" or "world", see comparison.compare.
        published: a table of published.PUBLISHED to show beside, or ''.
    """

    sets: Sequence[ScoreSet]
    pairs: Sequence[Sequence[PairedDifference]]
    absences: Sequence[Sequence[str]]
    metric: str
    frame: str
    published: str = ""

    @property
    def left_out(self) -> list[str]:
        """All that was left out."""
        return [sentence for sentences in self.absences for sentence in sentences]


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
            f"{base.name} and {other.name} have no {title_of(metric)} of the same case and condition in common:"
            " evaluate them on the same scans with the same protocol."
        )
    names, higher = (base.name, other.name), METRICS[metric].higher_is_better
    single = [_difference(condition, names, [pairs], higher) for condition, pairs in found.items()]
    means = [_difference(title, names, pairs, higher) for title, pairs in _grouped(found).items()]
    return [*_corrected(single), *_corrected(means)]


def title_of(metric: str) -> str:
    """What a comparison calls a measure."""
    title = METRICS[metric].title
    return f"absolute {title}" if metric == VOLUME_ERROR else title


def missed_alone(base: ScoreSet, other: ScoreSet, metric: str = "dice", frame: str = "scan") -> list[str]:
    """Sentences that count the structures which one of the two alone missed or made up, and which `compare` leaves out
    because they have no value then. Arguments as there.
    """
    sentences: list[str] = []
    for condition in by_condition(base.scores):
        both = [
            pair
            for pair in _of_both(base, other, condition).values()
            if all(score.agreements(frame) for score in pair)
        ]
        for index, label in enumerate(base.labels):
            unpaired = [
                (ours.agreements(frame)[index], theirs.agreements(frame)[index])
                for ours, theirs in both
                if not np.isfinite(_values(ours, theirs, metric, frame)[:, index]).all()
            ]
            swapped = [(theirs, ours) for ours, theirs in unpaired]
            for one, another, pairs in (
                (base.name, other.name, unpaired),
                (other.name, base.name, swapped),
            ):
                sentences += _alone(f"{condition}: {one}, unlike {another},", label, pairs, len(both))
    return sentences


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
        ours, theirs = (times(shape) for shape in (base.shape, other.shape))
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
    """The cases with a value of some structure in both."""
    pairs = {}
    for case, (ours, theirs) in _of_both(base, other, condition).items():
        values = _values(ours, theirs, metric, frame)
        paired = values[:, np.isfinite(values).all(axis=0)]
        pairs[case] = _Pair(mean_of(paired[0]), mean_of(paired[1]), ours.seconds, theirs.seconds)
    return {case: pair for case, pair in pairs.items() if np.isfinite([pair.base, pair.other]).all()}


def _values(ours: Score, theirs: Score, metric: str, frame: str) -> np.ndarray:
    """A case's measure in both as it is paired, (2, structures); NaN or infinite where there is none."""
    measured = [score.values(metric, frame) for score in (ours, theirs)]
    if not all(measured):
        return np.full((2, len(ours.dice)), np.nan)
    values = np.array(measured)
    if metric in OVERLAPS:
        return np.where(np.isnan(values) & np.isfinite(values).any(axis=0), 1.0, values)
    return np.abs(values) if metric == VOLUME_ERROR else values


def _alone(who: str, label: str, pairs: Sequence[tuple[Agreement, Agreement]], cases: int) -> Iterator[str]:
    """Sentences about a structure that the first of each pair missed or made up and the second did not."""
    if missed := sum(first.not_found and not second.not_found for first, second in pairs):
        yield f"{who} did not find {label} in {missed} of {cases} cases."
    if made_up := sum(first.not_there and not second.not_there for first, second in pairs):
        yield f"{who} found {label} in {made_up} of {cases} cases that don't have it."


def _of_both(base: ScoreSet, other: ScoreSet, condition: str) -> dict[str, tuple[Score, Score]]:
    """Scores of the cases that both were scored on, by case."""
    ours, theirs = (
        {score.case: score for score in scores.scores if score.condition == condition}
        for scores in (base, other)
    )
    return {case: (score, theirs[case]) for case, score in ours.items() if case in theirs}


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
    gains = differences if higher_is_better else -differences
    mean = float(differences.mean())
    error = float(differences.std(ddof=1) / np.sqrt(len(cases))) if len(cases) > 1 else float("nan")
    p_value = _wilcoxon(differences)
    ours = median_of([mean_of([pair.base_seconds for pair in pairs]) for pairs in by_case])
    theirs = median_of([mean_of([pair.other_seconds for pair in pairs]) for pairs in by_case])
    return PairedDifference(
        condition, *names, len(found), len(cases), float(a.mean()), float(b.mean()), mean,
        error, _interval(mean, error, len(cases)), p_value, p_value,
        int((gains > TIE).sum()), int((gains < -TIE).sum()), ours, theirs, theirs / ours if ours else float("nan"),
    )  # fmt: skip


def _corrected(differences: Sequence[PairedDifference]) -> list[PairedDifference]:
    corrected = holm([difference.p_value for difference in differences])
    return [replace(d, p_holm=p) for d, p in zip(differences, corrected, strict=True)]


def _wilcoxon(differences: np.ndarray) -> float:
    from scipy.stats import wilcoxon

    moved = differences[np.abs(differences) > TIE]
    return float(wilcoxon(moved).pvalue) if moved.size else 1.0


def _interval(mean: float, error: float, cases: int) -> tuple[float, float]:
    """Of a mean, by Student's t: as wide as so few cases make it, which resampling them is not; NaN for one case."""
    from scipy.stats import t

    # ttest_1samp has it too, but warns of unreliable results where all cases differ by the same.
    reach = float(t.ppf((1 + CONFIDENCE) / 2, cases - 1)) * error
    return mean - reach, mean + reach


def _check_references(base: ScoreSet, other: ScoreSet) -> None:
    common = [case for case in base.references if case in other.references]
    differing = [case for case in common if base.references[case] != other.references[case]]
    if differing:
        raise ValueError(
            f"{differing[0]} has another label map in the evaluation of {base.name} than in that of {other.name}"
            f" ({len(differing)} of {len(common)} cases): evaluate both on the same data."
        )
