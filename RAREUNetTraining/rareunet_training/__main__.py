"""Command line: python -m rareunet_training fit | evaluate."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

OVERRIDES = "section.name=value, for example fit.epochs=20"


def build_parser() -> argparse.ArgumentParser:
    """The parser; imports neither torch nor MONAI."""
    parser = argparse.ArgumentParser(
        prog="python -m rareunet_training", description="Trains RARE-UNet models."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    fit = commands.add_parser("fit", help="train a model and write its bundle")
    fit.add_argument(
        "--config", type=Path, required=True, help="TOML file; configuration.py documents each setting"
    )
    fit.add_argument(
        "--output", type=Path, required=True, help="folder for checkpoint, history, scores and bundle"
    )
    fit.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint in the output folder"
    )
    evaluate = commands.add_parser("evaluate", help="score a model on the cases that its training left out")
    evaluate.add_argument("model", help="name of a packaged model or a bundle's folder")
    evaluate.add_argument("--config", type=Path, required=True, help="the configuration it was trained with")
    evaluate.add_argument("--output", type=Path, help="folder for scores.csv")
    for command in (fit, evaluate):
        command.epilog = f"Any setting of the configuration is overridden by {OVERRIDES}."
    return parser


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments, with the overrides as a list wherever they stand (argparse mixes up two kinds of positionals)."""
    parser = build_parser()
    arguments, overrides = parser.parse_known_args(argv)
    for word in overrides:
        if word.startswith("-") or "=" not in word:
            parser.error(f"unrecognized argument {word!r}: settings are written as {OVERRIDES}")
    arguments.overrides = overrides
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a sub-command; returns the exit code: 0 done, 1 failed, 2 wrong usage."""
    arguments = parse(argv)
    try:
        _run(arguments)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(arguments: argparse.Namespace) -> None:
    from rareunet_training.configuration import read_config

    config = read_config(arguments.config, arguments.overrides)
    if arguments.command == "fit":
        from rareunet_training.fit_command import fit

        print(f"model: {fit(config, arguments.output, arguments.resume)}")
    else:
        from rareunet_training.evaluate_command import evaluate_model

        evaluate_model(arguments.model, config, arguments.output)


if __name__ == "__main__":
    sys.exit(main())
