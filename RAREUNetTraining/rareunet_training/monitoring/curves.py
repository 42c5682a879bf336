"""curves.png: loss and Dice of a run so far."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rareunet.whole_files import replacing
from rareunet_training.monitoring.history import Row


def draw_curves(rows: Sequence[Row], path: Path) -> None:
    """Draws the loss by part and, where there was a validation, Dice by resolution. Replaces the file in one go."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    loss_axes, dice_axes = figure.subplots(1, 2)
    _lines(loss_axes, rows, "loss ")
    loss_axes.set(title="Training loss", xlabel="epoch", ylabel="loss")
    loss_axes.set_ylim(bottom=0)
    _lines(dice_axes, rows, "dice ")
    dice_axes.set(title="Validation", xlabel="epoch", ylabel="mean Dice")
    dice_axes.set_ylim(0, 1)
    if not any(name.startswith("dice ") for row in rows for name in row):
        dice_axes.text(
            0.5, 0.5, "no validation yet", transform=dice_axes.transAxes, ha="center", color="gray"
        )
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _lines(axes: Axes, rows: Sequence[Row], prefix: str) -> None:
    names = dict.fromkeys(name for row in rows for name in row if name.startswith(prefix))
    for name in names:
        points = [(row["epoch"], row[name]) for row in rows if name in row]
        total = name == "loss total"
        axes.plot(
            *zip(*points, strict=True),
            label=name.removeprefix(prefix),
            color="black" if total else None,
            linewidth=2 if total else 1.2,
            marker="." if len(points) < 30 else None,
        )
    last = max(int(row["epoch"]) for row in rows)
    axes.set_xlim(0.5, max(last, 2) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    if names:
        axes.legend(fontsize=8, frameon=False)
