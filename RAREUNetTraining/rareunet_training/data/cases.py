"""Cases, and how they are split into training and validation."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from rareunet.volume import Volume
from rareunet.volume_files import read_volume
from rareunet.wording import some
from rareunet_training.data.grids import describe_difference, in_axes_of
from rareunet_training.data.layouts import CaseFiles, find_files

if TYPE_CHECKING:
    from rareunet_training.configuration import DataConfig

MOST_NAMED = 10  # structures of the label set in a message


class Case(CaseFiles):
    """A labelled scan on disk."""

    def read(self) -> tuple[Volume, Volume]:
        """The scan and its label map, both stored in the scan's axes.

        Raises:
            ValueError: unreadable, no label map, or the two do not lie on the same grid in world space.
            FileNotFoundError: a file is missing.
        """
        scan = read_volume(list(self.images) if len(self.images) > 1 else self.images[0])
        label = read_volume(self.label)
        if problem := label_problem(label) or grid_problem(label, scan):
            raise ValueError(f"{self.name}: {problem}")
        return scan, Volume(in_axes_of(scan, label), scan.ijk_to_ras, label.name, label.notes)


def label_problem(label: Volume) -> str:
    """Why a volume is no label map, '' if it is one."""
    if len(label.voxels) != 1:
        channels = len(label.voxels)
        return (
            f"the label map has {channels} channels: one with a number for each structure is needed. Slicer's .seg.nrrd"
            " has several (layers) where segments overlap: remove the overlaps (Segment Editor, Logical operators,"
            " Subtract) and export a label map (module Segmentations, Export)."
        )
    if np.issubdtype(label.voxels.dtype, np.floating):
        other = label.voxels[label.voxels != np.round(label.voxels)]
        if other.size or np.isinf(label.voxels).any():
            found = f"such as {other[0]!s}" if other.size else "infinite"
            return (
                f"the label map holds values that are not whole numbers ({found}): give one whole number for each"
                " structure. Probabilities need a threshold; a label map is resampled by nearest neighbour alone."
            )
    return ""


def grid_problem(label: Volume, scan: Volume) -> str:
    """Why a label map can't be used with its scan, '' if they lie on the same grid in world space."""
    difference = describe_difference(label, scan)
    if not difference:
        return ""
    return (
        f"the label map does not lie on the scan's grid ({difference}): resample it to the scan by nearest neighbour,"
        " in Slicer with Resample Image (BRAINS), the scan as reference, interpolation NearestNeighbor."
    )


def channel_order_problem(found: Sequence[str], expected: Sequence[str]) -> str:
    """Why a model would take one channel for another, '' where names don't show it."""
    ours, theirs = ([name.casefold() for name in names] for names in (found, expected))
    if ours == theirs or sorted(ours) != sorted(theirs):
        return ""
    return (
        f"the images are named {', '.join(found)} in this order, the model's channels {', '.join(expected)}: bring the"
        " columns of the CSV file (or dataset.json and the files' numbers) into the model's order, or change"
        " model.channels."
    )


def find_cases(source: str | Path, labels: str | Path = "", exclude: Iterable[str] = ()) -> list[Case]:
    """The cases of a data set; only names are looked at, so that a missing file is found when its case is read.

    Args:
        source: a folder in the Decathlon's or nnU-Net's layout (imagesTr and labelsTr; case_0000, case_0001, ... are
            channels), one with images and masks or labels, a folder of images, or a CSV file with the columns case,
            image (or one per channel), label.
        labels: folder of the label maps where `source` holds images alone.
        exclude: names of cases to leave out.

    Raises:
        ValueError: no such layout, no case, two of the same name, or a name to leave out that is not there.
    """
    if not str(source):
        raise ValueError("no data set was given: say where the scans lie (data.folder).")
    source, left_out = Path(source), set(exclude)
    cases = [Case(*files) for files in find_files(source, labels)]
    if unknown := sorted(left_out - {case.name for case in cases}):
        raise ValueError(f"{source}: no cases {unknown} to leave out (data.exclude).")
    kept = [case for case in cases if case.name not in left_out]
    if not kept:
        raise ValueError(f"{source} holds no case.")
    return kept


Named = TypeVar("Named", str, Case)


def split_cases(cases: Sequence[Named], data: DataConfig, seed: int) -> tuple[list[Named], list[Named]]:
    """Training and validation cases (or their names) of the configured fold; all and none for fold -1.

    Raises:
        ValueError: there is no such fold, or it leaves no case to train on or to validate with.
    """
    names = [case if isinstance(case, str) else case.name for case in cases]
    if data.fold < 0:
        return list(cases), []
    folds = read_folds(data.folds) if data.folds else make_folds(names, data.fold_count, seed)
    if data.fold >= len(folds):
        raise ValueError(
            f"data.fold is {data.fold}, but there are folds 0 to {len(folds) - 1} (-1 trains on all)."
        )
    held_out = set(folds[data.fold]) & set(names)
    if not held_out or len(held_out) == len(names):
        source = data.folds or f"the {data.fold_count} made from the seed"
        raise ValueError(
            f"fold {data.fold} of {source} holds {len(held_out)} of the {len(names)} cases: choose a fold that leaves"
            " some to train on, or data.fold=-1 to train on all."
        )
    pairs = list(zip(cases, names, strict=True))
    return [c for c, name in pairs if name not in held_out], [c for c, name in pairs if name in held_out]


def make_folds(names: Sequence[str], folds: int, seed: int) -> list[list[str]]:
    """Splits names at random into `folds` lists of nearly equal length."""
    order = np.random.default_rng(seed).permutation(sorted(names))
    return [sorted(str(name) for name in order[fold::folds]) for fold in range(folds)]


def read_folds(path: str | Path) -> list[list[str]]:
    """Reads a JSON list of lists of case names.

    Raises:
        ValueError: it does not exist, holds something else, or a name twice.
    """
    try:
        folds = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"data.folds is {path}, which does not exist: correct the path.") from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}): a list of lists of case names is needed.") from None
    lists = isinstance(folds, list) and all(isinstance(fold, list) for fold in folds)
    if not lists or not all(isinstance(name, str) for fold in folds for name in fold):
        raise ValueError(f"{path} does not hold folds: a JSON list of lists of case names is needed.")
    counts = Counter(name for fold in folds for name in fold)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise ValueError(f"{path} names {some(twice)} more than once: a case belongs to one fold.")
    return folds


def fold_warnings(names: Sequence[str], data: DataConfig) -> list[str]:
    """What a misspelt name in data.folds shows in: cases of no fold, which are trained on whatever the fold."""
    if data.fold < 0 or not data.folds:
        return []
    told = {name for fold in read_folds(data.folds) for name in fold}
    in_none = sorted(set(names) - told)
    if not in_none:
        return []
    unknown = sorted(told - set(names))
    others = f" Names there that are no case: {some(unknown)}." if unknown else ""
    return [f"{data.folds} has no fold for {some(in_none)}: trained on, whatever data.fold is.{others}"]
