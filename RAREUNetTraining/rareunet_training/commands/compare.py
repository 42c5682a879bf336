"""The compare command: models and saved predictions side by side, with a paired test over the cases.

Each contestant is a model's name or folder, MODEL:WAY for a model to which the scans are presented in another way (up,
pad, full-kernels, nearest-depth, one-finer), the scores.json of an evaluation, or a folder of label maps named like the
cases, of any tool. The first is what the others are compared with. The output folder gets comparison.html,
comparison.csv, comparison.json, trade_off.png (Dice against seconds) and the scores of each contestant; with --pictures
CASE also figure_scales.png, that case at each resolution.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rareunet.whole_files import make_folder
from rareunet_training.commands.contestants import draw_pictures, pictured_case, score_all
from rareunet_training.commands.scored_data import add_data_arguments, split_words
from rareunet_training.evaluation.published import PUBLISHED

METRIC_NAMES = ("dice", "iou", "precision", "recall", "hd95_mm", "surface_dice", "volume_error_percent")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("contestants", nargs="+", help="two or more models, scores.json files or folders")
    add_data_arguments(parser, "clinical and aligned")
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
    from rareunet_training.evaluation.comparison import Comparison, compare, missed_alone
    from rareunet_training.reports.comparison_output import show, write, write_score_files

    names, overrides = split_words(arguments.contestants, arguments.overrides)
    if len(names) < 2:
        raise ValueError("compare needs two or more: models, scores.json files or folders of predictions.")
    config = read_config(arguments.config, overrides)
    case = pictured_case(names, arguments, config) if arguments.pictures else None
    make_folder(arguments.output)  # before the scoring, which can take hours
    first, *others = sets = score_all(names, arguments, config)
    write_score_files(sets, arguments.output)  # before what may fail
    metric, frame = arguments.metric, "world" if arguments.world else "scan"
    comparison = Comparison(
        sets,
        [compare(first, other, metric, frame) for other in others],
        [missed_alone(first, other, metric, frame) for other in others],
        metric,
        frame,
        arguments.published,
    )
    write(comparison, arguments.output)
    show(comparison)
    if case is not None and (left_out := draw_pictures(names, sets, case, arguments, config)):
        print(f"figure_scales.png shows models alone, not {', '.join(left_out)}.", file=sys.stderr)
    return 0
