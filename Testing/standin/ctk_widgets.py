"""The CTK widgets used by the panels, over PySide6. Names, properties and signals as in commontk/CTK
Libs/Widgets.
"""

from __future__ import annotations

import sys
import types

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from standin.widget_properties import stored_property, with_setters

HEADER_HEIGHT = 24
UNLIMITED = 16777215  # QWIDGETSIZE_MAX


@with_setters
class ctkCollapsibleButton(QtWidgets.QWidget):
    """A header that shows or hides the widgets under it (ctkCollapsibleButton.h)."""

    contentsCollapsed = Signal(bool)
    toggled = Signal(bool)
    clicked = Signal(bool)

    def __init__(
        self, text: str | QtWidgets.QWidget | None = "", parent: QtWidgets.QWidget | None = None
    ) -> None:
        if not isinstance(text, str):
            text, parent = "", text
        super().__init__(parent)
        self._text = text
        self._header = QtWidgets.QToolButton(self)
        self._header.setToolButtonStyle(Qt.ToolButtonTextBesideIcon)
        self._header.clicked.connect(self._toggle_by_user)
        self.setContentsMargins(0, HEADER_HEIGHT, 0, 0)
        self._update()

    def _toggle_by_user(self) -> None:
        self.collapsed = not self.collapsed
        self.clicked.emit(not self.collapsed)

    def _update(self) -> None:
        self._header.setText(self.text)
        self._header.setArrowType(Qt.RightArrow if self.collapsed else Qt.DownArrow)
        for child in self.findChildren(QtWidgets.QWidget, options=Qt.FindDirectChildrenOnly):
            if child is not self._header:
                child.setVisible(not self.collapsed)
        self.setMaximumHeight(HEADER_HEIGHT if self.collapsed else UNLIMITED)

    def _collapsed_changed(self) -> None:
        self._update()
        self.contentsCollapsed.emit(self.collapsed)
        self.toggled.emit(not self.collapsed)

    def resizeEvent(self, event: QtCore.QEvent) -> None:
        self._header.setGeometry(0, 0, self.width, HEADER_HEIGHT)
        super().resizeEvent(event)

    def showEvent(self, event: QtCore.QEvent) -> None:
        if self.collapsed:
            self._update()
        super().showEvent(event)

    text = stored_property(str, "text", "", _update)
    collapsed = stored_property(bool, "collapsed", False, _collapsed_changed)
    checked = Property(
        bool, lambda self: not self.collapsed, lambda self, v: setattr(self, "collapsed", not v)
    )
    flat = stored_property(bool, "flat", False)
    checkable = stored_property(bool, "checkable", True)
    collapsedHeight = stored_property(int, "collapsedHeight", 10)
    contentsFrameShape = stored_property(int, "contentsFrameShape", 0)
    buttonTextAlignment = stored_property(int, "buttonTextAlignment", 0)


@with_setters
class ctkPathLineEdit(QtWidgets.QWidget):
    """A path with a browse button (ctkPathLineEdit.h)."""

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)
    # QDir::Filter values, ctkPathLineEdit.h enum Filter
    Dirs, Files, Drives, NoSymLinks = 0x001, 0x002, 0x004, 0x008
    Readable, Writable, Executable, Hidden = 0x010, 0x020, 0x040, 0x100

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._history: list[str] = []
        self._edit = QtWidgets.QLineEdit(self)
        self._browse = QtWidgets.QToolButton(self)
        self._browse.setText("...")
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._edit)
        layout.addWidget(self._browse)
        self._edit.textChanged.connect(self._update_has_valid_input)
        self._is_valid = False

    def _update_has_valid_input(self, path: str) -> None:
        """Without name filters anything but '' is valid, and a path that is not is not told (updateHasValidInput)."""
        was_valid, self._is_valid = self._is_valid, bool(path)
        if path:
            self.currentPathChanged.emit(path)
        if self._is_valid != was_valid:
            self.validInputChanged.emit(self._is_valid)

    currentPath = Property(str, lambda self: self._edit.text, lambda self, value: self._edit.setText(value))
    filters = stored_property(int, "filters", 0x033)
    options = stored_property(int, "options", 0)
    nameFilters = stored_property("QStringList", "nameFilters", [])
    settingKey = stored_property(str, "settingKey", "")
    label = stored_property(str, "label", "")
    showBrowseButton = stored_property(
        bool, "showBrowseButton", True, lambda self: self._browse.setVisible(self.showBrowseButton)
    )
    showHistoryButton = stored_property(bool, "showHistoryButton", True)

    def addCurrentPathToHistory(self) -> None:
        """Puts the path first in the history. Where it is there already and current, it is taken out first, and the
        combo box shows its neighbour meanwhile (ctkPathLineEdit.cpp, QComboBox::removeItem)."""
        path = self.currentPath
        place = self._history.index(path) if path in self._history else -1
        if place >= 0:
            del self._history[place]
            if self._history:
                self.currentPath = self._history[max(place - 1, 0)]
        self._history.insert(0, path)
        self.currentPath = path


@with_setters
class ctkDirectoryButton(QtWidgets.QWidget):
    """A button that shows a directory (ctkDirectoryButton.cpp: kept as QDir, hence absolute; empty means
    '.').
    """

    directoryChanged = Signal(str)
    directorySelected = Signal(str)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._directory = QtCore.QDir(".").absolutePath()
        self._button = QtWidgets.QPushButton(self._directory, self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._button)

    def _set_directory(self, directory: str) -> None:
        absolute = QtCore.QDir(directory).absolutePath()
        self.directorySelected.emit(absolute)
        if absolute != self._directory:
            self._directory = absolute
            self._button.setText(absolute)
            self.directoryChanged.emit(absolute)

    directory = Property(str, lambda self: self._directory, _set_directory)
    caption = stored_property(str, "caption", "")
    text = Property(str, lambda self: self._button.text, lambda self, value: self._button.setText(value))


@with_setters
class ctkSliderWidget(QtWidgets.QWidget):
    """Slider and spin box of one real value (ctkSliderWidget.h)."""

    valueChanged = Signal(float)
    valueChanging = Signal(float)
    valueIsChanging = Signal(float)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._spin = QtWidgets.QDoubleSpinBox(self)
        self._spin.setRange(0, 99)
        self._slider = QtWidgets.QSlider(Qt.Horizontal, self)
        self._slider.setRange(0, 1000)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        layout.addWidget(self._spin)
        self._spin.valueChanged.connect(self._value_changed)
        self._slider.sliderMoved.connect(self._slider_moved)

    def _value_changed(self, value: float) -> None:
        span = self._spin.maximum - self._spin.minimum
        self._slider.setValue(round(1000 * (value - self._spin.minimum) / span) if span else 0)
        self.valueChanged.emit(value)

    def _slider_moved(self, position: int) -> None:
        span = self._spin.maximum - self._spin.minimum
        self._spin.setValue(self._spin.minimum + span * position / 1000)

    def setRange(self, minimum: float, maximum: float) -> None:
        self._spin.setRange(minimum, maximum)

    value = Property(float, lambda self: self._spin.value, lambda self, v: self._spin.setValue(v))
    minimum = Property(float, lambda self: self._spin.minimum, lambda self, v: self._spin.setMinimum(v))
    maximum = Property(float, lambda self: self._spin.maximum, lambda self, v: self._spin.setMaximum(v))
    decimals = Property(int, lambda self: self._spin.decimals, lambda self, v: self._spin.setDecimals(v))
    singleStep = Property(
        float, lambda self: self._spin.singleStep, lambda self, v: self._spin.setSingleStep(v)
    )
    suffix = Property(str, lambda self: self._spin.suffix, lambda self, v: self._spin.setSuffix(v))
    prefix = Property(str, lambda self: self._spin.prefix, lambda self, v: self._spin.setPrefix(v))
    pageStep = stored_property(float, "pageStep", 10.0)
    tracking = stored_property(bool, "tracking", True)


@with_setters
class ctkDoubleSpinBox(QtWidgets.QDoubleSpinBox):
    """A spin box of one real value (ctkDoubleSpinBox.h; only what QDoubleSpinBox has)."""


@with_setters
class ctkComboBox(QtWidgets.QComboBox):
    """A combo box with a default text (ctkComboBox.h)."""

    defaultText = stored_property(str, "defaultText", "")


@with_setters
class ctkCheckBox(QtWidgets.QCheckBox):
    """A check box (ctkCheckBox.h)."""


def install() -> types.ModuleType:
    """Return the module ``ctk`` (also put into sys.modules)."""
    ctk = types.ModuleType("ctk", "CTK's widgets, stood in over PySide6.")
    for name, value in globals().items():
        if name.startswith("ctk") and isinstance(value, type):
            setattr(ctk, name, value)
    sys.modules["ctk"] = ctk
    return ctk
