"""Which widget shows which parameter, and how (Slicer's
Base/Python/slicer/parameterNodeWrapper/guiConnectors.py).
"""

from __future__ import annotations

import enum
import pathlib
from collections.abc import Callable
from typing import Any

import ctk
import qt
import slicer

from standin.parameter_types import Choice, Decimals, Maximum, Minimum, Parameter, SingleStep, WithinRange

NUMBER_WIDGETS = (qt.QDoubleSpinBox, ctk.ctkSliderWidget, ctk.ctkDoubleSpinBox, slicer.qMRMLSliderWidget)


class Connector:
    """Reads and writes one widget, and calls back when the user changes it."""

    def __init__(self, widget: Any, signal: str, read: Callable, write: Callable) -> None:
        self.widget, self.read, self.write = widget, read, write
        self._signal = signal
        self._callback: Callable | None = None

    def on_changed(self, callback: Callable | None) -> None:
        if not self._signal:
            return  # QLabel tells nothing
        if self._callback is not None:
            self.widget.disconnect(self._signal, self._callback)
        self._callback = callback
        if callback is not None:
            self.widget.connect(self._signal, callback)


def create_connector(widget: Any, parameter: Parameter) -> Connector:
    """Raises RuntimeError where Slicer has no connector for this widget and type."""
    widget_type, base = type(widget), parameter.base
    if parameter.is_node and widget_type is slicer.qMRMLNodeComboBox:
        widget.nodeTypes = [base().GetClassName()]
        return Connector(
            widget, "currentNodeChanged(vtkMRMLNode*)", widget.currentNode, widget.setCurrentNode
        )
    if not parameter.optional:
        if base in (int, float) and widget_type in (*NUMBER_WIDGETS, qt.QSpinBox, qt.QSlider):
            return _number(widget, parameter)
        if widget_type in (qt.QComboBox, ctk.ctkComboBox):
            return _combo_box(widget, parameter)
        simple = _simple(widget, base)
        if simple is not None:
            return simple
    raise RuntimeError(
        f"Unable to create GUI connector from datatype '{parameter.declared}' to widget type '{widget_type}'"
    )


def _simple(widget: Any, base: type) -> Connector | None:
    def attribute(signal: str, name: str, convert: Callable = lambda value: value) -> Connector:
        def write(value: Any) -> None:
            shown = str(value) if isinstance(value, pathlib.Path) else value
            if getattr(widget, name) != shown:  # an unchanged text keeps its cursor
                setattr(widget, name, shown)

        return Connector(widget, signal, lambda: convert(getattr(widget, name)), write)

    makers = {
        (bool, qt.QCheckBox): lambda: attribute("toggled(bool)", "checked"),
        (bool, ctk.ctkCheckBox): lambda: attribute("toggled(bool)", "checked"),
        (bool, qt.QPushButton): lambda: attribute("toggled(bool)", "checked"),
        (str, qt.QLineEdit): lambda: attribute("textChanged(QString)", "text"),
        (str, qt.QLabel): lambda: attribute("", "text"),
        (str, qt.QTextEdit): lambda: Connector(
            widget, "textChanged()", widget.toPlainText, widget.setPlainText
        ),
        (pathlib.Path, ctk.ctkPathLineEdit): lambda: attribute(
            "currentPathChanged(QString)", "currentPath", pathlib.Path
        ),
        (pathlib.Path, ctk.ctkDirectoryButton): lambda: attribute(
            "directoryChanged(QString)", "directory", pathlib.Path
        ),
    }
    maker = makers.get((base, type(widget)))
    return maker() if maker else None


def _number(widget: Any, parameter: Parameter) -> Connector:
    is_integer_widget = type(widget) in (qt.QSpinBox, qt.QSlider)
    if is_integer_widget and parameter.base is not int:
        raise RuntimeError(
            f"{type(widget).__name__} shows int only; parameter {parameter.name} is {parameter.declared}"
        )
    lowest, highest = (-(2**31), 2**31 - 1) if is_integer_widget else (float("-inf"), float("inf"))
    bounds = [lowest, highest]
    for annotation in parameter.annotations:
        if isinstance(annotation, WithinRange | Minimum):
            bounds[0] = annotation.minimum
        if isinstance(annotation, WithinRange | Maximum):
            bounds[1] = annotation.maximum
        if isinstance(annotation, Decimals) and not is_integer_widget:
            widget.decimals = annotation.value
        if isinstance(annotation, SingleStep):
            widget.singleStep = annotation.value
    if type(widget) not in (qt.QSpinBox, qt.QDoubleSpinBox) and (bounds[0] == lowest or bounds[1] == highest):
        raise RuntimeError(
            f"Cannot have a connection to {type(widget).__name__} where {parameter.name} is unbounded"
        )
    if parameter.base is int and not is_integer_widget:
        widget.decimals = 0
    widget.setRange(*bounds)
    signal = "valueChanged(int)" if is_integer_widget else "valueChanged(double)"
    return Connector(
        widget, signal, lambda: parameter.base(widget.value), lambda value: setattr(widget, "value", value)
    )


def _combo_box(widget: Any, parameter: Parameter) -> Connector:
    if issubclass(parameter.base, enum.Enum):
        label = getattr(parameter.base, "label", lambda member: member.name)
        choices = [(label(member), member) for member in parameter.base]
    else:
        choice = next((a for a in parameter.annotations if isinstance(a, Choice)), None)
        if choice is None:
            raise RuntimeError(f"A combo box needs the Choice annotation for parameter {parameter.name}")
        choices = [(str(value), value) for value in choice.choices]
    values = [value for _, value in choices]
    widget.clear()
    for text, _ in choices:
        widget.addItem(text)
    return Connector(
        widget,
        "currentIndexChanged(int)",
        lambda: values[widget.currentIndex],
        lambda value: widget.setCurrentIndex(values.index(value)),
    )
