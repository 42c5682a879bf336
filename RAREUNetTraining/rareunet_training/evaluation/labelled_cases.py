"""The cases that a model is scored on, which must not be among those it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rareunet.bundle import Bundle
from rareunet.wording import some
from rareunet_training.configuration import DataConfig, TrainingConfig
from rareunet_training.data.cases import Case, channel_order_problem, find_cases, split_cases
from rareunet_training.model import learnt_cases


@dataclass(frozen=True)
class LabelledCases:
    """Cases to score on.

    Attributes:
        cases: on disk.
        source: where they come from, for a person.
        fold: the fold that they are; None for a data set of its own.
    """

    cases: tuple[Case, ...]
    source: str
    fold: int | None = None


def held_out_cases(config: TrainingConfig) -> LabelledCases:
    """The fold that the configuration keeps out of the training.

    Raises:
        ValueError: it keeps none, or the data can't be found.
    """
    data = config.data
    if data.fold < 0:
        raise ValueError(
            "data.fold=-1 keeps no case to score: choose the fold that the training left out, or give other scans"
            " with --data."
        )
    cases = find_cases(data.folder, data.labels, data.exclude)
    _, held_out = split_cases(cases, data, config.fit.seed)
    return LabelledCases(tuple(held_out), fold_name(data), data.fold)


def fold_name(data: DataConfig) -> str:
    """What reports call the held-out cases."""
    fold = f"{Path(data.folder).name}, fold {data.fold}"
    return f"{fold} of {Path(data.folds).name}" if data.folds else fold


def external_cases(source: str, labels: str = "", exclude: Sequence[str] = ()) -> LabelledCases:
    """The cases of a data set but those to leave out, some of which may be names of another data set.

    Raises:
        ValueError: it holds no others; else see cases.find_cases.
    """
    cases = tuple(case for case in find_cases(source, labels) if case.name not in exclude)
    if not cases:
        raise ValueError(f"{source} holds no case but those that data.exclude leaves out: give other scans.")
    return LabelledCases(cases, Path(source).name)


def check_channels(bundle: Bundle, labelled: LabelledCases) -> None:
    """Raises ValueError where the columns of a CSV file name the model's channels in another order."""
    names = bundle.channel_names
    if problem := channel_order_problem(labelled.cases[0].channels, names):
        raise ValueError(f"{labelled.source}: {problem}")


def check_unseen(bundle: Bundle, labelled: LabelledCases) -> str:
    """Refuses cases that a model was trained on; returns a warning where its bundle does not tell, else ''.

    Raises:
        ValueError: some of the cases were trained on; says which.
    """
    fold = bundle.held_out_fold
    if labelled.fold is not None and fold is not None and fold < 0:
        raise ValueError(f"{bundle.name} was trained on all cases: give other scans with --data.")
    if labelled.fold is not None and fold is not None and fold != labelled.fold:
        raise ValueError(
            f"{bundle.name} kept fold {fold} out of its training, not fold {labelled.fold}: its scores there would"
            f" be of cases it has learnt. Use data.fold={fold}."
        )
    if learnt := learnt_cases(bundle, [case.name for case in labelled.cases]):
        raise ValueError(
            f"{bundle.name} was trained on {len(learnt)} of these {len(labelled.cases)} cases ({some(learnt)}),"
            " or on others of the same names: leave them out by data.exclude=[...], or rename them if they are others."
        )
    if not bundle.case_hashes and (labelled.fold is None or fold is None):
        return f"{bundle.name} does not tell which cases it was trained on: make sure that none of these is among them."
    return ""
