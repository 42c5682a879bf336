"""Models and folders of predictions -> score sets, on the same cases and conditions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from rareunet.bundle import Bundle
from rareunet.geometry import Shape
from rareunet.intensity import IntensityRule
from rareunet.network import RAREUNet
from rareunet.predictor import Predictor
from rareunet_training.data.cases import Case
from rareunet_training.data.samples import Sample, load_sample
from rareunet_training.evaluation.baselines import baseline
from rareunet_training.evaluation.conditions import PAPER_SHAPE, Condition, conditions_of
from rareunet_training.evaluation.evaluate import Metrics, evaluate
from rareunet_training.evaluation.labelled_cases import LabelledCases
from rareunet_training.evaluation.predictions import (
    check_complete,
    evaluate_predictions,
    saved_conditions,
    write_prediction,
)
from rareunet_training.evaluation.score_files import ScoreSet, reference_hash
from rareunet_training.evaluation.scores import Score


@dataclass(frozen=True)
class ScoringPlan:
    """What to score, on what.

    Attributes:
        labelled: the cases.
        protocol: see conditions.conditions_of.
        shape: (Z, Y, X), axes S, A, R, of the crop at the paper's scales, in voxels of the scan's grid.
        metrics: "dice" or "all".
        on_case: called after each case.
    """

    labelled: LabelledCases
    protocol: str = "standard"
    shape: Shape = PAPER_SHAPE
    metrics: Metrics = "all"
    on_case: Callable[[], None] = lambda: None

    def conditions(self) -> list[Condition]:
        return conditions_of(self.protocol, self.shape)


@dataclass(frozen=True)
class Contestant:
    """What is scored.

    Attributes:
        name: what tables call it.
        model: see score_files.ScoreSet.
        labels: names of the structures by value.
        conditions: names of those of the plan that it is scored under, where they apply.
        rule: intensity rule of the scans that it gets.
        score_case: scores a case under the plan's conditions.
    """

    name: str
    model: Mapping[str, str | int]
    labels: Mapping[int, str]
    conditions: frozenset[str]
    rule: IntensityRule
    score_case: Callable[[Sample], list[Score]]


def score_contestants(contestants: Sequence[Contestant], plan: ScoringPlan) -> list[ScoreSet]:
    """Scores all on one case after the other, so that a busy hour of the machine slows all of them alike.

    Raises:
        ValueError, OSError: a case can't be used, see samples.load_sample; known before anything is scored.
    """
    _read_all(plan.labelled.cases, contestants)
    references: list[dict[str, str]] = [{} for _ in contestants]
    scores: list[list[Score]] = [[] for _ in contestants]
    for case in plan.labelled.cases:
        for contestant, hashes, found in zip(contestants, references, scores, strict=True):
            sample = load_sample(case, list(contestant.labels), contestant.rule)
            hashes[case.name] = reference_hash(sample)
            found += contestant.score_case(sample)
        plan.on_case()
    return [
        ScoreSet(
            one.name,
            one.model,
            plan.protocol,
            plan.shape,
            plan.labelled.source,
            tuple(one.labels.values()),
            hashes,
            tuple(found),
        )
        for one, hashes, found in zip(contestants, references, scores, strict=True)
    ]


def _read_all(cases: Sequence[Case], contestants: Sequence[Contestant]) -> None:
    """Reads every case with each of the label sets: minutes, where scoring up to a case that fails can take hours."""
    label_sets = {tuple(contestant.labels) for contestant in contestants}
    for case in cases:
        for values in label_sets:
            load_sample(case, values, IntensityRule())


def usual_protocol(bundle: Bundle) -> str:
    """ "published" for a study model that was trained on the published labels, else "standard"."""
    return "published" if bundle.learnt_displaced else "standard"


def model_facts(bundle: Bundle, presented: str = "") -> dict[str, str | int]:
    """What a score set says of its model, see score_files.ScoreSet; no hash of one that has not been saved.

    Args:
        presented: one of baselines.BASELINES, or '' for the model's own way.
    """
    with torch.device("meta"):  # counts without memory
        network = RAREUNet(bundle.architecture)
    facts: dict[str, str | int] = {"name": bundle.name, "version": bundle.version, "presented": presented}
    facts["parameters"] = sum(weights.numel() for weights in network.parameters())
    return facts if bundle.folder is None else {**facts, "sha256": bundle.sha256}


def model_contestant(
    predictor: Predictor, plan: ScoringPlan, presented: str = "", save: Path | None = None
) -> Contestant:
    """A model.

    Args:
        predictor: the model.
        plan: on what it will be scored.
        presented: one of baselines.BASELINES, or '' for the model's own way.
        save: folder for the label maps; None keeps none.
    """
    bundle = predictor.bundle
    segmenter = baseline(presented, predictor, plan.shape) if presented else predictor
    conditions = plan.conditions()

    def score_case(sample: Sample) -> list[Score]:
        if save is None:
            return evaluate(segmenter, [sample], conditions, plan.metrics)
        return evaluate(segmenter, [sample], conditions, plan.metrics, partial(write_prediction, save))

    name = f"{bundle.name}:{presented}" if presented else bundle.name
    labels = {label.value: label.name for label in bundle.labels}
    names = frozenset(condition.name for condition in conditions)
    return Contestant(name, model_facts(bundle, presented), labels, names, bundle.intensity, score_case)


def folder_contestant(folder: Path, plan: ScoringPlan, labels: Mapping[int, str]) -> Contestant:
    """A folder of predictions, of this or any other tool.

    Args:
        labels: names of the structures by value.

    Raises:
        ValueError: the folder holds no label maps, lacks one of a case, or those of scans as they are and the plan has
            no such condition.
    """
    conditions, values, rule = plan.conditions(), list(labels), IntensityRule()
    check_complete(folder, plan.labelled.cases, conditions, lambda case: load_sample(case, values, rule))

    def score_case(sample: Sample) -> list[Score]:
        return evaluate_predictions(folder, [sample], conditions, values, plan.metrics)

    names = frozenset(condition.name for condition in saved_conditions(folder, conditions))
    if not names <= {condition.name for condition in conditions}:
        raise ValueError(
            f"{folder} holds label maps of the scans as they are, and --protocol {plan.protocol} presents none so:"
            " leave out --protocol, or give a folder for each condition, as evaluate --save-predictions makes them."
        )
    return Contestant(folder.resolve().name, {}, labels, names, rule, score_case)
