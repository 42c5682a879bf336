"""Pictures of a few cases at each resolution, prediction beside reference: validation.png and figure_scales.png."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from rareunet.bundle import Bundle
from rareunet.whole_files import replacing
from rareunet_training.data.samples import Sample, class_indices
from rareunet_training.evaluation.conditions import Condition
from rareunet_training.evaluation.evaluate import Segmenter
from rareunet_training.evaluation.metrics import dice_per_class
from rareunet_training.evaluation.scores import mean_of

REFERENCE = "white"  # colour of its outline

Extent = tuple[float, float, float, float]


@dataclass(frozen=True)
class PictureRow:
    """A case and what segments it; without a segmenter the reference is shown in its place."""

    title: str
    sample: Sample
    segmenter: Segmenter | None = None


def draw_cases(
    predictor: Segmenter, samples: Sequence[Sample], conditions: Sequence[Condition], path: Path
) -> None:
    """A row per case, see draw_rows."""
    rows = [PictureRow(sample.name, sample, predictor) for sample in samples]
    draw_rows(rows, predictor.bundle, conditions, path)


def draw_rows(
    rows: Sequence[PictureRow], bundle: Bundle, conditions: Sequence[Condition], path: Path, note: str = ""
) -> None:
    """A column per condition: the sagittal slice that shows most of the reference, which is outlined, and the
    prediction, filled, with its Dice. Millimetres are of one size in all panels. Replaces the file in one go.

    Args:
        rows: all of the structures of `bundle`.
        bundle: for names and colours.
        note: a sentence below the picture.
    """
    panels = [[_panel(row, len(bundle.labels) + 1, condition) for condition in conditions] for row in rows]
    lengths = [
        max((panel.length_mm for panel in column if panel), default=30.0)
        for column in zip(*panels, strict=True)
    ]
    heights = [max((panel.height_mm for panel in line if panel), default=30.0) for line in panels]
    inches = 2.4 * len(conditions) / sum(lengths)
    figure = Figure(figsize=(2.4 * len(conditions) + 0.4, inches * sum(heights) + 0.15 * len(rows) + 1.0))
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.06)
    grid = figure.subplots(
        len(rows), len(conditions), squeeze=False, width_ratios=lengths, height_ratios=heights
    )
    for axes, panel in zip(grid.ravel(), (panel for line in panels for panel in line), strict=True):
        axes.set(xticks=[], yticks=[])
        if panel is None:
            axes.text(0.5, 0.5, "the scan is coarser", ha="center", fontsize=8, transform=axes.transAxes)
        else:
            _draw(axes, panel, _colors(bundle))
    for line, row in zip(grid, rows, strict=True):
        line[0].set_ylabel(row.title, fontsize=8)
    for axes, condition in zip(grid[0], conditions, strict=True):
        axes.set_title(condition.name, fontsize=9)
    _explain(figure, bundle, note)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)


@dataclass(frozen=True)
class _Panel:
    """A sagittal slice (Z, Y): intensities, class indices of the reference and of the prediction if there is one."""

    image: np.ndarray
    reference: np.ndarray
    predicted: np.ndarray | None
    dice: float
    height_mm: float
    length_mm: float

    @property
    def extent(self) -> Extent:
        return 0.0, self.length_mm, 0.0, self.height_mm


def _panel(row: PictureRow, classes: int, condition: Condition) -> _Panel | None:
    """None where the scan is too coarse for the condition."""
    if not condition.applies(row.sample):
        return None
    volume, reference = condition.present(row.sample, classes)
    x = int((reference > 0).sum(axis=(0, 1)).argmax())
    size = [n * mm for n, mm in zip(reference.shape, volume.spacing_mm, strict=True)]
    image = volume.voxels[0, :, :, x]
    if row.segmenter is None:
        return _Panel(image, reference[:, :, x], None, np.nan, size[0], size[1])
    values = [label.value for label in row.segmenter.bundle.labels]
    predicted = class_indices(row.segmenter.predict(volume, force=True).label_map, values)
    dice = mean_of(dice_per_class(predicted, reference, classes))
    return _Panel(image, reference[:, :, x], predicted[:, :, x], dice, size[0], size[1])


def _draw(axes: Axes, panel: _Panel, colors: Sequence[tuple[float, float, float]]) -> None:
    extent = panel.extent
    axes.imshow(panel.image, cmap="gray", origin="lower", extent=extent)
    shown = panel.reference if panel.predicted is None else panel.predicted
    for index, color in enumerate(colors, start=1):
        filled = np.zeros((*shown.shape, 4))
        filled[shown == index] = [*color, 0.45]
        axes.imshow(filled, origin="lower", extent=extent, interpolation="nearest")
        _outline(axes, shown == index, extent, color, 1.1)
    if panel.predicted is not None:
        for index in range(1, len(colors) + 1):
            _outline(axes, panel.reference == index, extent, to_rgb(REFERENCE), 0.9)
        axes.text(
            0.03, 0.95, f"{panel.dice:.2f}", color="white", fontsize=8, va="top", transform=axes.transAxes,
            bbox={"facecolor": "black", "alpha": 0.6, "edgecolor": "none", "pad": 1.5},
        )  # fmt: skip


def _colors(bundle: Bundle) -> list[tuple[float, float, float]]:
    return [(r / 255, g / 255, b / 255) for r, g, b in (label.color for label in bundle.labels)]


def _explain(figure: Figure, bundle: Bundle, note: str) -> None:
    marks = [
        Patch(facecolor=(*color, 0.45), edgecolor=color, label=label.name)
        for label, color in zip(bundle.labels, _colors(bundle), strict=True)
    ]
    marks.append(
        Patch(facecolor="#888888", edgecolor=REFERENCE, linewidth=1.5, label="white outline: reference")
    )
    text = "Filled: prediction, with the mean Dice of the whole scan."
    figure.legend(
        handles=marks, loc="outside lower center", ncols=len(marks), frameon=False, fontsize=8,
        title=f"{text} {note}".strip(), title_fontsize=8,
    )  # fmt: skip


def _outline(axes: Axes, mask: np.ndarray, extent: Extent, color: tuple[float, ...], width: float) -> None:
    """Draws the border of a mask (Z, Y) along its voxels' edges."""
    if not mask.any():
        return
    fine = 8  # sub-voxels, so that the line follows the voxels' edges instead of cutting their corners
    axes.contour(
        np.pad(np.kron(mask, np.ones((fine, fine))), 1),
        levels=[0.5],
        colors=[color],
        linewidths=width,
        extent=_padded(extent, mask.shape, fine),
    )


def _padded(extent: Extent, shape: Sequence[int], fine: int) -> Extent:
    """Extent of the sub-voxels' centres, one sub-voxel of padding on each side."""
    left, right, bottom, top = extent
    dx, dy = (right - left) / shape[1] / fine / 2, (top - bottom) / shape[0] / fine / 2
    return left - dx, right + dx, bottom - dy, top + dy
