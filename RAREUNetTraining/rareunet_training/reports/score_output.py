"""What an evaluation leaves: tables on the terminal, scores.json, scores.csv and scores.html."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rareunet.whole_files import make_folder
from rareunet_training.evaluation.metrics import METRICS
from rareunet_training.evaluation.paper_table import paper_table
from rareunet_training.evaluation.score_files import ScoreSet, write_scores
from rareunet_training.evaluation.scores import (
    Score,
    by_condition_and_spacing,
    median_of,
    memory_note,
    not_found,
    summarise,
    write_csv,
)

# What is shown of the measures in world space: metric, title.
IN_WORLD = (
    ("dice", "Dice"),
    ("hd95_mm", "HD95 mm"),
    ("surface_dice", "surface Dice"),
    ("volume_error_percent", "volume %"),
)


def show(scores: ScoreSet) -> None:
    """Prints the tables."""
    print(table(scores.scores), flush=True)
    print(
        f"\nDice of each structure, on the scan's grid\n{table_of_structures(scores.scores, scores.labels)}"
    )
    for protocol in ("aligned", "published"):
        if text := paper_table({scores.name: scores.scores}, protocol):
            print(f"\n{text}")
    if absences := not_found(scores.scores, scores.labels):
        print("\n" + "\n".join(absences))
    if note := memory_note(scores.scores):
        print(f"\n{note}")


def table(scores: Sequence[Score]) -> str:
    """A line per condition: means over the cases and structures on both grids, the spread, median seconds."""
    measured = any(score.in_world for score in scores)
    lines = [f"{'condition':<24} {'cases':>5}  {'Dice':<15}"]
    if measured:
        world = "".join(f"  {title}" for _, title in IN_WORLD)
        on_scan = "on the scan's grid"
        grids = f"{'':<24}  {on_scan:<21}  {'in world space':-^{len(world) - 2}}"
        lines = [grids, lines[0] + world + f"  {'seconds':>7}"]
    for condition, rows in by_condition_and_spacing(scores).items():
        dice = summarise(rows)
        line = f"{condition:<24} {dice.cases:>5}  {dice.text():<15}"
        if measured:
            for metric, title in IN_WORLD:
                mean = _fixed(summarise(rows, metric, "world").mean, METRICS[metric].decimals)
                line += f"  {mean:>{len(title)}}"
            line += f"  {_fixed(median_of([row.seconds for row in rows]), 3):>7}"
        lines.append(line)
    return "\n".join(lines)


def table_of_structures(scores: Sequence[Score], label_names: Sequence[str]) -> str:
    """A line per condition: mean Dice of each structure over the cases, on the presented scan's grid."""
    widths = [max(len(name), 5) for name in label_names]
    columns = list(zip(label_names, widths, strict=True))
    lines = [f"{'condition':<24}" + "".join(f"  {name:>{width}}" for name, width in columns)]
    for condition, rows in by_condition_and_spacing(scores).items():
        means = zip(summarise(rows).by_label, widths, strict=True)
        lines.append(f"{condition:<24}" + "".join(f"  {_fixed(mean, 3):>{width}}" for mean, width in means))
    return "\n".join(lines)


def _fixed(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if np.isfinite(value) else "-"


def write(scores: ScoreSet, output: Path) -> None:
    """Writes scores.json, scores.csv and scores.html."""
    from rareunet_training.reports.score_pages import write_score_page  # Jinja and matplotlib take a second

    make_folder(output)
    write_scores(scores, output / "scores.json")
    write_csv(scores.scores, scores.labels, output / "scores.csv")
    write_score_page(scores, output / "scores.html")
