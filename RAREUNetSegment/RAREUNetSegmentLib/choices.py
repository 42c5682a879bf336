"""The panel's drop-down lists: what they show, and what the core calls it."""

from __future__ import annotations

import enum
from collections.abc import Iterable

from slicer.i18n import tr as _


class Device(enum.Enum):
    """Where the network runs; the value is the core's name."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"

    def label(self) -> str:
        labels = {
            "auto": _("Automatic"),
            "cpu": _("Processor"),
            "cuda": _("NVIDIA graphics card"),
            "mps": _("Apple graphics"),
        }
        return labels[self.value]


class EntryDepth(enum.Enum):
    """Where a scan enters the network; the value is what process() takes."""

    AUTO = "auto"
    DEPTH_0 = "0"
    DEPTH_1 = "1"
    DEPTH_2 = "2"
    DEPTH_3 = "3"

    def label(self) -> str:
        if self is EntryDepth.AUTO:
            return _("Automatic, by voxel size")
        return _("0 (finest)") if self.value == "0" else self.value


def depth_number(entry_depth: str | int | None) -> int | None:
    """ "auto" or None -> None, "2" or 2 -> 2.

    Raises:
        ValueError: anything else.
    """
    text = str(entry_depth).strip().lower()
    if text in ("auto", "none"):
        return None
    if not text.isdigit():
        raise ValueError(f"entry depth {entry_depth!r}: choose 'auto' or a depth from 0.")
    return int(text)


def structure_names(structures: str | Iterable[str] | None) -> tuple[str, ...] | None:
    """A name, or several -> a tuple of names; None, for all that the model has, stays.

    Raises:
        ValueError: anything else.
    """
    if structures is None:
        return None
    names: tuple[object, ...] = (structures,)
    if isinstance(structures, Iterable) and not isinstance(structures, str):
        names = tuple(structures)
    if not all(isinstance(name, str) for name in names):
        raise ValueError(
            f"structures is {structures!r}: names of the model's structures are needed, or None for all."
        )
    return tuple(map(str, names))
