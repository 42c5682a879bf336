"""The compare command: models and saved predictions side by side, with a paired test over the cases.

Each contestant is a model's name or folder, MODEL:WAY for a model to which the scans are presented in another way (up,
pad, full-kernels, nearest-depth, one-finer), the scores.json of an evaluation, or a folder of label maps named like the
cases, of any tool. The first is what the others are compared with. The output folder gets comparison.html,
comparison.csv, comparison.json, trade_off.png (Dice against seconds) and the scores of each contestant; with --pictures
CASE also figure_scales.png, that case at each resolution.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from rareunet.whole_files import make_folder, replacing, write_whole
from rareunet_training.commands.contestants import draw_pictures, pictured_case, score_all
from rareunet_training.commands.scored_data import add_data_arguments, split_words
from rareunet_training.evaluation.published import PUBLISHED

if TYPE_CHECKING:
    from rareunet_training.evaluation.comparison import PairedDifference
    from rareunet_training.evaluation.score_files import ScoreSet

METRIC_NAMES = ("dice", "iou", "precision", "recall", "hd95_mm", "surface_dice", "volume_error_percent")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("contestants", nargs="+", help="two or more models, scores.json files or folders")
    add_data_arguments(parser)
    parser.add_argument("--metric", default="dice", choices=METRIC_NAMES, help="what is compared (dice)")
    parser.add_argument(
        "--world", action="store_true", help="on the original grid instead of the low-resolution scan's"
    )
    parser.add_argument(
        "--pictures", default="", metavar="CASE", help="draw what the models make of this case at each scale"
    )
    parser.add_argument(
        "--published",
        default="",
        choices=tuple(PUBLISHED),
        help="put the paper's numbers beside the published scales",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for the comparison")


def run(arguments: argparse.Namespace) -> int:
    from rareunet_training.configuration import read_config
    from rareunet_training.evaluation.comparison import compare, missed_alone
    from rareunet_training.evaluation.paper_table import paper_table
    from rareunet_training.evaluation.scores import memory_note

    names, overrides = split_words(arguments.contestants, arguments.overrides)
    if len(names) < 2:
        raise ValueError("compare needs two or more: models, scores.json files or folders of predictions.")
    config = read_config(arguments.config, overrides)
    case = pictured_case(names, arguments, config) if arguments.pictures else None
    make_folder(arguments.output)  # before the scoring, which can take hours
    sets = score_all(names, arguments, config)
    _write_scores(sets, arguments.output)  # before what may fail: scoring can take hours
    frame = "world" if arguments.world else "scan"
    pairs = [compare(sets[0], other, arguments.metric, frame) for other in sets[1:]]
    absences = [missed_alone(sets[0], other, arguments.metric, frame) for other in sets[1:]]
    _write(sets, pairs, absences, frame, arguments)
    for differences, missed in zip(pairs, absences, strict=True):
        print(comparison_table(differences, arguments.metric), end="\n\n")
        if missed:
            print("Left out, for want of a value in both:", *missed, sep="\n", end="\n\n")
    for scores in sets:
        if note := memory_note(scores.scores):
            print(f"{scores.name}: {note}", end="\n\n")
    by_name = {scores.name: scores.scores for scores in sets}
    for protocol in ("aligned", "published"):
        if text := paper_table(by_name, protocol, arguments.published):
            print(text, end="\n\n")
    if arguments.published and not paper_table(by_name, "published"):
        print(
            "warning: the paper's numbers are left out, since nothing was scored on its labels: add --protocol"
            " published.",
            file=sys.stderr,
        )
    if case is not None and (left_out := draw_pictures(names, sets, case, arguments, config)):
        print(f"figure_scales.png shows models alone, not {', '.join(left_out)}.", file=sys.stderr)
    return 0


def comparison_table(differences: Sequence[PairedDifference], metric: str) -> str:
    """A line per condition, then per mean over several: both means, the difference +- its standard error, p, who was
    better how often, and the median seconds."""
    from rareunet_training.evaluation.comparison import title_of
    from rareunet_training.evaluation.metrics import METRICS

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


def _write_scores(sets: Sequence[ScoreSet], output: Path) -> None:
    """Writes scores_<contestant>.json for each."""
    from rareunet_training.evaluation.predictions import folder_name
    from rareunet_training.evaluation.score_files import write_scores

    names: list[str] = []
    for scores in sets:
        name = folder_name(scores.name)
        names.append(name if name and name not in names else f"{name}_{len(names) + 1}")
        write_scores(scores, output / f"scores_{names[-1]}.json")


def _write(
    sets: Sequence[ScoreSet],
    pairs: Sequence[Sequence[PairedDifference]],
    absences: Sequence[Sequence[str]],
    frame: str,
    arguments: argparse.Namespace,
) -> None:
    """Writes the comparison into its folder, which exists."""
    from rareunet_training.evaluation.score_files import plain
    from rareunet_training.reports.score_pages import write_comparison_page
    from rareunet_training.reports.trade_off import trade_off

    output, metric, published = arguments.output, arguments.metric, arguments.published
    rows = [asdict(difference) for differences in pairs for difference in differences]
    left_out = list(chain.from_iterable(absences))
    content = {"metric": metric, "frame": frame, "differences": plain(rows), "left_out": left_out}
    text = json.dumps(content, indent=1, ensure_ascii=False)
    write_whole(output / "comparison.json", text + "\n")
    table = output / "comparison.csv"
    with replacing(table) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*(name for name in rows[0] if name != "interval"), "low", "high"])
        writer.writeheader()
        for row in rows:
            low, high = row.pop("interval")
            writer.writerow(row | {"low": low, "high": high})
    figure = trade_off(sets, published)
    write_comparison_page(sets, pairs, metric, frame, output / "comparison.html", figure, published, left_out)
    if figure is not None:
        figure.savefig(output / "trade_off.png", dpi=150)
