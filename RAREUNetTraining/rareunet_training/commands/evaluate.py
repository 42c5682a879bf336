"""The evaluate command: score a model, or saved predictions, on labelled scans at many resolutions.

The cases are those that the training left out (--config), or others (--data). Each scan is scored as it is, at
isotropic spacings and in thick slices (clinical), and as in the paper (aligned: labels where the voxels lie; published:
the paper's displaced ones, the default for a model trained on them). The output folder gets scores.html, scores.csv and
scores.json, which compare reads.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rareunet.installed_models import installed_models
from rareunet.whole_files import make_folder
from rareunet_training.commands.scored_data import (
    add_data_arguments,
    find_labelled,
    paper_crop,
    split_words,
    warn_of_unknown_folders,
    with_progress,
)

if TYPE_CHECKING:
    from rareunet_training.configuration import TrainingConfig
    from rareunet_training.evaluation.labelled_cases import LabelledCases
    from rareunet_training.evaluation.score_files import ScoreSet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", nargs="?", default="", help="name of an installed model or a bundle's folder"
    )
    add_data_arguments(
        parser, "clinical and aligned; published for a model trained so, all for --predictions"
    )
    parser.add_argument(
        "--predictions",
        type=Path,
        metavar="DIR",
        help="score these label maps, named like the cases, instead of a model's answers",
    )
    parser.add_argument(
        "--save-predictions", type=Path, metavar="DIR", help="write the label map of each case and condition"
    )
    parser.add_argument(
        "--baseline",
        default="",
        metavar="WAY",
        help="present the scans in another way: up, pad, full-kernels, nearest-depth or one-finer",
    )
    parser.add_argument(
        "--write-card", action="store_true", help="put the result into the bundle as its resolution card"
    )
    parser.add_argument("--output", type=Path, help="folder for scores.html, scores.csv and scores.json")


def run(arguments: argparse.Namespace) -> int:
    from rareunet_training.configuration import read_config
    from rareunet_training.reports.score_output import show, write

    models, overrides = split_words([arguments.model] if arguments.model else [], arguments.overrides)
    if not models and arguments.predictions is None:
        raise ValueError("nothing to score: name a model, or give a folder with --predictions.")
    if arguments.write_card and (
        arguments.baseline or arguments.predictions or arguments.protocol == "published"
    ):
        raise ValueError(
            "--write-card describes what the model itself does on aligned labels: leave out --baseline, --predictions"
            " and --protocol published."
        )
    if arguments.predictions is not None and (arguments.baseline or arguments.save_predictions):
        raise ValueError(
            "--predictions scores label maps that are there already: leave out --baseline and --save-predictions, or"
            " leave out --predictions to ask a model."
        )
    model = models[0] if models else ""
    if arguments.write_card and model in installed_models():
        raise ValueError(
            f"{model} is an installed model, with a card of its own: copy its folder and give that to change the card."
        )
    config = read_config(arguments.config, overrides)
    labelled = find_labelled(arguments, config)
    if arguments.output is not None:  # before the scoring, which can take hours
        make_folder(arguments.output)
    if arguments.predictions is None:
        scores = _score_model(model, arguments, config, labelled)
    else:
        scores = _score_predictions(model, arguments, config, labelled)
    if arguments.output is not None:
        write(scores, arguments.output)
    show(scores)
    if arguments.output is not None:
        print(f"\nwritten: scores.json, scores.csv and scores.html in {arguments.output}")
    if arguments.write_card:
        _write_card(model, scores)
    return 0


def _score_model(
    model: str, arguments: argparse.Namespace, config: TrainingConfig, labelled: LabelledCases
) -> ScoreSet:
    from rareunet.predictor import Predictor
    from rareunet_training.evaluation.labelled_cases import check_channels, check_unseen
    from rareunet_training.evaluation.scoring import (
        ScoringPlan,
        model_contestant,
        score_contestants,
        usual_protocol,
    )

    predictor = Predictor(model, config.fit.device)
    bundle = predictor.bundle
    check_channels(bundle, labelled)
    if warning := check_unseen(bundle, labelled):
        print(f"warning: {warning}", file=sys.stderr)
    protocol = arguments.protocol or usual_protocol(bundle)
    if arguments.write_card and protocol == "published":
        raise ValueError(
            f"{bundle.name} was trained on the paper's displaced labels: a card describes aligned ones. Add --protocol"
            " aligned, or leave out --write-card."
        )
    plan = ScoringPlan(labelled, protocol, paper_crop(arguments, config))
    with with_progress(plan, bundle.name) as watched:
        contestant = model_contestant(predictor, watched, arguments.baseline, arguments.save_predictions)
        (scores,) = score_contestants([contestant], watched)
    return scores


def _write_card(model: str, scores: ScoreSet) -> None:
    from rareunet.bundle import Bundle
    from rareunet_training.evaluation.resolution_card import with_card

    bundle = Bundle.load(model)
    source = f"{len(scores.references)} cases ({scores.data}), scored by this model."
    carded = replace(
        with_card(bundle, scores.scores), training={**bundle.training, "resolution_card": source}
    )
    print(f"\nresolution card written: {carded.rewrite().folder}")


def _score_predictions(
    model: str, arguments: argparse.Namespace, config: TrainingConfig, labelled: LabelledCases
) -> ScoreSet:
    """The label set is the model's where one is named, else the configuration's."""
    from rareunet.bundle import Bundle
    from rareunet_training.evaluation.scoring import ScoringPlan, folder_contestant, score_contestants

    if model:
        labels = {label.value: label.name for label in Bundle.load(model).labels}
    else:
        labels = dict(zip(config.model.label_values, config.model.label_names, strict=True))
    if not labels:
        raise ValueError("the label set is not known: name a model of these structures, or give --config.")
    plan = ScoringPlan(labelled, arguments.protocol or "all", paper_crop(arguments, config))
    warn_of_unknown_folders(arguments.predictions)
    with with_progress(plan, arguments.predictions.name) as watched:
        (scores,) = score_contestants([folder_contestant(arguments.predictions, watched, labels)], watched)
    return scores
