"""Draws the demo's results: a slice of each version and the result in 3D."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

COLORS = {1: "#e66042", 2: "#409cd6"}
NAMES = {1: "anterior", 2: "posterior"}


def draw(results: Sequence[Any], picture_3d: Path | None, path: Path) -> Path:
    """One row of slices for the first scan, and its native result in 3D if there is a picture of it."""
    shown = [r for r in results if r.case == results[0].case]
    figure, axes = plt.subplots(
        1, len(shown) + 1, figsize=(3.0 * (len(shown) + 1), 3.3), layout="constrained"
    )
    for axis, result in zip(axes, shown, strict=False):
        draw_slice(axis, result)
    axes[-1].set_axis_off()
    for axis in axes:
        axis.set_anchor("N")  # titles in one line, though the versions differ a little in height
    if picture_3d is not None:
        axes[-1].imshow(trimmed(plt.imread(picture_3d)))
        axes[-1].set_title("native 1 mm\nin 3D", fontsize=11)
    handles = [matplotlib.patches.Patch(color=COLORS[k], label=NAMES[k]) for k in COLORS]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, dpi=120)
    return path


def draw_slice(axis: Axes, result: Any) -> None:
    """A sagittal slice through the middle of the structure: filled the model, outlined the label map."""
    x = int(np.median(np.nonzero(result.reference)[2]))
    z, y, _ = result.scan.shape
    height, width, _ = result.scan.spacing_mm
    extent = (0.0, y * width, 0.0, z * height)
    axis.imshow(result.scan.voxels[0, :, :, x], cmap="gray", origin="lower", extent=extent)
    for value, color in COLORS.items():
        overlay = np.zeros((z, y, 4))
        overlay[result.predicted[:, :, x] == value] = [*to_rgb(color), 0.55]
        axis.imshow(overlay, origin="lower", extent=extent, interpolation="nearest")
        # Drawn on a finer grid, so that the line follows the voxels' edges.
        fine = np.kron(result.reference[:, :, x] == value, np.ones((8, 8)))
        if fine.any():
            axis.contour(fine, levels=[0.5], colors="white", linewidths=1.1, extent=extent)
    axis.set_title(f"{result.version}\nDice {np.nanmean(result.dice):.2f}", fontsize=11)
    axis.set_axis_off()


def trimmed(image: np.ndarray) -> np.ndarray:
    """The middle of a picture of the 3D view, which leaves a wide margin around the surfaces."""
    height, width = image.shape[:2]
    y, x = int(0.23 * height), int(0.30 * height)
    return image[height // 2 - y : height // 2 + y, width // 2 - x : width // 2 + x]
