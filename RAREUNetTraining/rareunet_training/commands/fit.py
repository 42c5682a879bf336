"""The fit command: train a model and write its bundle.

The output folder gets last.ckpt (to go on from, with --resume), history.csv, curves.png, validation.png,
check.html, config.json, the scores, and the bundle, a folder of the model's name. To stop a run: Ctrl-C, SIGTERM,
or a file named "stop" in the output folder; each saves a checkpoint first.

exit codes: 0 done; 1 failed, or a setting or the data can't be used; 2 wrong arguments; 130 stopped and saved, but 0
where torchrun would start a run that ends with another code again.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from rareunet_training.configuration import read_config

STOPPED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", type=Path, required=True, help="TOML file; Scripts/default.toml explains each setting"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for everything the run writes")
    parser.add_argument(
        "--fold", type=int, metavar="K", help="fold kept for validation, short for data.fold=K"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint in the output folder"
    )


def run(arguments: argparse.Namespace) -> int:
    from rareunet_training.training.distributed import is_restarted_on_failure, is_started_by_torchrun
    from rareunet_training.training.fitting import fit
    from rareunet_training.training.stopping import StopRequest
    from rareunet_training.training.trainer import TrainingStopped

    fold = [] if arguments.fold is None else [f"data.fold={arguments.fold}"]
    config = read_config(arguments.config, [*arguments.overrides, *fold])
    with StopRequest(arguments.output, relayed=is_started_by_torchrun()) as request:
        try:
            fit(config, arguments.output, arguments.resume, should_stop=request.is_made)
        except TrainingStopped:
            words = ["--resume", "--output", arguments.output, "--config", arguments.output / "config.json"]
            print(f"stopped and saved; go on with {shlex.join(map(str, words))}", file=sys.stderr)
            return 0 if is_restarted_on_failure() else STOPPED
    return 0
