"""Files that are written whole or not at all: a crash or a full disk leaves the older file of the name."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """A hidden file beside `path`, with its extension, to write to. It takes the place of `path` when the block ends
    without an error, and goes otherwise.

    Args:
        path: in an existing folder.
        durable: be on the disk by then, so that even a power cut leaves one of the two whole. It takes longer.
    """
    # Not tempfile's: it makes files that nobody but their owner can read.
    start = path.name.encode(errors="surrogateescape")[:80].decode(errors="ignore")
    extension = ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix
    temporary = path.with_name(f".{start}-{uuid.uuid4().hex}{extension}")
    try:
        yield temporary
        if durable:
            with temporary.open("r+b") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    if durable:
        _sync_folder(path.parent)


def write_whole(path: Path, text: str) -> None:
    """Writes a text file so, as UTF-8; what is no text, as names of files on Linux may be, in escapes.

    Raises:
        OSError: it can't be written; the message names it and says what to do.
    """
    try:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
    except OSError as error:  # it names the temporary file, or none
        raise OSError(
            error.errno or errno.EIO,
            f"{path} could not be written ({error.strerror or error}): free space on the disk, or choose a folder that"
            " you may write to",
        ) from error


def make_folder(folder: Path) -> None:
    """Makes a folder for results, and those above it, where there is none.

    Raises:
        ValueError: it can't be made, or the name is a file's; the message says what to do.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"{folder} is not a folder and can't be made one ({error.strerror}): choose a name that is free, in a"
            " folder that you may write to."
        ) from error


def check_report_path(path: Path, formats: Sequence[str]) -> None:
    """Raises ValueError for a report that can't be written: `formats` are the extensions that its name may have."""
    if path.suffix.lower() not in formats:
        raise ValueError(
            f"report {path}: its name ends in {path.suffix or 'nothing'}, choose {' or '.join(formats)}."
        )
    if path.is_dir():
        raise ValueError(f"report {path} is a folder: give a file's name.")


def _sync_folder(folder: Path) -> None:
    """Makes the new name itself survive a power cut; systems that can't open folders do so by themselves."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
