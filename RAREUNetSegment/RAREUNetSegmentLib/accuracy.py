"""What Dice to expect at a voxel size, of the structures that are wanted: a model's resolution card in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from slicer.i18n import tr as _

# A measurement speaks for a scan when no axis is finer by more than the first factor, or coarser by more than the
# second: beyond the coarsest that was measured Dice falls steeply.
FINER_FACTOR, COARSER_FACTOR = math.sqrt(2), 1.1
TOLD_VOLUME_ERROR = 5.0  # percent: volumes that are off by as much or more, on average, are told of
MOST_TOLD = 4  # structures with a Dice of their own in the sentence


def expected_accuracy(
    card: Sequence[dict[str, Any]],
    spacing_mm: Sequence[float],
    structures: Sequence[str] = (),
    wanted: Sequence[str] | None = None,
) -> str:
    """The row of a resolution card nearest to a spacing (S, A, R), as a sentence part; '' for an empty card.

    Args:
        structures: names of all that the model has.
        wanted: of these the ones that the Dice is to be of; None for all.
    """
    if not card:
        return ""
    row = _nearest(card, spacing_mm)
    if row is None:
        return _("accuracy was not measured near this voxel size")
    dice, of_what = _dice(row, structures, wanted)
    scans = _("{cases} scans, {condition}").format(**row)
    measured = "; ".join(filter(None, (of_what, scans)))
    expected = _("expected Dice {dice} ({measured})").format(dice=dice, measured=measured)
    return expected + _volume_error(row, wanted)


def _nearest(card: Sequence[dict[str, Any]], spacing_mm: Sequence[float]) -> dict[str, Any] | None:
    """The measurement that speaks best for a spacing; None where none does."""

    def doublings(row: dict[str, Any]) -> list[float]:
        """By how many doublings each axis of the scan is coarser."""
        return [math.log2(mm / own) for mm, own in zip(spacing_mm, row["spacing_mm"], strict=True)]

    finest, coarsest = -math.log2(FINER_FACTOR) - 1e-6, math.log2(COARSER_FACTOR) + 1e-6
    near = [row for row in card if all(finest <= d <= coarsest for d in doublings(row))]
    return min(near, key=lambda row: max(map(abs, doublings(row))), default=None)


def _dice(row: dict[str, Any], structures: Sequence[str], wanted: Sequence[str] | None) -> tuple[str, str]:
    """The mean Dice of the wanted structures, and what it is the mean of; '' where that goes without saying."""
    of_all = f"{row['dice_mean']:.2f} ± {row['dice_sd']:.2f}"
    names = structures if wanted is None else wanted
    each, short = row.get("dice_by_label", {}), _short_names(structures)
    if not all(name in each for name in names):  # older cards have none
        return of_all, "" if wanted is None else _("all structures")
    told = [f"{short[name]} {each[name]:.2f}" for name in names]
    if wanted is None:
        return of_all, ", ".join(told) if 1 < len(told) <= MOST_TOLD else ""
    # Without a spread: the card's is that of all structures.
    mean = f"{sum(each[name] for name in names) / len(names):.2f}"
    if len(names) == 1:
        return mean, short[names[0]]
    many = _("mean of {number} structures").format(number=len(told))
    return mean, ", ".join(told) if len(told) <= MOST_TOLD else many


def _volume_error(row: dict[str, Any], wanted: Sequence[str] | None) -> str:
    """By how much volumes are off, where that is much."""
    error = row.get("volume_error_percent_mean", 0.0)
    if abs(error) < TOLD_VOLUME_ERROR:
        return ""
    text = "{whose} {error:.0f} ± {spread:.0f} % {size}"
    return ", " + text.format(
        whose=_("volumes") if wanted is None else _("volumes of all structures"),
        error=abs(error),
        spread=row.get("volume_error_percent_sd", 0.0),
        size=_("too small") if error < 0 else _("too large"),
    )


def _short_names(names: Sequence[str]) -> dict[str, str]:
    """Names without the words that all of them end or begin with: beside "Posterior hippocampus", "Anterior
    hippocampus" is "anterior"."""
    words = [name.split() for name in names]
    while _all_have(words, -1):
        words = [each[:-1] for each in words]
    while _all_have(words, 0):
        words = [each[1:] for each in words]
    return {name: _shortened(name, " ".join(each)) for name, each in zip(names, words, strict=True)}


def _all_have(words: Sequence[Sequence[str]], end: int) -> bool:
    """Whether several names have the same word at this end, and words beside it."""
    return len(words) > 1 and min(map(len, words)) > 1 and len({each[end] for each in words}) == 1


def _shortened(name: str, short: str) -> str:
    """With a small initial, but for a name that was not shortened, and for abbreviations."""
    return short[:1].lower() + short[1:] if short != name and short[1:2].islower() else short
