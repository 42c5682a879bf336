"""An output folder belongs to one run at a time, and a run that was begun there is not overwritten."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from rareunet.file_lock import lock
from rareunet.whole_files import make_folder
from rareunet_training import PROCESS_STARTED
from rareunet_training.monitoring.progress import CHECKPOINT_FILE, LOCK_FILE, STOP_FILE
from rareunet_training.training.distributed import Processes

# The processes that load data for a killed run hold its lock too, until they see that it is gone: within 5 s.
SECONDS_TO_BE_GONE = 10.0


@contextmanager
def claimed(folder: Path, resume: bool, processes: Processes) -> Iterator[None]:
    """Makes the folder, and keeps other runs out of it for as long as it is entered.

    Raises:
        ValueError: another run writes there, or a run was begun there and this one is not to go on with it; in every
            process, before anything in the folder has changed.
    """
    with ExitStack() as held:
        problem = ""
        if processes.is_first:
            make_folder(folder)
            if not _lock_soon(held.enter_context(open(folder / LOCK_FILE, "ab"))):
                problem = (
                    f"another run writes to {folder}: wait for its end, stop it by a file named stop in there, or"
                    " choose a new --output folder."
                )
            elif not resume and (folder / CHECKPOINT_FILE).exists():
                problem = (
                    f"{folder} holds a run that was begun: go on with it by --resume, or choose a new --output"
                    " folder."
                )
            else:
                _forget_last_stop(folder / STOP_FILE)
        if problem := processes.from_first(problem):
            raise ValueError(problem)
        yield


def _forget_last_stop(file: Path) -> None:
    """Removes what stopped the last run; what was asked of this one since it started stays."""
    with suppress(FileNotFoundError):
        if file.stat().st_mtime < PROCESS_STARTED:
            file.unlink()


def _lock_soon(file: IO[bytes]) -> bool:
    """False if another process keeps the lock."""
    end = time.monotonic() + SECONDS_TO_BE_GONE
    while True:
        try:
            lock(file.fileno())
        except (BlockingIOError, PermissionError):
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        except OSError:  # a file system without locks: nothing tells two runs apart there
            return True
        else:
            return True
