"""Pictures of scores, drawn by matplotlib without a display."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rareunet_training.evaluation.comparison import PairedDifference
from rareunet_training.evaluation.conditions import SCALES, series
from rareunet_training.evaluation.score_files import ScoreSet
from rareunet_training.evaluation.scores import Score, by_condition, spacing_of, summarise

# Okabe and Ito's colours, which people with a colour vision deficiency can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "rareunet",
}
GRID: Any = {"color": "#dddddd", "linewidth": 0.8}


def as_image(figure: Figure) -> str:
    """The picture as the source of an <img>, within the page."""
    buffer = io.BytesIO()
    with rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def dice_by_spacing(sets: Sequence[ScoreSet]) -> Figure | None:
    """Mean Dice and its standard deviation over cases against spacing, a panel for each way to lose resolution.

    None if no such way was scored at two resolutions.
    """
    scored = {score.condition for scores in sets for score in scores.scores}
    panels = {title: names for title, names in series().items() if len(scored.intersection(names)) > 1}
    if not panels:
        return None
    with rc_context(STYLE):
        columns = min(3, len(panels))
        rows = -(-len(panels) // columns)
        figure = Figure(figsize=(3.4 * columns, 2.9 * rows + 0.3), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
        for axes, (title, names) in zip(grid, panels.items(), strict=False):
            _draw_series(axes, title, names, sets)
            axes.set_title(title, fontsize=10)
            axes.grid(axis="y", **GRID)
            axes.set_ylim(0, 1)
        for axes in grid[len(panels) :]:
            axes.remove()
        for axes in grid[::columns]:
            axes.set_ylabel("Dice on the scan's grid")
        if len(sets) > 1:
            handles, labels = grid[0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=min(len(sets), 4), frameon=False)
    return figure


def cases_by_condition(scores: Sequence[Score]) -> Figure:
    """Dice of every case under every condition, with the median and the quartiles."""
    groups = {
        condition: [d for d in (row.mean_dice for row in rows) if np.isfinite(d)]
        for condition, rows in reversed(by_condition(scores).items())
    }
    random = np.random.default_rng(0)
    with rc_context(STYLE):
        figure = Figure(figsize=(7.5, 0.6 + 0.26 * len(groups)), layout="constrained")
        axes = figure.subplots()
        for row, values in enumerate(groups.values(), start=1):
            if not values:
                continue
            low, median, high = np.percentile(values, [25, 50, 75])
            axes.barh(row, high - low, 0.6, low, color="#e6e6e6", edgecolor="#999999", linewidth=0.8)
            axes.plot([median, median], [row - 0.3, row + 0.3], color=COLOURS[1], linewidth=1.8)
            height = row + random.uniform(-0.18, 0.18, len(values))
            axes.plot(values, height, "o", markersize=3, alpha=0.6, color=COLOURS[0], markeredgewidth=0)
        axes.set_yticks(range(1, len(groups) + 1), list(groups))
        axes.set_xlabel("Dice of a case, mean of the structures, on the scan's grid")
        axes.set_xlim(0, 1)
        axes.grid(axis="x", **GRID)
    return figure


def differences_by_condition(pairs: Sequence[Sequence[PairedDifference]], title: str) -> Figure:
    """Mean difference and its 95 % t interval for each condition, and for means of several, which are diamonds.

    A filled mark is significant after correction.

    Args:
        pairs: the differences of each pair of models; the first model of all is the same.
        title: what differs.
    """
    conditions = list(dict.fromkeys(d.condition for differences in pairs for d in differences))
    heights = {condition: len(conditions) - row for row, condition in enumerate(conditions)}
    with rc_context(STYLE):
        figure = Figure(figsize=(7.5, 1.25 + 0.28 * len(conditions)), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0, color="#777777", linewidth=1)
        for index, differences in enumerate(pairs):
            colour, shift = (
                COLOURS[(index + 1) % len(COLOURS)],
                0.3 * (index - (len(pairs) - 1) / 2) / len(pairs),
            )
            for number, d in enumerate(differences):
                y = heights[d.condition] - shift
                filled = colour if d.p_holm < 0.05 else "white"
                axes.plot(d.interval, (y, y), color=colour, linewidth=1.5)
                axes.plot(
                    d.difference, y, "o" if d.conditions == 1 else "D", markersize=5,
                    color=colour, markerfacecolor=filled, label=d.other if number == 0 else None,
                )  # fmt: skip
        axes.set_yticks(list(heights.values()), list(heights))
        axes.set_xlabel(
            f"{title}, difference from {pairs[0][0].base}\n"
            "(line: 95 % t interval; filled: p < 0.05 after Holm's correction)"
        )
        axes.grid(axis="x", **GRID)
        figure.legend(loc="outside upper center", frameon=False, ncols=min(len(pairs), 3))
    return figure


def _draw_series(axes: Axes, title: str, names: Sequence[str], sets: Sequence[ScoreSet]) -> None:
    """Means and standard deviations of each set, side by side."""
    everything = by_condition([score for scores in sets for score in scores.scores])
    present = [name for name in names if name in everything]
    if "Paper" in title:
        x = {name: float(names.index(name)) for name in present}
        axes.set_xticks(list(x.values()), [SCALES[names.index(name)] for name in present])
        axes.set_xlabel("Scale")
    else:
        coarsest = {name: max(spacing_of(everything[name])) for name in present}
        x = {name: float(np.log2(mm)) for name, mm in coarsest.items()}
        axes.set_xticks(list(x.values()), [f"{mm:.3g}" for mm in coarsest.values()])
        axes.set_xlabel("Spacing (mm, log scale)")
    apart = 0.05 * (max(x.values()) - min(x.values())) / len(sets)
    for index, scores in enumerate(sets):
        groups = by_condition(scores.scores)
        found = {name: summarise(groups[name]) for name in present if name in groups}
        shift = apart * (index - (len(sets) - 1) / 2)
        axes.errorbar(
            [x[name] + shift for name in found], [s.mean for s in found.values()], [s.sd for s in found.values()],
            color=COLOURS[index % len(COLOURS)], marker="o", markersize=4, linewidth=1.5, elinewidth=0.9, capsize=2,
            label=scores.name,
        )  # fmt: skip
