"""What a comparison leaves: tables on the terminal, comparison.html, .csv and .json, trade_off.png, and the scores."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rareunet.whole_files import replacing, write_whole
from rareunet_training.evaluation.comparison import Comparison, PairedDifference, title_of
from rareunet_training.evaluation.metrics import METRICS
from rareunet_training.evaluation.paper_table import paper_table
from rareunet_training.evaluation.predictions import folder_name
from rareunet_training.evaluation.score_files import ScoreSet, plain, write_scores
from rareunet_training.evaluation.scores import memory_note


def show(comparison: Comparison) -> None:
    """Prints the tables."""
    for differences, missed in zip(comparison.pairs, comparison.absences, strict=True):
        print(comparison_table(differences, comparison.metric), end="\n\n")
        if missed:
            print("Left out, because one of the two has no value:", *missed, sep="\n", end="\n\n")
    for scores in comparison.sets:
        if note := memory_note(scores.scores):
            print(f"{scores.name}: {note}", end="\n\n")
    by_name = {scores.name: scores.scores for scores in comparison.sets}
    for protocol in ("aligned", "published"):
        if text := paper_table(by_name, protocol, comparison.published):
            print(text, end="\n\n")
    if comparison.published and not paper_table(by_name, "published"):
        print(
            "warning: the paper's numbers are left out, since nothing was scored on its labels: add --protocol"
            " published.",
            file=sys.stderr,
        )


def comparison_table(differences: Sequence[PairedDifference], metric: str) -> str:
    """A line per condition, then per mean over several: both means, the difference +- its standard error, p, who was
    better how often, and the median seconds."""
    first, d = differences[0], METRICS[metric].decimals
    a, b = (max(len(name), 7) for name in (first.base, first.other))
    lines = [
        f"{title_of(metric)}: {first.other} against {first.base}",
        f"{'condition':<26} {'cases':>5}  {first.base:>{a}}  {first.other:>{b}}  {'difference +- SE':>18}"
        f"  {'p':>7}  {'p (Holm)':>8}  better/worse  {'seconds, both':>15}  ratio",
    ]
    for before, row in zip([first, *differences], differences, strict=False):
        if row.conditions > 1 and before.conditions == 1:
            lines.append("")
        lines.append(
            f"{row.condition:<26} {row.cases:>5}  {row.base_mean:>{a}.{d}f}  {row.other_mean:>{b}.{d}f}"
            f"  {round(row.difference, d) + 0.0:>+9.{d}f} +- {row.standard_error:.{d}f}"
            f"  {row.p_value:>7.2g}  {row.p_holm:>8.2g}  {f'{row.wins}/{row.losses}':>12}"
            f"  {row.base_seconds:>7.3f} {row.other_seconds:>7.3f}  {row.seconds_ratio:>5.2f}"
        )
    return "\n".join(lines)


def write_score_files(sets: Sequence[ScoreSet], output: Path) -> None:
    """Writes scores_<contestant>.json for each into a folder that exists."""
    names: list[str] = []
    for scores in sets:
        name = folder_name(scores.name)
        names.append(name if name and name not in names else f"{name}_{len(names) + 1}")
        write_scores(scores, output / f"scores_{names[-1]}.json")


def write(comparison: Comparison, output: Path) -> None:
    """Writes the comparison into a folder that exists."""
    # Jinja and matplotlib take a second.
    from rareunet_training.reports.score_pages import write_comparison_page
    from rareunet_training.reports.trade_off import trade_off

    metric, frame = comparison.metric, comparison.frame
    rows = [asdict(difference) for differences in comparison.pairs for difference in differences]
    content = {"metric": metric, "frame": frame, "differences": plain(rows), "left_out": comparison.left_out}
    write_whole(output / "comparison.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    with (
        replacing(output / "comparison.csv") as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, [*(name for name in rows[0] if name != "interval"), "low", "high"])
        writer.writeheader()
        for row in rows:
            low, high = row.pop("interval")
            writer.writerow(row | {"low": low, "high": high})
    figure = trade_off(comparison.sets, comparison.published)
    write_comparison_page(comparison, output / "comparison.html", figure)
    if figure is not None:
        with replacing(output / "trade_off.png") as temporary:
            figure.savefig(temporary, dpi=150)
