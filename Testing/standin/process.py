"""qt.QProcess and qt.QTimer with PythonQt's semantics over PySide6.

Where the two differ, as in MeVisLab/pythonqt: src/PythonQtClassInfo.cpp (a property shadows a function of its name
on an object), generated_cpp_515/com_trolltech_qt_core (the wrapped functions of QProcess are Qt 5.15's; QByteArray's
data() gives bytes, the array itself is not bytes); and Slicer's Base/Python/slicerqt.py (QTimer.singleShot of the
class takes milliseconds and a callable).
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore

# QProcess has these in Qt 6 only, or takes C++ functions; Slicer 5.12 still comes with Qt 5.15.
NOT_WRAPPED = (
    "startCommand",
    "setUnixProcessParameters",
    "unixProcessParameters",
    "failUnixChildProcess",
    "setChildProcessModifier",
    "setCreateProcessArgumentsModifier",
)


class ByteArray:
    """What a function that returns QByteArray gives: read it by data(), it is not bytes itself."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def data(self) -> bytes:
        return self._content

    def size(self) -> int:
        return len(self._content)

    def isEmpty(self) -> bool:
        return not self._content


class QProcess(QtCore.QProcess):
    """A process; one that is destroyed while it runs is killed, as in Qt."""

    def readAllStandardOutput(self) -> ByteArray:
        return ByteArray(super().readAllStandardOutput().data())

    def readAllStandardError(self) -> ByteArray:
        return ByteArray(super().readAllStandardError().data())

    def readAll(self) -> ByteArray:
        return ByteArray(super().readAll().data())

    def readLine(self, maximum: int = 0) -> ByteArray:
        return ByteArray(super().readLine(maximum).data())


class _SingleShot:
    """QTimer.singleShot(ms, function) on the class, the property singleShot on an object."""

    def __init__(self, function: Callable[..., None]) -> None:
        self._function = function

    def __get__(self, timer: QtCore.QTimer | None, owner: type) -> Any:
        return self._function if timer is None else timer.isSingleShot()

    def __set__(self, timer: QtCore.QTimer, value: bool) -> None:
        timer.setSingleShot(bool(value))


def _not_wrapped(name: str) -> property:
    def refuse(self: QtCore.QObject) -> None:
        raise AttributeError(f"QProcess has no attribute named '{name}'")

    return property(refuse)


def install(qt: types.ModuleType) -> None:
    """Put both into the module qt."""
    for name in NOT_WRAPPED:
        if hasattr(QtCore.QProcess, name):
            setattr(QProcess, name, _not_wrapped(name))
    QProcess._qt_class = "QProcess"
    qt.QProcess = QProcess
    qt.QTimer.singleShot = _SingleShot(qt.QTimer.singleShot)
