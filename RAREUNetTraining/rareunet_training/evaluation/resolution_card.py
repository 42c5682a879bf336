"""What held-out scores say of a model, for its bundle: the resolution card, and below what certainty to doubt it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rareunet.bundle import Bundle
from rareunet_training.evaluation.conditions import native, paper_conditions
from rareunet_training.evaluation.scores import Score, by_condition, spacing_of, summarise

# Chosen on fold 0, confirmed on folds 1 to 4 (docs/study/certainty.py): a smaller margin doubts low resolutions that
# are well segmented, a larger one lets through scans that lie back to front or are of inverted contrast.
CERTAINTY_MARGIN = 0.04
FEWEST_CERTAINTIES = 5
DIGITS = 6  # so that who rounds to three gets what a table of the scores says


def with_card(bundle: Bundle, scores: Sequence[Score]) -> Bundle:
    """The bundle with the card of these scores of its structures, and their certainty limit where they tell one."""
    names, limit = bundle.structure_names, certainty_limit(scores)
    return replace(
        bundle,
        resolution_card=tuple(resolution_card(scores, names)),
        certainty_limit=bundle.certainty_limit if limit is None else limit,
    )


def resolution_card(scores: Sequence[Score], label_names: Sequence[str]) -> list[dict[str, Any]]:
    """Mean and spread over cases for each condition but the paper's displaced labels, in the form that bundle.json
    keeps."""
    displaced = {condition.name for condition in paper_conditions("published")}
    card = []
    for condition, rows in by_condition(scores).items():
        dice = summarise(rows)
        if not dice.cases or condition in displaced:
            continue
        row = {
            "condition": condition,
            "spacing_mm": list(spacing_of(rows)),
            "cases": dice.cases,
            "dice_mean": round(dice.mean, DIGITS),
            "dice_sd": round(dice.sd, DIGITS),
            "dice_by_label": {
                name: round(value, DIGITS)
                for name, value in zip(label_names, dice.by_label, strict=True)
                if np.isfinite(value)
            },
        }
        for key, metric, frame in (
            ("world_dice_mean", "dice", "world"),
            ("hd95_mm_mean", "hd95_mm", "world"),
            ("surface_dice_mean", "surface_dice", "world"),
        ):
            measured = summarise(rows, metric, frame)
            if measured.cases:
                row[key] = round(measured.mean, DIGITS)
        errors = summarise(rows, "volume_error_percent", "world")
        if errors.cases:
            row["volume_error_percent_mean"] = round(errors.mean, 2)
            row["volume_error_percent_sd"] = round(errors.sd, 2)
        card.append(row)
    return card


def certainty_limit(scores: Sequence[Score]) -> float | None:
    """Below what certainty an answer is doubtful, see Bundle: what 95 % of the scans as they are reach, less a margin,
    since a model is less sure of low resolutions that it still does well on. None where too few certainties were
    measured.
    """
    measured = [s.certainty for s in scores if s.condition == native().name and np.isfinite(s.certainty)]
    if len(measured) < FEWEST_CERTAINTIES:
        return None
    return max(0.0, round(float(np.quantile(measured, 0.05)) - CERTAINTY_MARGIN, 4))
