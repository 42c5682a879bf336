"""The learning rate: warm-up, then a cosine to zero or the published plateau rule."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rareunet_training.configuration import FitConfig

PLATEAU_FACTOR = 0.5  # of the paper's ReduceLROnPlateau
PLATEAU_THRESHOLD = 1e-4  # relative; PyTorch's default, which the paper's code uses


@dataclass
class Schedule:
    """The rate at each moment. On a plateau it remembers the best loss, which a checkpoint has to hold."""

    fit: FitConfig
    scale: float = 1.0
    best: float = math.inf
    waited: int = 0

    def rate(self, epoch: float) -> float:
        """The rate at a moment, in epochs since the start."""
        fit = self.fit
        warm_up = min(1.0, (epoch + 1e-2) / fit.warm_up_epochs) if fit.warm_up_epochs > 0 else 1.0
        decay = 0.5 * (1 + math.cos(math.pi * epoch / fit.epochs)) if fit.schedule == "cosine" else self.scale
        return fit.learning_rate * warm_up * decay

    def epoch_done(self, loss: float) -> None:
        """Tells the loss of an epoch; the cosine does not care."""
        if loss < self.best * (1 - PLATEAU_THRESHOLD):
            self.best, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited > self.fit.plateau_patience:
            self.scale, self.waited = self.scale * PLATEAU_FACTOR, 0

    def state(self) -> dict[str, float]:
        return {"scale": self.scale, "best": self.best, "waited": self.waited}

    def load_state(self, state: dict[str, float]) -> None:
        self.scale, self.best, self.waited = state["scale"], state["best"], int(state["waited"])
