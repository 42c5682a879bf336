"""What a sweep tries: a configuration, and the ranges that each trial's settings are drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial

from rareunet_training.configuration import TrainingConfig, read_config

Distribution = CategoricalDistribution | FloatDistribution | IntDistribution

DEFAULT_SEARCH = ("fit.learning_rate=log:1e-4:1e-2", "loss.consistency=log:0.05:1")
ORIGINAL_KEY = "original"  # attribute of a trial that goes on for one that died: the first one's number


@dataclass(frozen=True)
class SweepPlan:
    """What all workers of a sweep try: `config` with `overrides` and one point of `space`.

    Attributes:
        config: TOML file.
        overrides: section.name=value, the same for every trial.
        output: folder with a folder for each trial.
        space: what each searched section.name is drawn from.
    """

    config: Path
    overrides: tuple[str, ...]
    output: Path
    space: Mapping[str, Distribution]

    def settings(self, point: Mapping[str, Any]) -> list[str]:
        """The overrides of one trial."""
        return [*self.overrides, *(f"{setting}={value}" for setting, value in point.items())]

    def training_config(self, point: Mapping[str, Any]) -> TrainingConfig:
        """The configuration of one trial. Raises ValueError as read_config does."""
        return read_config(self.config, self.settings(point))

    def check(self) -> None:
        """Tries the ends of every range and each choice, so that a mistake shows before the first trial.

        Raises:
            ValueError: an unknown setting, a value that it can't take, or no held-out cases to score trials with.
        """
        if self.training_config({}).data.fold < 0:
            raise ValueError(
                "data.fold=-1 keeps no case to score trials with: choose a fold, for example data.fold=0."
            )
        for setting, distribution in self.space.items():
            for value in _extremes(distribution):
                self.training_config({setting: value})

    def folder(self, trial: FrozenTrial | optuna.Trial) -> Path:
        """Where a trial trains; one that goes on for a trial that died has that trial's folder."""
        return self.output / f"trial_{trial.user_attrs.get(ORIGINAL_KEY, trial.number):04d}"


def parse_search(text: str) -> tuple[str, Distribution]:
    """Reads "fit.learning_rate=log:1e-4:1e-2", "fit.batch_size=range:1:4" or "model.preset=default,paper".

    Choices are apart by the commas that stand in no brackets: "fit.patch=[16,16,16],[24,24,24]" are two.

    Raises:
        ValueError: written in another way.
    """
    setting, equals, values = text.partition("=")
    if not equals or "." not in setting or not values:
        raise ValueError(
            f"--search {text!r}: write section.name=log:LOW:HIGH, =range:LOW:HIGH or =ONE,OTHER."
        )
    kind, *bounds = values.split(":")
    if kind not in ("log", "range"):
        return setting, CategoricalDistribution(_choices(values))
    try:
        low, high = bounds
        whole = all(bound.lstrip("-").isdigit() for bound in bounds)
        if whole and kind == "range":
            return setting, IntDistribution(int(low), int(high))
        return setting, FloatDistribution(float(low), float(high), log=kind == "log")
    except ValueError as error:
        raise ValueError(
            f"--search {text!r}: {kind}:LOW:HIGH needs two numbers, LOW the smaller ({error})."
        ) from None


def _choices(text: str) -> list[str]:
    choices, depth = [""], 0
    for letter in text:
        depth += (letter in "[{(") - (letter in ")}]")
        if letter == "," and depth <= 0:
            choices.append("")
        else:
            choices[-1] += letter
    return choices


def _extremes(distribution: Distribution) -> Sequence[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    return distribution.low, distribution.high
