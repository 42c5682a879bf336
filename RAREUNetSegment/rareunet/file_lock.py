"""The operating system's lock on an open file: it goes with the process that holds it, however that ended."""

from __future__ import annotations

import sys
from pathlib import Path


def lock(descriptor: int) -> None:
    """Locks an open file for this process.

    Raises:
        BlockingIOError, PermissionError: another process has locked it (on POSIX, on Windows).
        OSError: the file system has no locks.
    """
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of a file; False where that can't be told (no such file, no right, no locks)."""
    try:
        file = path.open("r+b")
    except OSError:
        return False
    with file:
        try:
            lock(file.fileno())
        except (BlockingIOError, PermissionError):
            return True
        except OSError:
            return False
    return False
