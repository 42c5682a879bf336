"""Does the model notice that its answer is wrong? Holds its certainty against the true Dice.

    python docs/study/certainty.py MODEL ... --config RAREUNetTraining/Scripts/hippocampus.toml data.folder=PATH

Prints the certainty limit that these native scans give (resolution_card.certainty_limit), then for scans as they are
and for spoilt ones the share of answers below the shipped model's limit, and the share of those that get any warning of
a doubtful answer: that one, a structure that was not found, or one that reaches the border of the region of interest.
Last, over all but the regions: how often, of a poor answer (Dice below 0.7) and a good one, the poor one has the lower
value. That is asked of the certainty, and of what a second pass would give: the agreement (Dice) of the answer and that
for the scan at half its resolution.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pairs import held_out_samples

from rareunet.answer_checks import check_border
from rareunet.bundle import DEFAULT_MODEL, Bundle
from rareunet.geometry import RegionOfInterest
from rareunet.prediction import Prediction
from rareunet.predictor import Predictor
from rareunet.volume import Volume
from rareunet_training.data.degradation import degrade, majority_label
from rareunet_training.data.samples import class_indices
from rareunet_training.evaluation.conditions import coarser, native, standard_conditions
from rareunet_training.evaluation.metrics import dice_per_class
from rareunet_training.evaluation.resolution_card import certainty_limit
from rareunet_training.evaluation.scores import Score, mean_of

SPOILT_CONDITIONS = [
    native(), coarser("isotropic 2 mm", [2, 2, 2]), coarser("thick 4 mm along S", [4, 1, 1])
]  # fmt: skip
POOR_DICE = 0.7
Arrays = tuple[np.ndarray, np.ndarray]  # voxels (C, Z, Y, X) and classes (Z, Y, X), axes S, A, R


def _noise(share: float) -> Callable[[np.ndarray, np.ndarray], Arrays]:
    """White noise, its SD a share of the scan's range."""

    def spoil(voxels: np.ndarray, classes: np.ndarray) -> Arrays:
        sd = share * float(np.ptp(np.percentile(voxels, [0.5, 99.5])))
        return voxels + np.random.default_rng(0).normal(0, sd, voxels.shape), classes

    return spoil


def _only_noise(voxels: np.ndarray, classes: np.ndarray) -> Arrays:
    return np.random.default_rng(0).normal(500, 100, voxels.shape), np.zeros_like(classes)


SPOILS: dict[str, Callable[[np.ndarray, np.ndarray], Arrays]] = {
    "noise, a tenth of the range": _noise(0.1),
    "noise, two fifths of the range": _noise(0.4),
    "contrast inverted": lambda v, c: (v.min() + v.max() - v, c),
    "upside down": lambda v, c: (v[:, ::-1], c[::-1]),
    "back to front": lambda v, c: (v[:, :, ::-1], c[:, ::-1]),
    "mirrored left to right": lambda v, c: (v[..., ::-1], c[..., ::-1]),
    "S and A swapped": lambda v, c: (v.swapaxes(1, 2), c.swapaxes(0, 1)),
    "front half alone": lambda v, c: (v[:, :, v.shape[2] // 2 :], c[:, v.shape[2] // 2 :]),
    "back half alone": lambda v, c: (v[:, :, : v.shape[2] // 2], c[:, : v.shape[2] // 2]),
    "nothing but noise": _only_noise,
}
# Regions of interest: which part of each axis (S, A, R) of the native scan they hold.
REGIONS = {
    "middle 0.9 of each axis": [(0.05, 0.95)] * 3,
    "middle 0.7 of each axis": [(0.15, 0.85)] * 3,
    "upper two thirds": [(1 / 3, 1), (0, 1), (0, 1)],
    "front two thirds": [(0, 1), (1 / 3, 1), (0, 1)],
    "back two thirds": [(0, 1), (0, 2 / 3), (0, 1)],
    "right two thirds": [(0, 1), (0, 1), (1 / 3, 1)],
}


@dataclass(frozen=True)
class Answer:
    """Of one scan. Certainty is NaN where nothing was found, the agreement where the halved scan can't enter deeper."""

    dice: float
    certainty: float
    agreement: float
    incomplete: bool  # by the warnings


def main() -> None:
    answers: dict[str, list[Answer]] = defaultdict(list)
    natives: list[Score] = []
    for predictor, sample in held_out_samples(__doc__):
        classes = len(predictor.bundle.labels) + 1
        for condition in standard_conditions():
            if condition.applies(sample):
                answers[condition.name].append(answer_for(predictor, *condition.present(sample, classes)))
        native_answer = answers[native().name][-1]
        scored = (sample.name, native().name, sample.spacing_mm, (native_answer.dice,), 0.0)
        natives.append(Score(*scored, certainty=native_answer.certainty))
        for condition in SPOILT_CONDITIONS:
            volume, reference = condition.present(sample, classes)
            for name, spoil in SPOILS.items():
                voxels, moved = (np.ascontiguousarray(part) for part in spoil(volume.voxels, reference))
                spoilt = replace(volume, voxels=voxels)
                answers[f"{condition.name}: {name}"].append(answer_for(predictor, spoilt, moved))
        volume, reference = native().present(sample, classes)
        for name, parts in REGIONS.items():
            region = _region(volume, parts)
            answers[f"region of the {name}"].append(answer_for(predictor, volume, reference, region))
    limit = Bundle.load(DEFAULT_MODEL).certainty_limit
    assert limit is not None
    print(f"certainty limit of the native scans: {certainty_limit(natives)}; the shipped model's: {limit}")
    print_table(answers, limit)


def _region(volume: Volume, parts: Sequence[tuple[float, float]]) -> RegionOfInterest:
    """The region of these parts of each axis (S, A, R) of a presented scan."""
    bounds = np.array(parts) * np.array(volume.shape)[:, None] - 0.5  # voxels reach beyond their centres
    centre = volume.ijk_to_ras @ [*bounds.mean(axis=1)[::-1], 1]
    size = np.ptp(bounds, axis=1)[::-1] * np.array(volume.spacing_mm)[::-1]
    r, a, s = centre[:3].tolist()
    width, depth, height = size.tolist()
    frame = volume.ijk_to_ras[:3, :3] / np.linalg.norm(volume.ijk_to_ras[:3, :3], axis=0)
    return RegionOfInterest((r, a, s), (width, depth, height), frame)


def answer_for(
    predictor: Predictor, volume: Volume, reference: np.ndarray, region: RegionOfInterest | None = None
) -> Answer:
    """What the model says of a scan whose classes (Z, Y, X) are known."""
    values = [label.value for label in predictor.bundle.labels]
    prediction = predictor.predict(volume, region, force=True)
    found = class_indices(prediction.label_map, values)
    dice = mean_of(dice_per_class(found, reference, len(values) + 1))
    certainty = np.nan if prediction.certainty is None else prediction.certainty
    cut_off = check_border(prediction.label_map, region, volume, predictor.bundle)
    incomplete = bool(cut_off) or 0 in prediction.volumes_ml.values()
    agreement = np.nan if region else _agreement(predictor, volume, prediction)
    return Answer(dice, certainty, agreement, incomplete)


def _agreement(predictor: Predictor, volume: Volume, prediction: Prediction) -> float:
    """Dice between the answer and that for the scan halved along its finest axes; NaN where it can't enter deeper."""
    if prediction.route.entry_depth == predictor.bundle.deepest:
        return np.nan
    values = [label.value for label in predictor.bundle.labels]
    spacing = volume.spacing_mm
    steps = [2.0 if mm < 1.5 * min(spacing) else 1.0 for mm in spacing]
    sizes = [max(1, int(n / step)) for n, step in zip(volume.shape, steps, strict=True)]
    matrix = volume.ijk_to_ras @ np.diag([*reversed(steps), 1.0])
    halved = predictor.predict(Volume(degrade(volume.voxels, sizes, steps), matrix), force=True)
    ours = majority_label(class_indices(prediction.label_map, values), len(values) + 1, sizes, steps)
    return mean_of(dice_per_class(ours, class_indices(halved.label_map, values), len(values) + 1))


def print_table(answers: dict[str, list[Answer]], limit: float) -> None:
    print(f"{'scan':<50}  Dice   certainty (lowest)  below  any warning  agreement")
    for name, rows in answers.items():
        certainties = [row.certainty for row in rows if np.isfinite(row.certainty)]
        below = [row.certainty < limit for row in rows]
        warned = [low or row.incomplete for low, row in zip(below, rows, strict=True)]
        print(
            f"{name:<50}  {mean_of([row.dice for row in rows]):.3f}"
            f"  {mean_of(certainties):.3f} ({min(certainties, default=np.nan):.3f})"
            f"       {np.mean(below):4.0%}   {np.mean(warned):4.0%}"
            f"         {mean_of([row.agreement for row in rows]):.3f}"
        )
    both = [
        row
        for rows in answers.values()
        for row in rows
        if np.isfinite([row.dice, row.certainty, row.agreement]).all()
    ]
    poor = np.array([row.dice < POOR_DICE for row in both])
    for name in ("certainty", "agreement") if poor.any() else ():
        values = np.array([getattr(row, name) for row in both])
        lower = values[poor][:, None] - values[~poor]
        share = np.mean(lower < 0) + np.mean(lower == 0) / 2
        print(f"{name}: {share:.3f} of the pairs of {poor.sum()} poor and {(~poor).sum()} good answers")


if __name__ == "__main__":
    main()
