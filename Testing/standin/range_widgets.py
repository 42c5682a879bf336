"""Further CTK and qMRML widgets that Slicer's own parameter node connectors name (guiConnectors.py,
guiCreation.py).
"""

from __future__ import annotations

from typing import Any

import ctk
import slicer
from PySide6 import QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

from standin.widget_properties import stored_property, with_setters


@with_setters
class ctkDoubleSlider(ctk.ctkSliderWidget):
    """A slider of one real value (ctkDoubleSlider.h)."""


@with_setters
class qMRMLSliderWidget(ctk.ctkSliderWidget):
    """ctkSliderWidget with a scene for its units (qMRMLSliderWidget.h)."""

    def setMRMLScene(self, scene: Any) -> None:
        """Accepted: units are not stood in."""


@with_setters
class qMRMLSpinBox(QtWidgets.QDoubleSpinBox):
    """Spin box with a scene for its units (qMRMLSpinBox.h)."""

    def setMRMLScene(self, scene: Any) -> None:
        """Accepted: units are not stood in."""


@with_setters
class ctkCheckablePushButton(QtWidgets.QPushButton):
    """A push button with a check box (ctkCheckablePushButton.h)."""

    checkBoxControlsButton = stored_property(bool, "checkBoxControlsButton", True)
    checkBoxControlsButtonToggleState = stored_property(bool, "checkBoxControlsButtonToggleState", True)


@with_setters
class ctkColorPickerButton(QtWidgets.QPushButton):
    """A button that shows and picks a colour (ctkColorPickerButton.h)."""

    colorChanged = Signal(QtGui.QColor)

    def _update(self) -> None:
        pixmap = QtGui.QPixmap(16, 16)
        pixmap.fill(self.color)
        self.setIcon(QtGui.QIcon(pixmap))
        self.setText(self.color.name() if self.displayColorName else "")

    color = stored_property(QtGui.QColor, "color", QtGui.QColor(), _update, "colorChanged")
    displayColorName = stored_property(bool, "displayColorName", True, _update)


@with_setters
class ctkRangeWidget(QtWidgets.QWidget):
    """Two values within a range (ctkRangeWidget.h)."""

    valuesChanged = Signal(float, float)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._minimum, self._maximum = 0.0, 99.0
        self._lower, self._upper = 0.0, 99.0

    def setValues(self, lower: float, upper: float) -> None:
        lower, upper = min(lower, upper), max(lower, upper)
        clipped = max(self._minimum, lower), min(self._maximum, upper)
        if clipped != (self._lower, self._upper):
            self._lower, self._upper = clipped
            self.valuesChanged.emit(*clipped)

    def setRange(self, minimum: float, maximum: float) -> None:
        self._minimum, self._maximum = minimum, maximum
        self.setValues(self._lower, self._upper)

    def _set_minimum_value(self, value: float) -> None:
        self.setValues(value, max(value, self._upper))

    def _set_maximum_value(self, value: float) -> None:
        self.setValues(min(value, self._lower), value)

    minimum = Property(float, lambda self: self._minimum, lambda self, v: self.setRange(v, self._maximum))
    maximum = Property(float, lambda self: self._maximum, lambda self, v: self.setRange(self._minimum, v))
    minimumValue = Property(float, lambda self: self._lower, _set_minimum_value)
    maximumValue = Property(float, lambda self: self._upper, _set_maximum_value)
    singleStep = stored_property(float, "singleStep", 1.0)
    decimals = stored_property(int, "decimals", 2)


@with_setters
class ctkDoubleRangeSlider(ctkRangeWidget):
    """A slider with two handles (ctkDoubleRangeSlider.h)."""


@with_setters
class qMRMLRangeWidget(ctkRangeWidget):
    """ctkRangeWidget with a scene for its units (qMRMLRangeWidget.h)."""

    def setMRMLScene(self, scene: Any) -> None:
        """Accepted: units are not stood in."""


def install() -> None:
    """Put the classes where PythonQt puts them: ctk* into ctk, qMRML* into slicer."""
    for name, value in globals().items():
        if isinstance(value, type) and name.startswith("ctk"):
            setattr(ctk, name, value)
        if isinstance(value, type) and name.startswith("qMRML"):
            setattr(slicer, name, value)
