"""What the scripts of this folder share: models and their held-out scans, and a table of paired Dice."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np

from rareunet import routing
from rareunet.predictor import Predictor
from rareunet_training.configuration import read_config
from rareunet_training.data.samples import Sample, load_sample
from rareunet_training.evaluation.labelled_cases import held_out_cases


def held_out_samples(description: str | None) -> Iterator[tuple[Predictor, Sample]]:
    """Each model that the command line names with each sample of the fold that it was trained without:
    MODEL ... --config FILE section.name=value ..."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", metavar="MODEL", help="and section.name=value, a setting")
    parser.add_argument("--config", type=Path, required=True)
    arguments = parser.parse_intermixed_args()
    overrides = [argument for argument in arguments.models if "=" in argument]
    for model in (argument for argument in arguments.models if "=" not in argument):
        predictor = Predictor(model)
        fold = f"data.fold={predictor.bundle.training['data']['fold']}"
        values = [label.value for label in predictor.bundle.labels]
        for case in held_out_cases(read_config(arguments.config, [*overrides, fold])).cases:
            yield predictor, load_sample(case, values, predictor.bundle.intensity)


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
