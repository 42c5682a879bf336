"""qt.QUiLoader that knows the stood-in widgets, refuses unknown classes, and honours <connections> to scene
slots.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import ctk
import qt
import slicer
from PySide6 import QtCore, QtUiTools, QtWidgets

from standin.pythonqt import connect

STOOD_IN_PREFIXES = ("ctk", "qMRML", "qSlicer")


class QUiLoader(QtUiTools.QUiLoader):
    """Raises RuntimeError for a widget class or a connection that is not stood in, instead of skipping it."""

    def createWidget(self, class_name: str, parent: QtWidgets.QWidget | None = None, name: str = "") -> Any:
        cls = getattr(ctk, class_name, None) or getattr(slicer, class_name, None)
        if cls is not None:
            widget = cls()
            widget.setParent(parent)
            widget.setObjectName(name)
            self._created.append(widget)
            return widget
        if class_name.startswith(STOOD_IN_PREFIXES) or not hasattr(qt, class_name):
            self._unknown.append(class_name)
            return QtWidgets.QFrame(parent)
        return super().createWidget(class_name, parent, name)

    def load(self, device: QtCore.QIODevice, parent: QtWidgets.QWidget | None = None) -> QtWidgets.QWidget:
        self._created: list[QtWidgets.QWidget] = []
        self._unknown: list[str] = []
        root = ElementTree.fromstring(bytes(device.readAll()))
        connections = _take_connections(root)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(root))
        buffer.open(QtCore.QIODevice.ReadOnly)
        widget = super().load(buffer, parent)
        if self._unknown:
            raise RuntimeError(f"The stand-in has no widget class {sorted(set(self._unknown))}")
        if widget is None:
            raise RuntimeError(f"The .ui file could not be loaded: {self.errorString()}")
        widget._created_by_loader = self._created  # Python-derived children live as long as their parent
        for connection in connections:
            _connect_by_name(widget, *connection)
        return widget


def _take_connections(root: ElementTree.Element) -> list[tuple[str, str, str, str]]:
    """Remove <connections> from the tree: Qt's own loader cannot connect slots that are Python methods."""
    element = root.find("connections")
    if element is None:
        return []
    root.remove(element)
    keys = ("sender", "signal", "receiver", "slot")
    return [tuple(connection.findtext(key, "") for key in keys) for connection in element]


def _connect_by_name(top: QtWidgets.QWidget, sender: str, signal: str, receiver: str, slot: str) -> None:
    def find(name: str) -> QtCore.QObject | None:
        return top if top.objectName == name else top.findChild(QtCore.QObject, name)

    source, target = find(sender), find(receiver)
    function = getattr(target, slot.split("(")[0], None)
    if source is None or not callable(function):
        raise RuntimeError(f".ui connection not supported: {sender}.{signal} -> {receiver}.{slot}")
    connect(source, signal, function)


def install() -> None:
    qt.QUiLoader = QUiLoader
