"""Arguments of `python -m rareunet segment`."""

from __future__ import annotations

import argparse
from pathlib import Path

from rareunet.commands.reports import FORMATS
from rareunet.geometry import RegionOfInterest
from rareunet.whole_files import check_report_path

DESCRIPTION = """\
Segments scans and writes DIR/<case>.nii.gz for each, on the scan's own grid.

A folder stands for the scans in it; a folder that holds one DICOM series is a scan itself. For a model with several
channels, files called case_0000, case_0001 ... are the channels of one scan; for one with a single channel each file is
a scan. <case> is the file's name, without a last _0000 in either case. CASE-label and CASE_seg, also with labels,
labelmap, segmentation or mask, are left out where CASE is given too. The model is loaded once. A scan that fails is
named with its reason and the others go on."""

EXIT_CODES = """\
exit codes: 0 all scans done; 1 a scan failed; 2 wrong usage, nothing was done; 130 interrupted (Ctrl-C, SIGTERM).
Under torchrun each process takes its share of the scans and adds .rank<N> to the report's name."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "scans", nargs="+", metavar="SCAN_OR_FOLDER", help=".nii.gz, .nii, .nrrd, .mha or a folder"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the label maps")
    parser.add_argument(
        "--model", metavar="NAME_OR_PATH", help="an installed model (see `models`) or a model's folder"
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:N or mps")
    parser.add_argument(
        "--memory",
        type=_gigabytes,
        metavar="GB",
        help="what the network may use beside its weights, at most what is free; the default is most of that. Less"
        " means tiles",
    )
    parser.add_argument(
        "--entry-depth",
        type=_entry_depth,
        metavar="auto|0..3",
        help="auto (default) goes by the scan's spacing; 0 is for voxels of the model's reference spacing, d for those"
        " 2^d times as large",
    )
    parser.add_argument(
        "--roi",
        type=_region,
        metavar='"R,A,S,size_R,size_A,size_S"',
        help="segment only this box: its centre and size in mm, in RAS coordinates",
    )
    parser.add_argument(
        "--series", metavar="UID", help="the series to segment where a DICOM folder holds several"
    )
    parser.add_argument(
        "--force", action="store_true", help="segment even a field of view far larger than the model knows"
    )
    parser.add_argument(
        "--structure",
        action="append",
        metavar="NAME",
        help="write this structure alone; can be given several times (default: all that the model has)",
    )
    parser.add_argument(
        "--report",
        type=_report,
        metavar="FILE.json|.csv",
        help="write what was done to each scan, and why not",
    )
    parser.add_argument(
        "--probabilities",
        action="store_true",
        help="also write DIR/<case>_probabilities.nii.gz, one channel per class of the model, background"
        " first",
    )


def _entry_depth(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: choose auto or a whole number from 0.")
    return int(text)


def _gigabytes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: give GB above 0, for example 4 or 0.5.")
    return value


def _region(text: str) -> RegionOfInterest:
    try:
        return RegionOfInterest.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _report(text: str) -> Path:
    try:
        check_report_path(Path(text), FORMATS)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return Path(text)
