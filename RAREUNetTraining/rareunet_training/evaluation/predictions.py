"""Predictions in files: a folder of label maps named like the cases, or such a folder for each condition."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from rareunet.geometry import Reorientation
from rareunet.volume import Volume
from rareunet.volume_files import FIRST_CHANNEL, case_name, images_in, read_volume, write_label_map
from rareunet.wording import some
from rareunet.world_grids import labels_on_grid
from rareunet_training.data.cases import MOST_NAMED, Case, label_problem
from rareunet_training.data.samples import Sample, class_indices
from rareunet_training.evaluation.conditions import (
    Condition,
    conditions_of,
    matrix_in_patient,
    native,
    native_volume,
)
from rareunet_training.evaluation.evaluate import Metrics, score
from rareunet_training.evaluation.scores import Score

LEAST_OVERLAP = 0.5  # of the scan: less means that it was made from another one


def folder_name(condition: str) -> str:
    """Folder of a condition's predictions: "scale 1/2 (aligned)" -> "scale_1_2_aligned"."""
    return re.sub(r"[^a-z0-9.]+", "_", condition.lower()).strip("_")


def write_prediction(
    folder: Path, sample: Sample, condition: Condition, volume: Volume, label_map: np.ndarray
) -> None:
    """Writes FOLDER/<condition>/<case>.nii.gz where the patient lies.

    Args:
        volume: the presented scan.
        label_map: (Z, Y, X) of its grid, the labels' own values.
    """
    target = folder / folder_name(condition.name)
    target.mkdir(parents=True, exist_ok=True)
    in_patient = Volume(volume.voxels, matrix_in_patient(sample, volume), volume.name)
    write_label_map(target / f"{volume.name}.nii.gz", label_map, in_patient)


def evaluate_predictions(
    folder: Path,
    samples: Iterable[Sample],
    conditions: Sequence[Condition],
    values: Sequence[int],
    metrics: Metrics = "all",
) -> list[Score]:
    """Scores saved label maps.

    Folders of conditions, as write_prediction makes them, are scored like the model's own answers. A folder of label
    maps is scored as "native": each is brought to its scan's grid if it lies on another one.

    Args:
        folder: what to score.
        samples: the cases; each needs a prediction.
        conditions: looked for among the folder's subfolders.
        values: the label set.

    Raises:
        ValueError: a prediction is missing, lies elsewhere or holds values that are not in the label set.
    """
    saved = _files_by_condition(folder, conditions)
    flat = {} if saved else _files(folder)
    scores = []
    for sample in samples:
        for condition, files in saved.items():
            if condition.applies(sample):
                scores.append(_score_presented(files, sample, condition, values, metrics))
        if flat:
            scores.append(_score_native(flat, sample, values, metrics))
    return scores


def saved_conditions(folder: Path, conditions: Sequence[Condition]) -> list[Condition]:
    """The conditions that evaluate_predictions finds in a folder.

    Raises:
        ValueError: it holds no label maps.
    """
    return list(_saved(folder, conditions))


def unknown_folders(folder: Path) -> list[str]:
    """Subfolders that are named like no condition: nothing in them is ever scored."""
    known = {folder_name(condition.name) for condition in conditions_of("all")}
    inside = [path.name for path in folder.glob("[!.]*") if path.is_dir()]
    return sorted(name for name in inside if name not in known)


def check_complete(
    folder: Path, cases: Sequence[Case], conditions: Sequence[Condition], load: Callable[[Case], Sample]
) -> None:
    """Looks for every label map that evaluate_predictions will ask for.

    Args:
        load: reads a case; called only where a file is missing, since its condition may not apply to that scan.

    Raises:
        ValueError: a prediction is missing, or the folder holds no label maps.
    """
    saved = _saved(folder, conditions)
    for case in cases:
        absent = [(condition, files) for condition, files in saved.items() if not _find(case.name, files)]
        sample = load(case) if absent else None
        for condition, files in absent:
            if sample is not None and condition.applies(sample):
                _file_of(case.name, files)


def _saved(folder: Path, conditions: Sequence[Condition]) -> dict[Condition, dict[str, Path]]:
    """The label maps by case of each condition; of a folder without subfolders they are native."""
    return _files_by_condition(folder, conditions) or {native(): _files(folder)}


def _files_by_condition(folder: Path, conditions: Sequence[Condition]) -> dict[Condition, dict[str, Path]]:
    """The label maps by case of each condition that has a subfolder."""
    by_folder = {c: folder / folder_name(c.name) for c in conditions}
    return {c: _files(path) for c, path in by_folder.items() if path.is_dir()}


def _files(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in images_in(folder) if folder.is_dir() else ():
        other = files.setdefault(case_name(path), path)
        if other != path:
            raise ValueError(f"{folder}: {other.name} and {path.name} are predictions of one case: keep one.")
    if not files:
        raise ValueError(f"{folder} holds no label maps: give a folder of files named like the cases.")
    return files


def _find(case: str, files: Mapping[str, Path]) -> Path | None:
    """A scan whose name ends like a channel's is written without that by `segment`, which sees no label maps."""
    return files.get(case) or files.get(case.removesuffix(FIRST_CHANNEL))


def _file_of(case: str, files: Mapping[str, Path]) -> Path:
    file = _find(case, files)
    if file is None:
        folder = next(iter(files.values())).parent
        raise ValueError(
            f"{folder}: no prediction is named like the case {case} (there are {some(sorted(files))}): name each file"
            " like its scan, or leave the case out by data.exclude."
        )
    return file


def _read(files: Mapping[str, Path], case: str, values: Sequence[int]) -> Volume:
    path = _file_of(case, files)
    volume = read_volume(path)
    if problem := label_problem(volume):
        raise ValueError(f"{path}: {problem}")
    unknown = sorted(set(np.unique(volume.voxels[0]).tolist()) - {0, *values})
    if unknown:
        raise ValueError(
            f"{path}: values [{some([*map(str, unknown)])}] are not in the label set"
            f" [{some([*map(str, values)], MOST_NAMED)}]: give label maps with these."
        )
    return volume


def _score_presented(
    files: dict[str, Path],
    sample: Sample,
    condition: Condition,
    values: Sequence[int],
    metrics: Metrics,
) -> Score:
    volume, reference = condition.present(sample, len(values) + 1)
    saved = _read(files, sample.name, values)
    if saved.shape != volume.shape or not np.allclose(
        saved.ijk_to_ras, matrix_in_patient(sample, volume), atol=1e-2
    ):
        raise ValueError(
            f"{_file_of(sample.name, files)} does not lie on the grid of the scan under {condition.name!r} (sizes"
            f" {saved.shape} and {volume.shape}): make it again by evaluate --save-predictions."
        )
    predicted = class_indices(saved.voxels[0], values)
    return score(sample, condition.name, volume, predicted, reference, len(values) + 1, metrics)


def _score_native(files: dict[str, Path], sample: Sample, values: Sequence[int], metrics: Metrics) -> Score:
    saved, original = _read(files, sample.name, values), native_volume(sample)
    grid = original.shape, sample.ijk_to_ras
    covered = labels_on_grid(np.ones(saved.shape, np.uint8), saved.ijk_to_ras, *grid).mean()
    if covered < LEAST_OVERLAP:
        raise ValueError(
            f"{_file_of(sample.name, files)} covers {covered:.0%} of the scan {sample.name}, at least"
            f" {LEAST_OVERLAP:.0%} is needed: give the prediction of this scan, in its world coordinates."
        )
    predicted = labels_on_grid(class_indices(saved.voxels[0], values), saved.ijk_to_ras, *grid)
    found = score(sample, native().name, original, predicted, sample.label, len(values) + 1, metrics)
    spacing = Reorientation.to_ras(saved.ijk_to_ras).reorder(saved.spacing_mm)
    return replace(found, spacing_mm=spacing)
