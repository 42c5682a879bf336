"""The check command: look through a data set for what would spoil a training.

Reads every scan and label map, one at a time, and prints a table of the cases, what is wrong with them, and what the
data suggest for the model. Exit codes: 0 nothing or warnings alone, 1 errors that would stop a training, 2 wrong
arguments.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rareunet_training.check import CheckReport
    from rareunet_training.configuration import ModelConfig, TrainingConfig
    from rareunet_training.data.cases import Case


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="folder with imagesTr and labelsTr, or with images and masks; a folder of images; or a CSV file with the"
        " columns case, image (or one per channel), label",
    )
    parser.add_argument(
        "--labels", metavar="DIR", help="folder of the label maps where SOURCE holds images alone"
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="judge by this configuration's channels, labels and spacing",
    )
    parser.add_argument(
        "--report",
        type=Path,
        action="append",
        default=[],
        metavar="FILE.html|.json",
        help="also write a report; can be given twice",
    )


def run(arguments: argparse.Namespace) -> int:
    from rareunet.whole_files import check_report_path
    from rareunet_training.check import write_report
    from rareunet_training.check.report_files import FORMATS
    from rareunet_training.check.table import to_text
    from rareunet_training.configuration import read_config
    from rareunet_training.data.cases import find_cases
    from rareunet_training.data.layouts import labels_without_scan

    try:
        for path in arguments.report:
            check_report_path(path, FORMATS)
        config = read_config(arguments.config, arguments.overrides)
        labels = arguments.labels or config.data.labels
        cases = find_cases(arguments.source, labels, config.data.exclude)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    alone = labels_without_scan(Path(arguments.source), labels)
    report = _check(cases, _expected_model(config, arguments), alone)
    print(to_text(report))
    for path in arguments.report:
        write_report(report, path)
        print(f"report: {path}")
    return 1 if report.errors else 0


def _expected_model(config: TrainingConfig, arguments: argparse.Namespace) -> ModelConfig:
    """The configured model; where nobody named channels, any number is accepted."""
    from dataclasses import replace

    named = arguments.config is not None or any(
        word.startswith("model.channels=") for word in arguments.overrides
    )
    return config.model if named else replace(config.model, channels=[])


def _check(cases: Sequence[Case], model: ModelConfig, labels_alone: Sequence[str]) -> CheckReport:
    from tqdm import tqdm

    from rareunet_training.check import check_cases

    # disable=None: no bar where stderr is a file.
    with tqdm(total=len(cases), desc="check", unit="case", file=sys.stderr, disable=None) as bar:
        return check_cases(cases, model, bar.update, labels_alone)
