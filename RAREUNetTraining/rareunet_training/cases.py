"""Folders -> cases and folds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rareunet.volume import Volume
from rareunet.volume_files import case_name, find_scans, read_volume


@dataclass(frozen=True)
class Case:
    """A labelled scan on disk: one file per channel or one with all, and its label map."""

    name: str
    images: tuple[Path, ...]
    label: Path

    def read(self) -> tuple[Volume, Volume]:
        """The scan and its label map.

        Raises:
            ValueError: unreadable, or the two do not lie on the same grid.
        """
        scan = read_volume(list(self.images) if len(self.images) > 1 else self.images[0])
        label = read_volume(self.label)
        if scan.shape != label.shape or not np.allclose(scan.ijk_to_ras, label.ijk_to_ras, atol=1e-3):
            raise ValueError(
                f"{self.name}: the label map does not lie on the scan's grid (sizes {label.shape} and {scan.shape}):"
                " resample it to the scan."
            )
        return scan, label


def find_cases(folder: str | Path, exclude: Iterable[str] = ()) -> list[Case]:
    """Cases of a folder in the Decathlon layout (imagesTr and labelsTr), sorted by name.

    Args:
        folder: holds imagesTr and labelsTr.
        exclude: names of cases to leave out.

    Raises:
        ValueError: no images, or an image without a label map.
    """
    folder, left_out = Path(folder), set(exclude)
    labels = {case_name(path): path for path in sorted((folder / "labelsTr").glob("[!.]*"))}
    cases = []
    for scan in find_scans([folder / "imagesTr"]):
        files = tuple(scan) if isinstance(scan, list) else (scan,)
        name = case_name(scan)
        if name in left_out:
            continue
        if name not in labels:
            raise ValueError(f"{folder}: scan {name} has no label map in labelsTr.")
        cases.append(Case(name, files, labels[name]))
    unknown = left_out - set(labels)
    if unknown:
        raise ValueError(f"{folder}: no cases {sorted(unknown)} to leave out.")
    return cases


def make_folds(names: Sequence[str], folds: int, seed: int) -> list[list[str]]:
    """Splits names at random into `folds` lists of nearly equal length."""
    order = np.random.default_rng(seed).permutation(sorted(names))
    return [sorted(str(name) for name in order[fold::folds]) for fold in range(folds)]


def read_folds(path: str | Path) -> list[list[str]]:
    """Reads a JSON list of lists of case names."""
    return [list(fold) for fold in json.loads(Path(path).read_text(encoding="utf-8"))]
