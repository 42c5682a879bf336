"""How a person or a cluster asks a run to stop: a signal, or a file in the output folder."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from rareunet_training.monitoring.progress import STOP_FILE

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ECHO_SECONDS = 5.0


class StopRequest:
    """Listens while it is entered. The first Ctrl-C or SIGTERM asks; a second one ends the process at once, if it is no
    echo: a cluster signals all processes, and torchrun and srun hand on to the same ones what they were sent.

    Args:
        folder: the output folder; a file named "stop" there asks too, on every system and across machines.
        relayed: whether Ctrl-C has an echo too, as under torchrun. Elsewhere it is a person's, who means the second.
    """

    def __init__(self, folder: Path, relayed: bool = False) -> None:
        self._file = folder / STOP_FILE
        self._echoing = SIGNALS if relayed else (signal.SIGTERM,)
        self._asked_at: float | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def is_made(self) -> bool:
        return self._asked_at is not None or self._file.exists()

    def withdraw(self) -> None:
        """Removes the file, which the last run or this one has answered."""
        self._file.unlink(missing_ok=True)

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python takes no handlers
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if kind is None:
            self.withdraw()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._asked_at is None:
            self._asked_at = time.monotonic()
        elif number not in self._echoing or time.monotonic() - self._asked_at > ECHO_SECONDS:
            signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)
            signal.raise_signal(number)


def leave_signals_to_parent(worker: int) -> None:
    """For the workers of a DataLoader: a cluster's signals reach them too, and a run whose worker dies of one fails
    before it has saved."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
