"""Checkpoints: what a run needs to go on, written so that a crash at any moment leaves a readable one."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import torch

from rareunet.errors import first_line, message_of
from rareunet.whole_files import replacing


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes beside, syncs, then renames over the old one; on failure the old one stays.

    Raises:
        OSError: it could not be written, for example because the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob(f".{path.name}-*"):  # of a process that was killed while writing
        leftover.unlink(missing_ok=True)
    try:
        with replacing(path, durable=True) as temporary:
            torch.save(state, temporary)
    # A full disk shows as an OSError or, from within torch's own writer, as a RuntimeError.
    except (OSError, RuntimeError) as error:
        _let_go(error)
        before = "the one before it is intact. Free some space, then go on with --resume."
        raise OSError(
            f"the checkpoint {path} could not be written ({message_of(error)}):"
            f" {before if path.exists() else 'free some space, then start again.'}"
        ) from error


def _let_go(error: BaseException) -> None:
    """Closes what the frames of an error still hold: torch's file, without whose space nobody can be told."""
    held: BaseException | None = error
    while held is not None:
        traceback.clear_frames(held.__traceback__)
        held = held.__context__


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint; tensors and plain values alone are accepted.

    Raises:
        ValueError: there is none, or it is no checkpoint.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: there is nothing to resume there.") from None
    except Exception as error:  # torch raises many kinds for a damaged file
        raise ValueError(f"{path} is not a checkpoint ({first_line(error)}): start anew.") from None
    if not isinstance(state, dict):
        raise ValueError(f"{path} is not a checkpoint (but a {type(state).__name__}): start anew.")
    return state
