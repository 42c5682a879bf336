"""Scores a model on labelled scans at many resolutions, through the same Predictor that users run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rareunet.predictor import Predictor
from rareunet.volume import Volume
from rareunet_training.dataset import Sample
from rareunet_training.degradation import corner_label, degrade, halve, majority_label
from rareunet_training.metrics import dice_per_class

PAPER_SHAPE = (32, 64, 32)  # (Z, Y, X) of the published hippocampus experiments


@dataclass(frozen=True)
class Condition:
    """A way to present a scan: its name and what makes the low-resolution scan and reference classes of a Sample."""

    name: str
    present: Callable[[Sample, int], tuple[Volume, np.ndarray]]


@dataclass(frozen=True)
class Score:
    """Dice of one case under one condition, by class; NaN where the class is absent on both sides."""

    case: str
    condition: str
    spacing_mm: tuple[float, float, float]
    dice: tuple[float, ...]
    seconds: float

    @property
    def mean_dice(self) -> float:
        return float(np.nanmean(self.dice)) if not np.isnan(self.dice).all() else float("nan")


def native() -> Condition:
    """The scan as it is."""
    return Condition(
        "native", lambda sample, classes: (_volume(sample, sample.image, (1, 1, 1)), sample.label)
    )


def coarser(name: str, spacing_mm: Sequence[float], thickness: float = 1.0) -> Condition:
    """The scan with voxels of spacing_mm (S, A, R) and a box slice profile, over its whole field of view."""

    def present(sample: Sample, classes: int) -> tuple[Volume, np.ndarray]:
        steps = [max(1.0, want / have) for want, have in zip(spacing_mm, sample.spacing_mm, strict=True)]
        sizes = [int(n / step + 1e-6) for n, step in zip(sample.label.shape, steps, strict=True)]
        image = degrade(sample.image, sizes, steps, thickness)
        return _volume(sample, image, steps), majority_label(sample.label, classes, sizes, steps)

    return Condition(name, present)


def paper_scale(depth: int, protocol: str = "aligned", shape: Sequence[int] = PAPER_SHAPE) -> Condition:
    """The scan cropped or padded to the paper's shape and halved `depth` times."""

    def present(sample: Sample, classes: int) -> tuple[Volume, np.ndarray]:
        image, label = _paper_crop(sample.image, shape), _paper_crop(sample.label[None], shape)[0]
        if depth == 0:
            return _volume(sample, image, (1, 1, 1)), label
        steps, sizes = [2.0**depth] * 3, [n // 2**depth for n in shape]
        coarse = (
            corner_label(label, depth)
            if protocol == "published"
            else majority_label(label, classes, sizes, steps)
        )
        return _volume(sample, halve(image, depth), steps), coarse

    scale = "1" if depth == 0 else f"1/{2**depth}"
    return Condition(f"scale {scale} ({protocol})", present)


def standard_conditions() -> list[Condition]:
    """What clinics see, then the paper's scales with aligned labels."""
    isotropic = [coarser(f"isotropic {mm} mm", [mm] * 3) for mm in (1.5, 2, 3, 4)]
    thick = [
        coarser(f"thick {mm} mm along {axis}", [mm if a == axis else 1 for a in "SAR"])
        for mm in (2, 4, 6)
        for axis in "SAR"
    ]
    others = [coarser("2 x 2 x 5 mm", [5, 2, 2]), coarser("2 mm slices every 4 mm", [4, 1, 1], thickness=0.5)]
    return [native(), *isotropic, *thick, *others, *(paper_scale(d) for d in range(4))]


def quick_conditions(protocol: str = "aligned") -> list[Condition]:
    """Few enough to score between epochs."""
    scales = [paper_scale(d, protocol) for d in range(4)]
    return scales if protocol == "published" else [*scales, coarser("thick 4 mm along S", [4, 1, 1])]


def evaluate(predictor: Predictor, samples: Iterable[Sample], conditions: Sequence[Condition]) -> list[Score]:
    """Scores every sample under every condition, on the degraded scan's own grid."""
    classes = len(predictor.bundle.labels) + 1
    values = [label.value for label in predictor.bundle.labels]
    scores = []
    for sample in samples:
        for condition in conditions:
            volume, reference = condition.present(sample, classes)
            prediction = predictor.predict(volume, force=True)
            predicted = np.zeros(reference.shape, dtype=np.uint8)
            for index, value in enumerate(values, start=1):
                predicted[prediction.label_map == value] = index
            dice = tuple(dice_per_class(predicted, reference, classes))
            seconds = sum(prediction.seconds.values())
            scores.append(Score(sample.name, condition.name, volume.spacing_mm, dice, seconds))
    return scores


def resolution_card(scores: Sequence[Score], label_names: Sequence[str]) -> list[dict[str, Any]]:
    """Mean and spread over cases for each condition, in the form that bundle.json keeps."""
    card = []
    for condition in dict.fromkeys(score.condition for score in scores):
        rows = [score for score in scores if score.condition == condition]
        means = [score.mean_dice for score in rows if not np.isnan(score.mean_dice)]
        by_label = np.nanmean([score.dice for score in rows], axis=0)
        spacing = np.median([score.spacing_mm for score in rows], axis=0)
        card.append(
            {
                "condition": condition,
                "spacing_mm": [round(float(s), 3) for s in spacing],
                "cases": len(means),
                "dice_mean": round(float(np.mean(means)), 4),
                "dice_sd": round(float(np.std(means, ddof=1)) if len(means) > 1 else 0.0, 4),
                "dice_by_label": {n: round(float(v), 4) for n, v in zip(label_names, by_label, strict=True)},
            }
        )
    return card


def _volume(sample: Sample, image: np.ndarray, steps: Sequence[float]) -> Volume:
    """A volume whose first coarse voxel starts where the fine one starts: centres shift by (step - 1) / 2."""
    matrix = np.eye(4)
    for axis, (spacing, step) in enumerate(zip(sample.spacing_mm, steps, strict=True)):
        matrix[2 - axis, 2 - axis] = spacing * step
        matrix[2 - axis, 3] = spacing * (step - 1) / 2
    return Volume(image, matrix, sample.name)


def _paper_crop(image: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Centre crop or zero padding of (C, Z, Y, X); an odd difference puts the larger half first."""
    for axis, size in enumerate(shape, start=1):
        n = image.shape[axis]
        if n > size:
            start = (n - size + 1) // 2
            image = image.take(range(start, start + size), axis)
        elif n < size:
            pads = [(0, 0)] * 4
            pads[axis] = ((size - n + 1) // 2, (size - n) // 2)
            image = np.pad(image, pads)
    return image
