"""How far a run is, as a line for the progress bar."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from slicer.i18n import tr as _

# A rate measured over less than this says nothing.
LEAST_FRACTION = 0.02
LEAST_SECONDS = 0.5


class ProgressLine:
    """Follows a run's steps.

    Args:
        expected_seconds: what the run should take from the step "prepare" on, as far as earlier runs tell; None if
            they do not.
        clock: seconds.
    """

    def __init__(
        self, expected_seconds: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._expected, self._clock = expected_seconds, clock
        self._step, self.fraction = "start", 0.0
        self._step_began = (clock(), 0.0)
        self._began: float | None = None
        self._ends: float | None = None

    def update(self, step: str, fraction: float) -> None:
        """Takes what the predictor reports."""
        now = self._clock()
        if step != self._step:
            self._step_began = (now, fraction)
        if step == "prepare" and self._began is None:
            self._began = now
            if self._expected is not None:
                self._ends = now + self._expected
        self._step, self.fraction = step, fraction
        seconds, done = now - self._step_began[0], fraction - self._step_began[1]
        if seconds >= LEAST_SECONDS and done >= LEAST_FRACTION:
            self._ends = now + (1 - fraction) * seconds / done

    def seconds_left(self) -> float | None:
        """Seconds until the end; None where nothing tells yet, or the end should have come."""
        if self._ends is None:
            return None
        left = self._ends - self._clock()
        return left if left > 0 else None

    def text(self) -> str:
        """The step, and the time left where it is known."""
        texts = {
            "start": _("Starting"),
            "load": _("Loading the model"),
            "prepare": _("Preparing the scan"),
            "network": _("Segmenting"),
            "finish": _("Finishing"),
        }
        step, left = texts.get(self._step, _("Working")), self.seconds_left()
        if left is None:
            return f"{step}..."
        if left <= 90:
            return _("{step}, about {seconds} s left").format(step=step, seconds=math.ceil(left))
        return _("{step}, about {minutes} min left").format(step=step, minutes=math.ceil(left / 60))
