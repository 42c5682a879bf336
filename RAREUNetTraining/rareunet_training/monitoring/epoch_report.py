"""What an epoch of a training did."""

from __future__ import annotations

from dataclasses import dataclass, field

from rareunet_training.evaluation.scores import Score, by_condition, mean_of


@dataclass
class EpochReport:
    """Mean loss by part, seconds, and validation scores if there was a validation."""

    epoch: int
    losses: dict[str, float]
    learning_rate: float
    seconds: float
    samples_per_second: float
    scores: list[Score] = field(default_factory=list)

    def dice(self) -> dict[str, float]:
        """Mean Dice over the cases, by condition."""
        groups = by_condition(self.scores)
        return {condition: mean_of([row.mean_dice for row in rows]) for condition, rows in groups.items()}

    @property
    def mean_dice(self) -> float:
        """Mean over all validated resolutions; NaN where nothing was validated."""
        return mean_of(list(self.dice().values()))
