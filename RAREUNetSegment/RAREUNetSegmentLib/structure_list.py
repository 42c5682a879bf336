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
                item.setToolTip(name)  # where it is too long for the list
                item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsUserCheckable)
                self._widget.addItem(item)
            rows = min(len(names), MOST_ROWS) * self._widget.sizeHintForRow(0)
            self._widget.setFixedHeight(rows + 2 * self._widget.frameWidth)
        for number, name in enumerate(names):
            self._widget.item(number).setCheckState(qt.Qt.Unchecked if name in leftOut else qt.Qt.Checked)
        self._filling = False

    def tickAll(self, ticked: bool) -> None:
        """Ticks or unticks every structure; onChanged is called once."""
        leftOut = [] if ticked else list(self._names)
        self.show(self._names, leftOut)
        self._onChanged(leftOut)

    def _changed(self, item: Any = None) -> None:
        if not self._filling:
            ticked = [self._widget.item(n).checkState() == qt.Qt.Checked for n in range(len(self._names))]
            self._onChanged([name for name, there in zip(self._names, ticked, strict=True) if not there])


def left_out(text: str, model: str) -> list[str]:
    """Names that are left out of a model's structures.

    Args:
        text: what the parameter node keeps: such names by model, as JSON; anything else in a scene counts as none.
        model: as the parameter node has it.
    """
    names = _by_model(text).get(model)
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def with_left_out(text: str, model: str, names: Sequence[str]) -> str:
    """The same text with these names left out of that model's structures."""
    return json.dumps({**_by_model(text), model: list(names)})


def chosen(structures: Sequence[str], leftOut: Collection[str]) -> tuple[str, ...] | None:
    """Those of a model's structures that are not left out; None for all, and where there is but one to choose."""
    kept = tuple(name for name in structures if name not in leftOut)
    return None if len(structures) < 2 or len(kept) == len(structures) else kept


def _by_model(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
