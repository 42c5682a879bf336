"""The table of structures: label value, name and colour, to be edited."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ctk
import qt
from slicer.i18n import tr as _

from RAREUNetTrainingLib.training_choice import Structure, structure

COLUMNS = ("Value", "Name", "Colour")
ROW_HEIGHT = 24


class StructuresTable:
    """Keeps a QTableWidget and a list of structures in step.

    Args:
        table: an empty QTableWidget.
        onChanged: called after the user changed something.
    """

    def __init__(self, table: Any, onChanged: Callable[[], None]) -> None:
        self.table, self.onChanged = table, onChanged
        self._filling = False
        table.setColumnCount(len(COLUMNS))
        table.setHorizontalHeaderLabels([_(title) for title in COLUMNS])
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        header = table.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(1, qt.QHeaderView.Stretch)
        table.connect("cellChanged(int,int)", self._changed)

    def structures(self) -> tuple[Structure, ...]:
        """The rows; a value that is no number counts as 0, which obstacle() refuses."""
        return tuple(self._row(number) for number in range(self.table.rowCount))

    def show(self, structures: Sequence[Structure]) -> None:
        if tuple(structures) == self.structures():
            return
        self._filling = True
        self.table.setRowCount(len(structures))
        for number, row in enumerate(structures):
            self.table.setItem(number, 0, qt.QTableWidgetItem(str(row.value)))
            self.table.setItem(number, 1, qt.QTableWidgetItem(row.name))
            button = ctk.ctkColorPickerButton()
            button.displayColorName = False
            button.color = qt.QColor(*row.color)
            button.connect("colorChanged(QColor)", self._changed)
            self.table.setCellWidget(number, 2, button)
        self._filling = False

    def add(self) -> None:
        """A row with the next free value."""
        rows = self.structures()
        value = max((row.value for row in rows), default=0) + 1
        self.show([*rows, structure(value, f"{_('Structure')} {value}")])
        self.onChanged()

    def removeCurrent(self) -> None:
        """Takes out the row that was clicked last; without one, the last."""
        rows, current = list(self.structures()), self.table.currentRow()
        if rows:
            del rows[current if 0 <= current < len(rows) else -1]
            self.show(rows)
            self.onChanged()

    def _row(self, number: int) -> Structure:
        value, name = (self.table.item(number, column).text().strip() for column in (0, 1))
        color = self.table.cellWidget(number, 2).color
        return Structure(
            int(value) if value.isdecimal() else 0, name, (color.red(), color.green(), color.blue())
        )

    def _changed(self, *_arguments: Any) -> None:
        if not self._filling:
            self.onChanged()
