"""How a person or a cluster asks a run to stop: a signal, or a file in the output folder."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from rareunet_training.progress import STOP_FILE

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Listens while it is entered. The first Ctrl-C or SIGTERM asks; a second one ends the process at once.

    Args:
        folder: the output folder; a file named "stop" there asks too, on every system and across machines.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / STOP_FILE
        self._signalled = False
        self._previous: dict[signal.Signals, Any] = {}

    def is_made(self) -> bool:
        return self._signalled or self._file.exists()

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
        self._signalled = True
        for known in SIGNALS:
            signal.signal(known, signal.SIG_DFL if known == signal.SIGTERM else signal.default_int_handler)
