"""Command line: python -m rareunet_training COMMAND ..."""

from __future__ import annotations

import argparse
import io
import sys
import traceback
from collections.abc import Sequence

from rareunet.errors import first_line, message_of
from rareunet_training.commands import check, compare, evaluate, fit, pool, sweep

COMMANDS = {
    "check": check,
    "fit": fit,
    "evaluate": evaluate,
    "pool": pool,
    "compare": compare,
    "sweep": sweep,
}
OVERRIDES = "section.name=value, for example fit.epochs=20"


def build_parser() -> argparse.ArgumentParser:
    """The parser; imports neither torch nor MONAI."""
    parser = argparse.ArgumentParser(
        prog="python -m rareunet_training", description="Trains and measures RARE-UNet models."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, module in COMMANDS.items():
        summary, _, details = (module.__doc__ or "").partition("\n")
        command = commands.add_parser(
            name,
            help=summary.partition(": ")[2].rstrip("."),
            description=summary.partition(": ")[2] + details,
            epilog=None
            if module is pool
            else f"Any setting of the configuration is overridden by {OVERRIDES}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
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
    """Runs a sub-command; returns the exit code: 0 done, 1 failed, 2 wrong arguments, others as the command says."""
    arguments = parse(argv)
    # Names of structures must not end a run on a terminal without their letters.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return COMMANDS[arguments.command].run(arguments)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and not _is_own(error):
            traceback.print_exc()
        silent = (
            "out of memory: close other programs." if isinstance(error, MemoryError) else first_line(error)
        )
        print(f"error: {message_of(error) or silent}", file=sys.stderr)
        return 1


def _is_own(error: Exception) -> bool:
    """Whether an error says what to do, instead of being some library's."""
    return type(error).__module__.partition(".")[0] in ("rareunet", "rareunet_training")


if __name__ == "__main__":
    sys.exit(main())
