"""Scores a model on labelled scans at many resolutions, through the same Predictor that users run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Literal, Protocol

import numpy as np

from rareunet.bundle import Bundle
from rareunet.prediction import Prediction
from rareunet.volume import Volume
from rareunet.world_grids import labels_on_grid
from rareunet_training.data.samples import Sample, class_indices
from rareunet_training.evaluation.conditions import Condition, native_volume
from rareunet_training.evaluation.metrics import agreement_per_class, dice_per_class
from rareunet_training.evaluation.scores import Score

Metrics = Literal["dice", "all"]


class Segmenter(Protocol):
    """What is evaluated: rareunet.Predictor, or a way to present a scan to one (see baselines)."""

    @property
    def bundle(self) -> Bundle: ...

    def predict(self, volume: Volume, *, force: bool = False) -> Prediction: ...


OnPrediction = Callable[[Sample, Condition, Volume, np.ndarray], None]


def evaluate(
    predictor: Segmenter,
    samples: Iterable[Sample],
    conditions: Sequence[Condition],
    metrics: Metrics = "dice",
    on_prediction: OnPrediction = lambda sample, condition, volume, label_map: None,
) -> list[Score]:
    """Scores every sample under every condition that applies to it.

    Args:
        predictor: the model.
        samples: may be a generator: one is needed at a time.
        conditions: how to present each.
        metrics: "dice" on the presented scan's grid alone, or "all" there and on the original grid.
        on_prediction: gets each label map with the presented scan.
    """
    values = [label.value for label in predictor.bundle.labels]
    scores = []
    for sample in samples:
        for condition in conditions:
            if not condition.applies(sample):
                continue
            volume, reference = condition.present(sample, len(values) + 1)
            prediction = predictor.predict(volume, force=True)
            on_prediction(sample, condition, volume, prediction.label_map)
            predicted = class_indices(prediction.label_map, values)
            found = score(sample, condition.name, volume, predicted, reference, len(values) + 1, metrics)
            scores.append(
                replace(
                    found,
                    seconds=sum(prediction.seconds.values()),
                    stepped_down=prediction.stepped_down,
                    certainty=math.nan if prediction.certainty is None else prediction.certainty,
                )
            )
    return scores


def score(
    sample: Sample,
    condition: str,
    volume: Volume,
    predicted: np.ndarray,
    reference: np.ndarray,
    classes: int,
    metrics: Metrics,
) -> Score:
    """Scores one answer, of which nothing is known but the label map.

    Args:
        sample: the original, for its full-resolution label map.
        volume: the presented scan.
        predicted, reference: class indices (Z, Y, X) on its grid.
    """
    spacing = volume.spacing_mm
    if metrics == "dice":
        dice = tuple(dice_per_class(predicted, reference, classes))
        return Score(sample.name, condition, spacing, dice, math.nan)
    on_scan = agreement_per_class(predicted, reference, classes, spacing)
    original = native_volume(sample)
    full = labels_on_grid(predicted, volume.ijk_to_ras, original.shape, original.ijk_to_ras)
    on_original = agreement_per_class(full, sample.label, classes, sample.spacing_mm)
    errors = _volume_errors(predicted, volume, sample, classes)
    in_world = tuple(replace(a, volume_error_percent=e) for a, e in zip(on_original, errors, strict=True))
    return Score(sample.name, condition, spacing, tuple(a.dice for a in on_scan), math.nan, on_scan, in_world)


def _volume_errors(predicted: np.ndarray, volume: Volume, sample: Sample, classes: int) -> list[float]:
    """Percent of each structure's volume in the original, NaN where neither has it. By the voxels of the answer, as
    users are told their volumes: brought to the original's grid, those of 1.5 mm fill one or two voxels of 1 mm."""
    found, true = (
        np.bincount(label_map.ravel(), minlength=classes)[1:] * float(np.prod(spacing))
        for label_map, spacing in ((predicted, volume.spacing_mm), (sample.label, sample.spacing_mm))
    )
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 is NaN, x / 0 infinite
        return [float(error) for error in 100 * (found - true) / true]
