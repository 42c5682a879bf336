"""Scores of cases, their mean and spread, and tables of them: for people, spreadsheets and the bundle."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rareunet.whole_files import replacing
from rareunet.wording import times
from rareunet_training.evaluation.metrics import METRICS, Agreement

FRAMES = {"scan": "on the grid of the scan", "world": "on the original grid"}


@dataclass(frozen=True)
class Score:
    """One case under one condition. Values per structure are NaN where it is absent on both sides.

    Attributes:
        case, condition: their names.
        spacing_mm: of the presented scan (S, A, R).
        dice: of each structure, on the presented scan's grid.
        seconds: what the prediction took.
        on_scan: all measures of each structure on the presented scan's grid; empty if only Dice was asked for.
        in_world: the same on the original scan's grid, against its full-resolution label map.
        stepped_down: too little memory was free for one piece on the device that was asked for: the scan went through
            the network in tiles, in bfloat16 or on the CPU.
        certainty: how sure the model was; NaN where nothing was found, or where only label maps were scored.
    """

    case: str
    condition: str
    spacing_mm: tuple[float, float, float]
    dice: tuple[float, ...]
    seconds: float
    on_scan: tuple[Agreement, ...] = ()
    in_world: tuple[Agreement, ...] = ()
    stepped_down: bool = False
    certainty: float = math.nan

    @property
    def mean_dice(self) -> float:
        """Mean over the structures."""
        return mean_of(self.dice)

    def values(self, metric: str, frame: str = "scan") -> tuple[float, ...]:
        """A measure of each structure; empty where it was not measured."""
        if metric == "dice" and frame == "scan":
            return self.dice
        return tuple(getattr(agreement, metric) for agreement in self.agreements(frame))

    def agreements(self, frame: str = "scan") -> tuple[Agreement, ...]:
        """All measures of each structure; empty where they were not measured."""
        return self.on_scan if frame == "scan" else self.in_world


@dataclass(frozen=True)
class Summary:
    """Mean and standard deviation over cases of the mean over structures, and the mean of each structure."""

    cases: int
    mean: float
    sd: float
    by_label: tuple[float, ...]

    def text(self, decimals: int = 3) -> str:
        spread = f" +- {self.sd:.{decimals}f}" if np.isfinite(self.sd) else ""
        return f"{self.mean:.{decimals}f}{spread}" if self.cases else "-"


def summarise(scores: Sequence[Score], metric: str = "dice", frame: str = "scan") -> Summary:
    """Of scores under one condition; cases and structures without a finite value are left out."""
    values = [score.values(metric, frame) for score in scores]
    means = [m for m in map(mean_of, values) if np.isfinite(m)]
    spread = float(np.std(means, ddof=1)) if len(means) > 1 else 0.0
    by_label = tuple(mean_of(column) for column in zip(*values, strict=True))
    return Summary(len(means), mean_of(means), spread, by_label)


def mean_of(values: Sequence[float]) -> float:
    """Mean of the finite values; NaN without any."""
    finite = [v for v in values if np.isfinite(v)]
    return float(np.mean(finite)) if finite else float("nan")


def median_of(values: Sequence[float]) -> float:
    """Median of the finite values; NaN without any. A busy moment of the machine hardly changes that of seconds."""
    finite = [v for v in values if np.isfinite(v)]
    return float(np.median(finite)) if finite else float("nan")


def by_condition(scores: Sequence[Score]) -> dict[str, list[Score]]:
    """Scores of each condition, in the order of their first appearance."""
    groups: dict[str, list[Score]] = {}
    for score in scores:
        groups.setdefault(score.condition, []).append(score)
    return groups


def by_condition_and_spacing(scores: Sequence[Score]) -> dict[str, list[Score]]:
    """by_condition, and after "native" a group for each spacing (R x A x S, see _about) if the scans have several."""
    groups: dict[str, list[Score]] = {}
    for condition, rows in by_condition(scores).items():
        groups[condition] = rows
        if condition == "native":
            spacings: dict[str, list[Score]] = {}
            for row in sorted(rows, key=lambda row: row.spacing_mm):
                rounded = times(map(_about, reversed(row.spacing_mm)))
                spacings.setdefault(f"- about {rounded} mm", []).append(row)
            groups |= spacings if len(spacings) > 1 else {}
    return groups


def _about(spacing_mm: float) -> float:
    """To half a mm, below that to one digit: 0.2 and 0.04 are not 0.5."""
    return round(2 * spacing_mm) / 2 if spacing_mm >= 0.5 else float(f"{spacing_mm:.1g}")


def spacing_of(scores: Sequence[Score]) -> tuple[float, float, float]:
    """Median spacing (S, A, R) of scores under one condition, mm."""
    z, y, x = (round(float(s), 3) for s in np.median([score.spacing_mm for score in scores], axis=0))
    return z, y, x


def not_found(scores: Sequence[Score], label_names: Sequence[str]) -> list[str]:
    """Sentences that count the structures which one side alone has; they have no HD95 and are not in its mean."""
    sentences = []
    for condition, rows in by_condition(scores).items():
        for index, name in enumerate(label_names):
            found = [row.on_scan[index] for row in rows if row.on_scan]
            missed, false = sum(a.not_found for a in found), sum(a.not_there for a in found)
            if missed:
                sentences.append(f"{condition}: {name} was not found in {missed} of {len(found)} cases.")
            if false:
                sentences.append(
                    f"{condition}: {name} was found in {false} of {len(found)} cases that don't have it."
                )
    return sentences


def memory_note(scores: Sequence[Score]) -> str:
    """A sentence that counts the scans for which too little memory was free; '' if there are none."""
    count = sum(score.stepped_down for score in scores)
    if not count:
        return ""
    return (
        f"Too little memory was free for {count} of {len(scores)} scans, which were segmented in tiles, in bfloat16 or"
        " on the CPU: with more of it their scores and seconds can be others."
    )


def write_csv(scores: Sequence[Score], label_names: Sequence[str], path: Path) -> None:
    """A row per case and condition; empty cells were not measured or don't exist."""
    measured = any(score.in_world for score in scores)
    columns = [(metric, frame) for frame in FRAMES for metric in METRICS] if measured else [("dice", "scan")]
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        header = [
            "case",
            "condition",
            *(f"spacing_{axis}_mm" for axis in "zyx"),
            "dice_mean",
            "seconds",
            "certainty",
        ]
        for metric, frame in columns:
            prefix = "world " if frame == "world" else ""
            header += [f"{prefix}{metric} {name}" for name in label_names]
        writer.writerow(header)
        for s in scores:
            row = [
                s.case,
                s.condition,
                *(f"{v:g}" for v in s.spacing_mm),
                _cell(s.mean_dice),
                _cell(s.seconds),
                _cell(s.certainty),
            ]
            for metric, frame in columns:
                row += map(_cell, s.values(metric, frame) or [np.nan] * len(label_names))
            writer.writerow(row)


def _cell(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4f}"
