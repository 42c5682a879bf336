"""Scores as tables: a line per condition for people, a row per case for spreadsheets."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from rareunet_training.evaluation import Score, resolution_card


def table(scores: Sequence[Score], label_names: Sequence[str]) -> str:
    """Mean +- standard deviation over cases for each condition, and the mean of each structure."""
    lines = [
        f"{'condition':<24} {'cases':>5}  {'Dice':<15}" + "".join(f" {name:>22}" for name in label_names)
    ]
    for row in resolution_card(scores, label_names):
        by_label = "".join(f" {row['dice_by_label'][name]:>22.3f}" for name in label_names)
        dice = f"{row['dice_mean']:.3f} +- {row['dice_sd']:.3f}"
        lines.append(f"{row['condition']:<24} {row['cases']:>5}  {dice:<15}{by_label}")
    return "\n".join(lines)


def write_csv(scores: Sequence[Score], label_names: Sequence[str], path: Path) -> None:
    """A row per case and condition."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        spacing = [f"spacing_{axis}_mm" for axis in "zyx"]
        writer.writerow(
            ["case", "condition", *spacing, "dice_mean", *(f"dice {n}" for n in label_names), "seconds"]
        )
        for s in scores:
            dice = [f"{value:.4f}" for value in (s.mean_dice, *s.dice)]
            writer.writerow(
                [s.case, s.condition, *(f"{v:g}" for v in s.spacing_mm), *dice, f"{s.seconds:.3f}"]
            )
