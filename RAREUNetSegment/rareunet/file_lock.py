"""The operating system's lock on an open file: it goes with the process that holds it, however that ended."""

from __future__ import annotations

import sys


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
