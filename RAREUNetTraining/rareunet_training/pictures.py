"""validation.png: what the model makes of a few validation cases at each resolution, beside the reference."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rareunet.predictor import Predictor
from rareunet_training.conditions import Condition
from rareunet_training.samples import Sample


def draw_cases(
    predictor: Predictor, samples: Sequence[Sample], conditions: Sequence[Condition], path: Path
) -> None:
    """A row per case, a column per condition: the sagittal slice that shows most of the reference, which is drawn
    dashed, and the prediction in full lines. Replaces the file in one go."""
    bundle = predictor.bundle
    colors = [tuple(channel / 255 for channel in label.color) for label in bundle.labels]
    tallest = max(s.label.shape[0] * s.spacing_mm[0] for s in samples)
    longest = min(s.label.shape[1] * s.spacing_mm[1] for s in samples)
    height = min(4.0, 2.4 * tallest / longest) + 0.15
    figure = Figure(figsize=(2.4 * len(conditions), height * len(samples) + 0.7), layout="constrained")
    grid = figure.subplots(len(samples), len(conditions), squeeze=False)
    for row, sample in zip(grid, samples, strict=True):
        for axes, condition in zip(row, conditions, strict=True):
            volume, reference = condition.present(sample, len(bundle.labels) + 1)
            predicted = predictor.predict(volume, force=True).label_map
            x = int((reference > 0).sum(axis=(0, 1)).argmax())
            z, y, _ = volume.spacing_mm
            extent = (0.0, reference.shape[1] * y, 0.0, reference.shape[0] * z)
            axes.imshow(volume.voxels[0, :, :, x], cmap="gray", origin="lower", extent=extent)
            for index, (label, color) in enumerate(zip(bundle.labels, colors, strict=True), start=1):
                _outline(axes, reference[:, :, x] == index, extent, color, "dashed")
                _outline(axes, predicted[:, :, x] == label.value, extent, color, "solid")
            axes.set(xticks=[], yticks=[])
        row[0].set_ylabel(sample.name, fontsize=8)
    for axes, condition in zip(grid[0], conditions, strict=True):
        axes.set_title(condition.name, fontsize=9)
    figure.supxlabel("full lines: prediction; dashed: reference", fontsize=8)
    temporary = path.with_suffix(".new.png")
    figure.savefig(temporary, dpi=110)
    os.replace(temporary, path)


def _outline(
    axes: Axes,
    mask: np.ndarray,
    extent: tuple[float, float, float, float],
    color: tuple[float, ...],
    style: str,
) -> None:
    """Draws the border of a mask (Z, Y) along its voxels' edges."""
    if not mask.any():
        return
    fine = 8  # sub-voxels, so that the line follows the voxels' edges instead of cutting their corners
    axes.contour(
        np.pad(np.kron(mask, np.ones((fine, fine))), 1),
        levels=[0.5],
        colors=[color],
        linestyles=style,
        linewidths=1.1,
        extent=_padded(extent, mask.shape, fine),
    )


def _padded(
    extent: tuple[float, float, float, float], shape: Sequence[int], fine: int
) -> tuple[float, float, float, float]:
    """Extent of the sub-voxels' centres, one sub-voxel of padding on each side."""
    left, right, bottom, top = extent
    dx, dy = (right - left) / shape[1] / fine / 2, (top - bottom) / shape[0] / fine / 2
    return left - dx, right + dx, bottom - dy, top + dy
