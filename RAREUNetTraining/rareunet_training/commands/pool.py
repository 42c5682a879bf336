"""The pool command: the scores of several folds as one table, and as the card of a model trained on all cases.

Each scores.json is of one fold, which its model was trained without: fit --output runs/foldK data.fold=K writes it. The
output folder gets scores.html, scores.csv and scores.json of all cases together, which compare reads.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scores", nargs="+", type=Path, help="scores.json of each fold")
    parser.add_argument(
        "--card",
        default="",
        metavar="BUNDLE",
        help="put the result into this bundle as its resolution card: of a model of the same network that was"
        " trained on more cases",
    )
    parser.add_argument("--output", type=Path, help="folder for scores.html, scores.csv and scores.json")


def run(arguments: argparse.Namespace) -> int:
    from rareunet.bundle import Bundle
    from rareunet_training.evaluation.pooling import pool, with_card_of
    from rareunet_training.evaluation.score_files import read_scores
    from rareunet_training.reports.score_output import show, write

    if arguments.overrides:
        raise ValueError(
            f"pool has no use for {arguments.overrides[0]!r}: it reads nothing but scores.json files."
        )
    if arguments.output is not None and any(
        path.resolve() == (arguments.output / "scores.json").resolve() for path in arguments.scores
    ):
        raise ValueError(f"{arguments.output} holds one of the folds' own scores: choose another --output.")
    pooled = pool([read_scores(path) for path in arguments.scores])
    card = with_card_of(Bundle.load(arguments.card), pooled) if arguments.card else None
    if arguments.output is not None:
        write(pooled, arguments.output)
    show(pooled)
    if card is not None:
        print(f"\nresolution card written: {card.rewrite().folder}")
    return 0
