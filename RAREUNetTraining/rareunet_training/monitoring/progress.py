"""How far a run is, for people and for the panel: a line in the terminal and progress.json in the output folder.

The panel reads with this file too, in a Python that may lack everything that training needs.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rareunet.errors import message_of
from rareunet.whole_files import write_whole

STOP_FILE = "stop"
PROGRESS_FILE = "progress.json"
LOCK_FILE = "run.lock"  # locked while a run writes to the folder
CHECKPOINT_FILE = "last.ckpt"
HISTORY_FILE = "history.csv"
CONFIG_FILE = "config.json"  # every setting of the run
# What a run may leave beside the model, which therefore can't have these names.
RUN_NAMES = (
    STOP_FILE, PROGRESS_FILE, LOCK_FILE, CHECKPOINT_FILE, HISTORY_FILE, CONFIG_FILE, "tensorboard", "check.json",
    "check.html", "curves.png", "validation.png", "scores.json", "scores.csv", "scores.html", "wandb_id.txt", "log.txt",
    "panel.json",
)  # fmt: skip
SECONDS_BETWEEN_WRITES = 1.0


@dataclass
class Progress:
    """What progress.json says.

    Attributes:
        state: "checking", "training", "evaluating", "finished", "stopped" or "failed"; empty where there is no run.
        epoch, epochs, step, steps: epochs and steps done, and how many there are.
        seconds_left: of all epochs; -1 while unknown.
        message: what a person should know, such as the error.
        bundle: folder of the finished bundle.
        pid, host: the process that writes this, and its computer.
    """

    state: str = ""
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    seconds_left: float = -1.0
    message: str = ""
    bundle: str = ""
    pid: int = 0
    host: str = ""

    @property
    def fraction(self) -> float:
        """Part of the epochs that is done, 0 to 1."""
        if not self.epochs:
            return 0.0
        return min(1.0, (self.epoch + (self.step / self.steps if self.steps else 0.0)) / self.epochs)


class ProgressWriter:
    """Keeps progress.json and a progress bar up to date.

    Args:
        folder: the output folder.
        epochs: of the run.
        enabled: False in all processes but the first.
    """

    def __init__(self, folder: Path, epochs: int, *, enabled: bool = True) -> None:
        self.path, self.enabled = folder / PROGRESS_FILE, enabled
        self.now = Progress(epochs=epochs, pid=os.getpid(), host=platform.node())
        self._written = 0.0
        self._start: tuple[float, float] | None = None
        self._bar: Any = None

    def step(self, epoch: int, step: int, steps: int) -> None:
        """After each training step."""
        if not self.enabled:
            return
        done, clock = epoch + step / steps, time.monotonic()
        if self._start is None:
            self._start = (done, clock)
        elapsed, share = clock - self._start[1], done - self._start[0]
        left = elapsed / share * (self.now.epochs - done) if share > 0 else -1.0
        # A bar needs a terminal; elsewhere the line that `fit` prints after each epoch has to do.
        if self._bar is None and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=steps, unit="step", leave=False)
        if self._bar is not None:
            self._bar.set_description(f"epoch {epoch + 1}/{self.now.epochs}, {duration(left)} left in all")
            self._bar.update(step - self._bar.n)
        self.now.epoch, self.now.step, self.now.steps, self.now.seconds_left = (
            epoch,
            step,
            steps,
            round(left, 1),
        )
        self.tell("training", at_once=False)

    def epoch_done(self, epoch: int) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self.now.epoch, self.now.step = epoch, 0
        self.tell("training")

    def tell(self, state: str, message: str = "", bundle: str = "", *, at_once: bool = True) -> None:
        """Writes progress.json; a full disk must not end a run because of it."""
        if not self.enabled or (not at_once and time.monotonic() - self._written < SECONDS_BETWEEN_WRITES):
            return
        self.now.state, self.now.message, self.now.bundle = state, message, bundle
        self._written = time.monotonic()
        try:
            write_whole(self.path, json.dumps(asdict(self.now)) + "\n")
        except OSError as error:
            print(f"warning: {message_of(error)}.", file=sys.stderr)


def duration(seconds: float) -> str:
    """Seconds as a person says them: 45 s, 12 min, 3 h 20 min."""
    if seconds < 0:
        return "?"
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
