"""The private folder through which a panel and its worker pass voxels; nothing of it outlives the two."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from pathlib import Path

from rareunet.file_lock import lock

PREFIX = "rareunet-worker-"
LOCK_NAME = "owner.lock"
# A folder without a lock may be one that another Slicer makes at this moment.
SECONDS_TO_MAKE_A_FOLDER = 60


class PrivateFolder:
    """A folder that only its owner reads (mode 0700), locked as long as the process that made it lives.

    The lock is the operating system's: it goes with the process, however that ended, and needs no process numbers.

    Args:
        parent: where to make it; None for the system's temporary folder.
    """

    def __init__(self, parent: str | Path | None = None) -> None:
        if parent is not None:  # cleaning programs remove temporary folders under a Slicer that runs for days
            Path(parent).mkdir(parents=True, exist_ok=True)
        if not self._make(parent):  # another Slicer's sweep was quicker, and removes the folder
            self._lock.close()
            self._make(parent)

    def _make(self, parent: str | Path | None) -> bool:
        """False if another process has locked it."""
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        self._lock = (self.path / LOCK_NAME).open("wb")
        try:
            lock(self._lock.fileno())
        except (BlockingIOError, PermissionError):
            return False
        except OSError:  # a file system without locks: the folder just is never swept
            pass
        return True

    def remove(self) -> None:
        self._lock.close()
        shutil.rmtree(self.path, ignore_errors=True)


def sweep(parent: str | Path | None = None) -> list[Path]:
    """Removes the folders whose owner is dead, for example a Slicer that was killed together with its worker.

    Returns:
        the removed folders.
    """
    folders = Path(parent or tempfile.gettempdir()).glob(f"{PREFIX}*")
    orphans = [folder for folder in folders if folder.is_dir() and _is_orphaned(folder)]
    for folder in orphans:
        shutil.rmtree(folder, ignore_errors=True)
    return orphans


def _is_orphaned(folder: Path) -> bool:
    try:
        with (folder / LOCK_NAME).open("r+b") as file:
            lock(file.fileno())
            return True
    except FileNotFoundError:
        with contextlib.suppress(OSError):
            return time.time() - folder.stat().st_mtime > SECONDS_TO_MAKE_A_FOLDER
        return False
    except OSError:  # locked, or another user's
        return False
