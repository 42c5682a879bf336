"""The private folder through which a panel and its process pass files; nothing of it outlives the two."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from pathlib import Path

from rareunet.file_lock import lock

PREFIX = "rareunet-worker-"
LOCK_NAME = "owner.lock"
# A younger folder may be one that another Slicer makes at this moment, and has not locked yet.
SECONDS_TO_MAKE_A_FOLDER = 60


class PrivateFolder:
    """A folder that only its owner reads (mode 0700), locked as long as the process that made it lives.

    The lock is the operating system's: it goes with the process, however that ended, and needs no process numbers.

    Args:
        parent: where to make it; made if need be.
    """

    def __init__(self, parent: str | Path) -> None:
        Path(parent).mkdir(
            parents=True, exist_ok=True
        )  # cleaning programs remove it under a Slicer that runs for days
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        self._lock = (self.path / LOCK_NAME).open("wb")
        with contextlib.suppress(OSError):  # a file system without locks: the folder just is never swept
            lock(self._lock.fileno())

    def remove(self) -> None:
        self._lock.close()
        shutil.rmtree(self.path, ignore_errors=True)


def sweep(parent: str | Path) -> list[Path]:
    """Removes the folders whose owner is dead, for example a Slicer that was killed together with its worker.

    Returns:
        the removed folders.
    """
    orphans = [
        folder for folder in Path(parent).glob(f"{PREFIX}*") if folder.is_dir() and _is_orphaned(folder)
    ]
    for folder in orphans:
        shutil.rmtree(folder, ignore_errors=True)
    return orphans


def _is_orphaned(folder: Path) -> bool:
    try:
        if time.time() - folder.stat().st_mtime < SECONDS_TO_MAKE_A_FOLDER:
            return False
        with (folder / LOCK_NAME).open("r+b") as file:
            lock(file.fileno())
    except FileNotFoundError:
        return True
    except OSError:  # locked, or another user's
        return False
    return True
