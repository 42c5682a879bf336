"""Arguments that evaluate and compare share: which cases, which conditions, and what is scored on them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rareunet.geometry import Shape
    from rareunet_training.configuration import TrainingConfig
    from rareunet_training.evaluation.labelled_cases import LabelledCases
    from rareunet_training.evaluation.scoring import ScoringPlan


def add_data_arguments(parser: argparse.ArgumentParser, usual_protocol: str) -> None:
    """Which scans, and how they are presented; `usual_protocol` says in words what is scored without --protocol."""
    parser.add_argument(
        "--config", type=Path, help="configuration of the training: its held-out fold is scored"
    )
    parser.add_argument(
        "--data", default="", help="score other labelled scans: a folder or CSV file, as check takes"
    )
    parser.add_argument("--labels", default="", help="folder of the label maps if --data holds images alone")
    parser.add_argument(
        "--protocol",
        choices=("clinical", "aligned", "published", "all"),
        help=f"conditions to present the scans under ({usual_protocol})",
    )
    parser.add_argument(
        "--shape",
        nargs=3,
        type=int,
        metavar=("Z", "Y", "X"),
        help="the paper's crop in voxels of the scan, for aligned, published and pad (fit.patch; 32 64 32 without"
        " --config)",
    )


def split_words(words: Sequence[str], overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Models and overrides: argparse takes a section.name=value that follows the models for one of them."""
    settings = [word for word in words if "=" in word and not Path(word).exists()]
    return [word for word in words if word not in settings], [*settings, *overrides]


def paper_crop(arguments: argparse.Namespace, config: TrainingConfig) -> Shape:
    """(Z, Y, X), axes S, A, R, of the crop at the paper's scales in voxels of the scan's grid: what was asked for, else
    as many as a patch has.

    fit.patch counts voxels of the reference spacing: on other scans the crop is larger or smaller in mm than what the
    training saw.

    Raises:
        ValueError: what was asked for can't be halved three times.
    """
    from rareunet_training.evaluation.conditions import crop_of_patch

    crop = crop_of_patch(arguments.shape or config.fit.patch)
    if arguments.shape and crop != tuple(arguments.shape):
        given, next_one = (" ".join(map(str, shape)) for shape in (arguments.shape, crop))
        raise ValueError(
            f"--shape {given}: the paper's scales halve the crop three times, so each number must be a multiple of 8"
            f" and at least 16. Choose --shape {next_one}."
        )
    return crop


def find_labelled(arguments: argparse.Namespace, config: TrainingConfig) -> LabelledCases:
    """The cases that the arguments name: those of --data where it is given, else the configuration's held-out fold.

    Of a configuration beside --data no case is taken; data.exclude, the crop and the label set still are.

    Raises:
        ValueError: neither a configuration nor a data set, or no case in it.
    """
    from rareunet_training.evaluation.labelled_cases import external_cases, held_out_cases

    if arguments.data:
        return external_cases(arguments.data, arguments.labels, config.data.exclude)
    if arguments.config is None:
        raise ValueError(
            "no cases to score: give --config, the configuration of the training (its held-out fold is scored), or"
            " --data, a folder of other labelled scans."
        )
    return held_out_cases(config)


def warn_of_unknown_folders(folder: Path) -> None:
    """Names the subfolders of predictions that nothing will be scored in."""
    from rareunet_training.evaluation.predictions import unknown_folders

    if unknown := unknown_folders(folder):
        print(
            f"warning: {folder} has the folders {', '.join(unknown)}, which are named like no condition and are not"
            " scored: name them as evaluate --save-predictions does, such as native or thick_4_mm_along_s.",
            file=sys.stderr,
        )


@contextmanager
def with_progress(plan: ScoringPlan, title: str) -> Iterator[ScoringPlan]:
    """The plan with a progress bar on stderr where that is a terminal, a step per case."""
    from tqdm import tqdm

    # disable=None: no bar where stderr is a file.
    with tqdm(
        total=len(plan.labelled.cases),
        desc=title,
        unit="case",
        mininterval=1,
        file=sys.stderr,
        disable=None,
    ) as bar:
        yield replace(plan, on_case=lambda: bar.update())
