"""The list of a model's structures, to be ticked: which of them the segmentation is to hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from typing import Any

import qt

MOST_ROWS = 8  # the others are scrolled to


class StructureList:
    """Keeps a QListWidget and the structures that are left out in step.

    Args:
        widget: an empty QListWidget.
        onChanged: called with the names that are left out, after the user changed a tick.
    """

    def __init__(self, widget: Any, onChanged: Callable[[list[str]], None]) -> None:
        self._widget, self._onChanged = widget, onChanged
        self._names: tuple[str, ...] = ()
        self._filling = False
        widget.connect("itemChanged(QListWidgetItem*)", self._changed)

    def show(self, names: Sequence[str], leftOut: Collection[str]) -> None:
        """Shows these structures, ticked but for those that are left out."""
        self._filling = True
        if tuple(names) != self._names:
            self._names = tuple(names)
            self._widget.clear()
            for name in names:
                item = qt.QListWidgetItem(name)
                item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsUserCheckable)
                self._widget.addItem(item)
            rows = min(len(names), MOST_ROWS) * self._widget.sizeHintForRow(0)
            self._widget.setFixedHeight(rows + 2 * self._widget.frameWidth)
        for number, name in enumerate(names):
            self._widget.item(number).setCheckState(qt.Qt.Unchecked if name in leftOut else qt.Qt.Checked)
        self._filling = False

    def _changed(self, item: Any = None) -> None:
        if not self._filling:
            ticked = [self._widget.item(n).checkState() == qt.Qt.Checked for n in range(len(self._names))]
            self._onChanged([name for name, there in zip(self._names, ticked, strict=True) if not there])


def left_out(text: str) -> list[str]:
    """What the parameter node keeps: a JSON list of names; none where a scene holds something else."""
    try:
        names = json.loads(text)
    except ValueError:
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def chosen(names: Sequence[str], text: str) -> tuple[str, ...] | None:
    """The names that are not left out, see left_out; None for all of them."""
    missing = left_out(text)
    kept = tuple(name for name in names if name not in missing)
    return None if len(kept) == len(names) else kept
