"""The sweep command: search for the learning rate, lambda and other settings that give the best mean Dice.

Several workers started with the same command share the search, on one machine or through a shared folder. Stopped
(Ctrl-C, SIGTERM, or a file named "stop" in the output folder) or killed, it goes on when it is started again.

exit codes: 0 done; 1 failed, or no trial has finished; 2 wrong arguments; 130 stopped and saved.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rareunet_training.sweep.search_space import SweepPlan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, help="TOML file that every trial starts from")
    parser.add_argument("--output", type=Path, required=True, help="folder for the trials and sweep.csv")
    parser.add_argument(
        "--trials", type=_above_zero(int), default=20, help="trials of all workers together (20)"
    )
    parser.add_argument(
        "--timeout",
        type=_above_zero(float),
        default=math.inf,
        metavar="MINUTES",
        help="start no trial later than this",
    )
    parser.add_argument(
        "--storage",
        default="",
        help="journal file or database, such as sqlite:///sweep.db, that the workers share (OUTPUT/sweep.journal)",
    )
    parser.add_argument(
        "--search",
        action="append",
        metavar="SECTION.NAME=VALUES",
        help="log:LOW:HIGH, range:LOW:HIGH or ONE,OTHER, such as [16,16,16],[24,24,24]; may be repeated"
        " (fit.learning_rate=log:1e-4:1e-2 and loss.consistency=log:0.05:1)",
    )


def _above_zero(kind: Callable[[str], float]) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = 0
        if not value > 0:  # nan too
            what = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r}: give {what} above 0.")
        return value

    return read


def run(arguments: argparse.Namespace) -> int:
    if importlib.util.find_spec("optuna") is None:
        raise ValueError('sweep needs Optuna, which is not installed: python -m pip install "optuna>=4"')
    from rareunet_training.sweep.search_space import DEFAULT_SEARCH, SweepPlan, parse_search

    space = dict(parse_search(text) for text in arguments.search or DEFAULT_SEARCH)
    plan = SweepPlan(arguments.config, tuple(arguments.overrides), arguments.output, space)
    plan.check()
    return sweep(plan, arguments.storage, arguments.trials, 60 * arguments.timeout)


def sweep(plan: SweepPlan, storage: str, trials: int, seconds: float) -> int:
    """Runs this worker's trials and says what was found; 1 if no trial has finished."""
    import optuna

    from rareunet_training.commands.fit import STOPPED
    from rareunet_training.sweep.report import best_trial, describe, repeat_command, write_report
    from rareunet_training.sweep.trials import open_study, run_trials
    from rareunet_training.training.fitting import fit
    from rareunet_training.training.stopping import StopRequest
    from rareunet_training.training.trainer import TrainingStopped

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = open_study(plan, storage)
    try:
        with StopRequest(plan.output) as request:
            request.withdraw()  # it stopped the last run
            for trial in run_trials(plan, study, partial(fit, should_stop=request.is_made), trials, seconds):
                print(describe(trial), flush=True)
                write_report(plan, study)
    except TrainingStopped:  # outside of `with`, so that the file "stop" stays for the other workers
        print("stopped and saved; the same command goes on", file=sys.stderr)
        return STOPPED
    finally:
        write_report(plan, study)
    best = best_trial(study)
    if best is None:
        print("no trial has finished")
        return 1
    print(f"best: {describe(best)}\nto train with its settings:\n{repeat_command(plan, best)}")
    return 0
