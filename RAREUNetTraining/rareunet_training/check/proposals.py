"""What the data themselves suggest: the reference spacing, the patch, channels and labels."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rareunet.bundle import Label
from rareunet.geometry import Shape, Triple
from rareunet_training.check.facts import CaseReading, label_values, usual_channels
from rareunet_training.check.segment_names import segment_names
from rareunet_training.data.layouts import Description, read_description

FINEST_PERCENTILE = 10  # of the cases, so many percent may be finer than the reference
SIZE_PERCENTILE = 90  # of the sizes along each axis, which the patch is rounded from; the paper's


def propose_reference_spacing(cases: Sequence[CaseReading]) -> Triple | None:
    """The 10th percentile over the cases of the finest axis' spacing, mm, the same for all axes, two digits.

    One value for all axes, since each scan's thick axis has its own depth and may be any axis.
    """
    finest = [min(case.spacing_mm) for case in cases if case.spacing_mm is not None]
    if not finest:
        return None
    value = float(np.percentile(finest, FINEST_PERCENTILE, method="lower"))
    rounded = round(value, 1 - math.floor(math.log10(value)))
    return rounded, rounded, rounded


def propose_patch(cases: Sequence[CaseReading], reference_spacing_mm: Sequence[float]) -> Shape | None:
    """The paper's rule: 90th percentile of each axis (Z, Y, X), to the nearest power of two.

    In voxels of the reference spacing, as fit.patch counts, whatever the scans' own.
    """
    sizes = [
        [n * s / r for n, s, r in zip(case.shape, case.spacing_mm, reference_spacing_mm, strict=True)]
        for case in cases
        if case.shape is not None and case.spacing_mm is not None
    ]
    if not sizes:
        return None
    z, y, x = (nearest_power_of_two(max(1.0, size)) for size in np.percentile(sizes, SIZE_PERCENTILE, axis=0))
    return z, y, x


def nearest_power_of_two(size: float) -> int:
    """48 is as far from 32 as from 64 and becomes 32, the cheaper one."""
    below = 2 ** math.floor(math.log2(size))
    return int(below if size - below <= 2 * below - size else 2 * below)


def named_channels(cases: Sequence[CaseReading], columns: Sequence[str]) -> tuple[str, ...]:
    """What the columns of a CSV file, else dataset.json, call the channels; nothing unless it is a name for each."""
    number = usual_channels(cases)
    for names in (columns, _description(cases).channels):
        if len(names) == len(set(names)) == number:
            return tuple(names)
    return ()


def named_labels(cases: Sequence[CaseReading]) -> dict[int, str]:
    """What dataset.json calls the label values."""
    return dict(_description(cases).labels)


def propose_channels(cases: Sequence[CaseReading], columns: Sequence[str] = ()) -> tuple[str, ...]:
    """The data set's own names, else image, or image 1, image 2, ..."""
    if named := named_channels(cases, columns):
        return named
    number = usual_channels(cases)
    return ("image",) if number == 1 else tuple(f"image {i + 1}" for i in range(number))


def propose_labels(cases: Sequence[CaseReading]) -> tuple[Label, ...]:
    """The label values that occur, named by dataset.json or Slicer's segments, each with a colour of its own."""
    names = segment_names(cases) | _description(cases).labels
    return tuple(Label(v, names.get(v, f"Label {v}"), _color(i)) for i, v in enumerate(label_values(cases)))


def _description(cases: Sequence[CaseReading]) -> Description:
    """The dataset.json above the label maps of the first case, or beside them."""
    label = Path(cases[0].files[-1].path)
    return read_description([label.parent.parent, label.parent])


def _color(index: int) -> tuple[int, int, int]:
    """Hues a golden section apart never repeat."""
    red, green, blue = colorsys.hsv_to_rgb((0.04 + index * 0.618) % 1, 0.65, 0.9)
    return round(red * 255), round(green * 255), round(blue * 255)
