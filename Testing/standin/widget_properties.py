"""Helpers to declare the Qt properties of a stood-in widget, with the setters PythonQt would show beside
them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import Property, QObject


def stored_property(
    qt_type: Any, name: str, default: Any, on_change: Callable | None = None, notify: str | None = None
) -> Property:
    """A property kept on the object; on_change(self) and the signal named notify follow a change of value."""
    attribute = "_" + name

    def read(self: QObject) -> Any:
        return self.__dict__.get(attribute, default)

    def write(self: QObject, value: Any) -> None:
        if read(self) == value:
            return
        self.__dict__[attribute] = value
        if on_change is not None:
            on_change(self)
        if notify is not None:
            getattr(self, notify).emit(value)

    return Property(qt_type, read, write)


def with_setters(cls: type) -> type:
    """Class decorator: add setX() for every property x, and remember the Qt class name."""
    cls._qt_class = cls.__name__
    for name, value in list(vars(cls).items()):
        setter = "set" + name[0].upper() + name[1:]
        if isinstance(value, Property) and value.fset is not None and not hasattr(cls, setter):
            setattr(cls, setter, lambda self, new, _name=name: setattr(self, _name, new))
    return cls
