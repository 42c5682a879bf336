"""Trains on some of the training cases: the fit command with the first N of them, in an order that is always the same.

    python docs/study/fewer_scans.py N --output runs/fewer --config FILE data.folder=PATH fit.epochs=80

Those of a smaller N are among those of a larger one. The held-out fold stays as it is.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from rareunet_training.__main__ import main
from rareunet_training.configuration import DataConfig, read_config
from rareunet_training.data.cases import find_cases, split_cases


def left_out(names: Sequence[str], data: DataConfig, number: int) -> list[str]:
    """Of these cases the training ones beyond the first `number`.

    Raises:
        ValueError: there are fewer.
    """
    training = sorted(split_cases(names, data, 0)[0])
    random.Random(0).shuffle(training)
    if not 0 < number <= len(training):
        raise ValueError(f"{number} training cases: choose 1 to {len(training)}.")
    return training[number:]


def run() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("number", type=int, metavar="N")
    parser.add_argument("--config", type=Path, required=True)
    arguments, words = parser.parse_known_args()
    settings = [word for word in words if "=" in word and not word.startswith("-")]
    data = read_config(arguments.config, settings).data
    names = [case.name for case in find_cases(data.folder, data.labels, data.exclude)]
    excluded = [*data.exclude, *left_out(names, data, arguments.number)]
    return main(["fit", "--config", str(arguments.config), *words, f"data.exclude={json.dumps(excluded)}"])


if __name__ == "__main__":
    sys.exit(run())
