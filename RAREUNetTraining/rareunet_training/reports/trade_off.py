"""Dice against seconds and size of the network: the paper's figure 6, for every way to lose resolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from rareunet_training.evaluation.conditions import SCALES, series
from rareunet_training.evaluation.published import PUBLISHED, PublishedTable
from rareunet_training.evaluation.score_files import ScoreSet
from rareunet_training.evaluation.scores import by_condition, median_of, summarise
from rareunet_training.reports.score_plots import COLOURS, GRID, STYLE

MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # one for each resolution of a series
LARGEST_AREA, UNKNOWN_AREA = 130.0, 40.0  # square points; the area stands for the number of weights

LEAST_SPAN = 0.1  # of the Dice axis: less would make noise look like a finding
PUBLISHED_SCALES = "Paper's scales (published)"  # of conditions.series

Point = tuple[float, float]  # median seconds, mean Dice


def trade_off(sets: Sequence[ScoreSet], published: str = "") -> Figure | None:
    """Mean Dice against median seconds: a line per model, a mark per resolution, its area the number of weights.

    Args:
        sets: the models; those that were not timed are left out.
        published: one of published.PUBLISHED, drawn hollow beside the published scales; '' for none.

    Returns:
        None if no series of resolutions was timed for two models, or for the only one.
    """
    timed = {index: points for index, scores in enumerate(sets) if (points := _points(scores))}
    panels = {
        title: names for title, names in series().items() if _is_worth_a_panel(names, list(timed.values()))
    }
    if not panels:
        return None
    beside = PUBLISHED[published] if published and PUBLISHED_SCALES in panels else None
    count = len(panels) + (beside is not None)
    columns = 2 if count in (2, 4) else min(3, count)
    rows = -(-count // columns)
    with rc_context(STYLE):
        figure = Figure(
            figsize=(max(5.2, 4.0 * columns), 3.5 * rows + 0.3 + 0.1 * len(timed)), layout="constrained"
        )
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, (title, names) in zip(grid, panels.items(), strict=False):
            _draw_panel(axes, title, names, timed, sets)
        if beside is not None:
            _draw_published(grid[len(panels)], beside)
            grid[len(panels)].sharey(grid[list(panels).index(PUBLISHED_SCALES)])
        for axes in grid[count:]:
            axes.remove()
        for axes in grid[::columns]:
            axes.set_ylabel("Dice on the scan's grid")
        marks = [
            Line2D([], [], color=COLOURS[i % len(COLOURS)], marker="o", label=_name(sets[i])) for i in timed
        ]
        figure.legend(handles=marks, loc="outside lower center", frameon=False, ncols=2 if columns > 1 else 1)
    return figure


def _points(scores: ScoreSet) -> dict[str, Point]:
    """Of each condition that was timed."""
    points = {
        condition: (median_of([row.seconds for row in rows]), summarise(rows).mean)
        for condition, rows in by_condition(scores.scores).items()
    }
    return {condition: point for condition, point in points.items() if np.isfinite(point).all()}


def _is_worth_a_panel(names: Sequence[str], timed: Sequence[Mapping[str, Point]]) -> bool:
    """Whether two models, or the only one, were timed at two resolutions of a series."""
    return sum(len(points.keys() & set(names)) > 1 for points in timed) >= min(2, max(1, len(timed)))


def _area(index: int, sets: Sequence[ScoreSet]) -> float:
    sizes = [int(scores.model.get("parameters", 0)) for scores in sets]
    return max(12.0, LARGEST_AREA * sizes[index] / max(sizes)) if sizes[index] else UNKNOWN_AREA


def _name(scores: ScoreSet) -> str:
    size = int(scores.model.get("parameters", 0))
    return f"{scores.name} ({size / 1e6:.1f} M weights)" if size else scores.name


def _draw_panel(
    axes: Axes,
    title: str,
    names: Sequence[str],
    timed: Mapping[int, Mapping[str, Point]],
    sets: Sequence[ScoreSet],
) -> None:
    for index, points in timed.items():
        _draw_line(
            axes, [points.get(name) for name in names], COLOURS[index % len(COLOURS)], _area(index, sets)
        )
    axes.set_title(title, fontsize=10)
    axes.set_xscale("log")
    axes.margins(0.12)
    low, high = axes.get_ylim()
    beyond = max(0.0, LEAST_SPAN - (high - low)) / 2
    axes.set_ylim(low - beyond, high + beyond)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("Seconds for a scan (median, log scale)")
    axes.grid(**GRID)
    _explain_marks(axes, [_short(name) for name in names])


def _draw_line(axes: Axes, points: Sequence[Point | None], colour: str, area: float) -> None:
    found = [point for point in points if point]
    axes.plot([s for s, _ in found], [d for _, d in found], color=colour, linewidth=1, alpha=0.5)
    for marker, point in zip(MARKERS, points, strict=False):
        if point:
            axes.scatter(
                *point, s=area, marker=marker, color=colour, edgecolors="white", linewidths=0.7, zorder=3
            )


def _short(condition: str) -> str:
    """ "scale 1/2 (aligned)" -> "1/2", "thick 4 mm along S" -> "4 mm"."""
    words = condition.split()
    return words[1] if words[0] == "scale" else f"{words[1]} mm" if len(words) > 1 else condition


def _explain_marks(axes: Axes, texts: Sequence[str]) -> None:
    marks = [
        Line2D([], [], linestyle="", marker=marker, markersize=5, color="#777777", label=text)
        for marker, text in zip(MARKERS, texts, strict=False)
    ]
    axes.legend(handles=marks, fontsize=8, frameon=True, framealpha=0.8, edgecolor="none", handletextpad=0.2)


def _draw_published(axes: Axes, table: PublishedTable) -> None:
    """Without seconds: the paper gives them in a figure alone. Padding, near 0 below scale 1, is left to the table."""
    rows = [row for row in table.rows if not row.method.endswith("-Pad")]
    for x, row in enumerate(rows):
        axes.plot([x] * len(row.means), row.means, color="#bbbbbb", linewidth=1)
        for marker, dice in zip(MARKERS, row.means, strict=False):
            axes.scatter(x, dice, s=45, marker=marker, facecolors="white", edgecolors="#444444", zorder=3)
    axes.set_title("Published in the paper (no seconds given)", fontsize=10)
    axes.set_xticks(range(len(rows)), [row.method for row in rows], fontsize=8)
    axes.set_xlim(-0.5, len(rows) - 0.5)
    axes.grid(axis="y", **GRID)
    _explain_marks(axes, SCALES)
