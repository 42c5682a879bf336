"""Command line: python -m rareunet segment | models | verify | import-model | import-checkpoint."""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
from collections.abc import Sequence

from rareunet import __version__
from rareunet.commands import models as model_commands
from rareunet.commands import segment as segment_command
from rareunet.commands import segment_arguments

FORMATTER = argparse.RawDescriptionHelpFormatter


def build_parser() -> argparse.ArgumentParser:
    """The parser; nothing here imports torch, so that --help answers at once."""
    parser = argparse.ArgumentParser(
        prog="python -m rareunet",
        description="Segments 3D scans at the resolution they have. Research use only; data stays on this machine.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"rareunet {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")

    segment = commands.add_parser(
        "segment",
        help="segment scans",
        description=segment_arguments.DESCRIPTION,
        epilog=segment_arguments.EXIT_CODES,
        formatter_class=FORMATTER,
        allow_abbrev=False,
    )
    segment_arguments.add_arguments(segment)
    segment.set_defaults(run=segment_command.run)

    models = commands.add_parser(
        "models",
        help="list the installed models",
        description="Lists the packaged models and the imported ones: structures, channels, the Dice and the error of"
        " volumes to expect at which spacing.",
    )
    models.set_defaults(run=model_commands.run_models)

    verify = commands.add_parser(
        "verify",
        help="check that models are undamaged",
        description="Holds models against their SHA-256 and their schema. Exit code 1 if one is bad.",
    )
    model_commands.add_verify_arguments(verify)
    verify.set_defaults(run=model_commands.run_verify)

    imported = commands.add_parser(
        "import-model",
        help="add a model that came as a zip",
        description="Adds a model that came as a zip of its folder to those of `models`, in ~/.rareunet/models or where"
        " RAREUNET_MODELS says. Its SHA-256 and schema are checked before. Exit code 1 if it can't be imported.",
        allow_abbrev=False,
    )
    model_commands.add_import_model_arguments(imported)
    imported.set_defaults(run=model_commands.run_import_model)

    converted = commands.add_parser(
        "import-checkpoint",
        help="turn a checkpoint of the published RARE-UNet code into a model",
        description="Turns a checkpoint (.pth) of the published RARE-UNet code into a model for"
        " `segment --model`. Nothing in the checkpoint is executed. Exit code 1 if it can't be imported.",
        allow_abbrev=False,
    )
    model_commands.add_import_checkpoint_arguments(converted)
    converted.set_defaults(run=model_commands.run_import_checkpoint)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parsed = build_parser().parse_args(_with_joined_roi(words))
    # A file's name must not end a batch on a terminal without its letters.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    code = 1
    try:
        code = int(parsed.run(parsed))
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # whoever read the output has seen enough, such as head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains at its end
    return code


def _with_joined_roi(words: Sequence[str]) -> list[str]:
    """["--roi", "-20,0,..."] -> ["--roi=-20,0,..."]: argparse takes a negative number for an option."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] == "--roi" and re.match(r"-\.?\d", word):
            joined[-1] = f"--roi={word}"
        else:
            joined.append(word)
    return joined


if __name__ == "__main__":
    sys.exit(main())
