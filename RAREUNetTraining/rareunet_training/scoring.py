"""Models and folders of predictions -> score sets, on the same cases and conditions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rareunet.bundle import Bundle
from rareunet.predictor import Predictor
from rareunet.preprocessing import IntensityRule
from rareunet.volume import Volume
from rareunet_training.baselines import baseline
from rareunet_training.cases import Case
from rareunet_training.conditions import PAPER_SHAPE, Condition, conditions_of
from rareunet_training.evaluation import Metrics, evaluate
from rareunet_training.labelled_cases import LabelledCases
from rareunet_training.predictions import evaluate_predictions, place, write_prediction
from rareunet_training.samples import Sample
from rareunet_training.score_files import ScoreSet, reference_hash
from rareunet_training.scores import Score


@dataclass(frozen=True)
class Plan:
    """What to score, on what.

    Attributes:
        labelled: the cases.
        protocol: see conditions.conditions_of.
        shape: (Z, Y, X) of the paper's crop.
        metrics: "dice" or "all".
        on_case: called after each case.
    """

    labelled: LabelledCases
    protocol: str = "standard"
    shape: Sequence[int] = PAPER_SHAPE
    metrics: Metrics = "all"
    on_case: Callable[[], None] = lambda: None

    def conditions(self) -> list[Condition]:
        return conditions_of(self.protocol, self.shape)

    def run(
        self, values: Sequence[int], rule: IntensityRule, score_case: Callable[[Case, Sample], list[Score]]
    ) -> tuple[dict[str, str], tuple[Score, ...]]:
        """Scores each case; returns hashes of the references by case, and the scores."""
        references: dict[str, str] = {}
        scores: list[Score] = []
        for case, sample in self.labelled.samples(values, rule):
            references[case.name] = reference_hash(sample)
            scores += score_case(case, sample)
            self.on_case()
        return references, tuple(scores)


def usual_protocol(bundle: Bundle) -> str:
    """ "published" for a study model that was trained on the published labels, else "standard"."""
    trained = bundle.training.get("settings", {}).get("fit", {}).get("protocol")
    return "published" if trained == "published" else "standard"


def score_model(predictor: Predictor, plan: Plan, presented: str = "", save: Path | None = None) -> ScoreSet:
    """Scores a model.

    Args:
        predictor: the model.
        plan: on what.
        presented: one of baselines.BASELINES, or '' for the model's own way.
        save: folder for the label maps; None keeps none.
    """
    bundle = predictor.bundle
    segmenter = baseline(presented, predictor, plan.shape) if presented else predictor
    conditions = plan.conditions()

    def score_case(case: Case, sample: Sample) -> list[Score]:
        if save is None:
            return evaluate(segmenter, [sample], conditions, plan.metrics)
        folder, placed = save, place(sample, case)

        def write(sample: Sample, condition: Condition, volume: Volume, label_map: np.ndarray) -> None:
            write_prediction(folder, placed, condition, volume, label_map)

        return evaluate(segmenter, [sample], conditions, plan.metrics, write)

    values = [label.value for label in bundle.labels]
    references, scores = plan.run(values, bundle.intensity, score_case)
    model = {"name": bundle.name, "version": bundle.version, "presented": presented}
    if bundle.folder is not None:
        model["sha256"] = bundle.sha256
    name = f"{bundle.name}:{presented}" if presented else bundle.name
    names = tuple(label.name for label in bundle.labels)
    return ScoreSet(name, model, plan.protocol, plan.labelled.source, names, references, scores)


def score_folder(folder: Path, plan: Plan, labels: dict[int, str]) -> ScoreSet:
    """Scores a folder of predictions, of this or any other tool.

    Args:
        labels: names of the structures by value.
    """
    conditions, values = plan.conditions(), list(labels)

    def score_case(case: Case, sample: Sample) -> list[Score]:
        return evaluate_predictions(folder, [place(sample, case)], conditions, values, plan.metrics)

    references, scores = plan.run(values, IntensityRule(), score_case)
    source = plan.labelled.source
    return ScoreSet(
        folder.resolve().name, {}, plan.protocol, source, tuple(labels.values()), references, scores
    )
