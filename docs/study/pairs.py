"""What the scripts of this folder share: models and their held-out scans, and a table of paired Dice."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np

from rareunet import routing
from rareunet.predictor import Predictor
from rareunet_training.commands.scored_data import split_words
from rareunet_training.configuration import read_config
from rareunet_training.data.samples import Sample, load_sample
from rareunet_training.evaluation.labelled_cases import check_unseen, held_out_cases


def held_out_samples(description: str | None) -> Iterator[tuple[Predictor, Sample]]:
    """Each model that the command line names with each sample of the fold that it was trained without:
    MODEL ... --config FILE section.name=value ...

    Raises:
        ValueError: no model, or two of one fold, whose cases would count twice; one has learnt what it is shown.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="+", metavar="MODEL", help="and section.name=value, a setting")
    parser.add_argument("--config", type=Path, required=True)
    arguments = parser.parse_intermixed_args()
    models, overrides = split_words(arguments.words, [])
    predictors: dict[int, Predictor] = {}
    for model in models:
        predictor = Predictor(model)
        fold = predictor.bundle.held_out_fold
        if fold is None:
            raise ValueError(f"{model} does not tell which fold it was trained without: train it by `fit`.")
        if fold in predictors:
            raise ValueError(f"{model} is a second model of fold {fold}: give one of each.")
        predictors[fold] = predictor
    if not predictors:
        raise ValueError("no model is given.")
    cases = {}
    for fold, predictor in predictors.items():
        held_out = held_out_cases(read_config(arguments.config, [*overrides, f"data.fold={fold}"]))
        if warning := check_unseen(predictor.bundle, held_out):
            print(f"warning: {warning}", file=sys.stderr)
        cases[fold] = held_out.cases
    return (
        (predictor, load_sample(case, [x.value for x in predictor.bundle.labels], predictor.bundle.intensity))
        for fold, predictor in predictors.items()
        for case in cases[fold]
    )


def router(**constants: float) -> routing.Router:
    """The product's router with other constants of rareunet.routing: another rule to hold against it."""

    def route(
        spacing_mm: Sequence[float], reference_mm: Sequence[float], deepest: int, entry_depth: int | None
    ) -> routing.Route:
        with patch.multiple(routing, **constants):
            return routing.route_for(spacing_mm, reference_mm, deepest, entry_depth)

    return route


def print_pairs(names: tuple[str, str], dice: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    """A row per condition: mean Dice of both, and the paired difference with its standard error."""
    print(f"{'condition':<34}  {names[0]}  {names[1]}  difference +- SE")
    for condition, pairs in dice.items():
        first, second = np.transpose(pairs)
        gain = second - first
        error = gain.std(ddof=1) / len(gain) ** 0.5
        print(
            f"{condition:<34}  {first.mean():{len(names[0])}.3f}  {second.mean():{len(names[1])}.3f}"
            f"  {gain.mean():+.3f} +- {error:.3f}"
        )
