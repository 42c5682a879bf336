"""The compare command: models and saved predictions side by side, with a paired test over the cases.

Each contestant is a model's name or folder, MODEL:WAY for a model to which the scans are presented in another way (up,
pad, full-kernels, nearest-depth, one-finer), the scores.json of an evaluation, or a folder of label maps named like the
cases, of any tool. The first is what the others are compared with. The output folder gets comparison.html,
comparison.csv, comparison.json and the scores of each contestant.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rareunet_training.commands.scored_data import (
    add_data_arguments,
    find_labelled,
    split_words,
    with_progress,
)

if TYPE_CHECKING:
    from rareunet_training.comparison import PairedDifference
    from rareunet_training.configuration import TrainingConfig
    from rareunet_training.score_files import ScoreSet
    from rareunet_training.scoring import Plan

METRIC_NAMES = ("dice", "iou", "precision", "recall", "hd95_mm", "surface_dice", "volume_error_percent")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("contestants", nargs="+", help="two or more models, scores.json files or folders")
    add_data_arguments(parser)
    parser.add_argument("--metric", default="dice", choices=METRIC_NAMES, help="what is compared (dice)")
    parser.add_argument(
        "--world", action="store_true", help="on the original grid instead of the low-resolution scan's"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for the comparison")


def run(arguments: argparse.Namespace) -> int:
    from rareunet_training.comparison import compare
    from rareunet_training.configuration import read_config
    from rareunet_training.scores import paper_table

    names, overrides = split_words(arguments.contestants, arguments.overrides)
    if len(names) < 2:
        raise ValueError("compare needs two or more: models, scores.json files or folders of predictions.")
    sets = _named_apart(_score_all(names, arguments, read_config(arguments.config, overrides)))
    frame = "world" if arguments.world else "scan"
    pairs = [compare(sets[0], other, arguments.metric, frame) for other in sets[1:]]
    _write(sets, pairs, arguments.metric, frame, arguments.output)
    for differences in pairs:
        print(comparison_table(differences, arguments.metric), end="\n\n")
    for protocol in ("aligned", "published"):
        if text := paper_table({scores.name: scores.scores for scores in sets}, protocol):
            print(text, end="\n\n")
    return 0


def comparison_table(differences: Sequence[PairedDifference], metric: str) -> str:
    """A line per condition: both means, the difference +- its standard error, p, and who was better how often."""
    from rareunet_training.metrics import METRICS

    first, d = differences[0], METRICS[metric].decimals
    a, b = (max(len(name), 7) for name in (first.base, first.other))
    lines = [
        f"{METRICS[metric].title}: {first.other} against {first.base}",
        f"{'condition':<24} {'cases':>5}  {first.base:>{a}}  {first.other:>{b}}  {'difference +- SE':>18}"
        f"  {'p':>7}  {'p (Holm)':>8}  better/worse",
    ]
    lines += [
        f"{row.condition:<24} {row.cases:>5}  {row.base_mean:>{a}.{d}f}  {row.other_mean:>{b}.{d}f}"
        f"  {round(row.difference, d) + 0.0:>+9.{d}f} +- {row.standard_error:.{d}f}"
        f"  {row.p_value:>7.2g}  {row.p_holm:>8.2g}  {row.wins}/{row.losses}"
        for row in differences
    ]
    return "\n".join(lines)


def _score_all(names: Sequence[str], arguments: argparse.Namespace, config: TrainingConfig) -> list[ScoreSet]:
    """Score sets in the order of the names; what was scored before is read, the rest is scored on the same cases."""
    from rareunet_training.score_files import read_scores
    from rareunet_training.scoring import Plan

    known = {name: read_scores(Path(name)) for name in names if name.endswith(".json")}
    if len(known) == len(names):
        return list(known.values())
    labelled = find_labelled(arguments, config)
    dice_alone = arguments.metric == "dice" and not arguments.world
    plan = Plan(labelled, arguments.protocol or "standard", arguments.shape, "dice" if dice_alone else "all")
    return [known[name] if name in known else _score(name, names, plan, config) for name in names]


def _score(name: str, names: Sequence[str], plan: Plan, config: TrainingConfig) -> ScoreSet:
    """Scores one contestant."""
    from rareunet.predictor import Predictor
    from rareunet_training.labelled_cases import check_unseen
    from rareunet_training.scoring import score_folder, score_model

    with with_progress(plan, name) as watched:
        if _is_folder_of_predictions(name):
            return score_folder(Path(name), watched, _labels(names, config))
        model, way = _model_and_way(name)
        predictor = Predictor(model, config.fit.device)
        if warning := check_unseen(predictor.bundle, plan.labelled):
            print(f"warning: {warning}", file=sys.stderr)
        return score_model(predictor, watched, way)


def _model_and_way(name: str) -> tuple[str, str]:
    """ "MODEL:up" -> ("MODEL", "up"); a name without a way of baselines.BASELINES stays whole."""
    from rareunet_training.baselines import BASELINES

    model, _, way = name.rpartition(":")
    return (model, way) if model and way in BASELINES else (name, "")


def _is_folder_of_predictions(name: str) -> bool:
    from rareunet.bundle import DESCRIPTION_FILE, packaged_models

    return (
        name not in packaged_models() and Path(name).is_dir() and not (Path(name) / DESCRIPTION_FILE).exists()
    )


def _labels(names: Sequence[str], config: TrainingConfig) -> dict[int, str]:
    """The label set: the configuration's, else that of the first model among the contestants."""
    from rareunet.bundle import Bundle

    if config.model.labels:
        return dict(zip(config.model.label_values, config.model.label_names, strict=True))
    for name in names:
        if not name.endswith(".json") and not _is_folder_of_predictions(name):
            return {label.value: label.name for label in Bundle.load(_model_and_way(name)[0]).labels}
    raise ValueError(
        "the label set of the predictions is not known: give --config, or a model to compare with."
    )


def _named_apart(sets: Sequence[ScoreSet]) -> list[ScoreSet]:
    """The sets with a number behind a name that occurs again."""
    apart: list[ScoreSet] = []
    for scores in sets:
        taken = {other.name for other in apart}
        names = [scores.name, *(f"{scores.name} ({number})" for number in range(2, len(sets) + 1))]
        apart.append(replace(scores, name=next(name for name in names if name not in taken)))
    return apart


def _write(
    sets: Sequence[ScoreSet],
    pairs: Sequence[Sequence[PairedDifference]],
    metric: str,
    frame: str,
    output: Path,
) -> None:
    from rareunet_training.predictions import folder_name
    from rareunet_training.reports.score_pages import write_comparison_page
    from rareunet_training.score_files import plain, write_scores

    output.mkdir(parents=True, exist_ok=True)
    for scores in sets:
        write_scores(scores, output / f"scores_{folder_name(scores.name)}.json")
    rows = [asdict(difference) for differences in pairs for difference in differences]
    content = {"metric": metric, "frame": frame, "differences": plain(rows)}
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (output / "comparison.json").write_text(text + "\n", encoding="utf-8")
    with open(output / "comparison.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*(name for name in rows[0] if name != "interval"), "low", "high"])
        writer.writeheader()
        for row in rows:
            low, high = row.pop("interval")
            writer.writerow(row | {"low": low, "high": high})
    write_comparison_page(sets, pairs, metric, frame, output / "comparison.html")
