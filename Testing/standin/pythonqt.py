"""PythonQt's object semantics over PySide6.

Reproduced, as in MeVisLab/pythonqt src/PythonQtInstanceWrapper.cpp and PythonQtSlot.cpp:
properties read and write as attributes (``label.text``, not ``label.text()``); ``connect("clicked(bool)",
f)`` takes a
signature that must exist exactly; properties accept integers for enums; a C++ object refuses new attributes;
``name`` is ``objectName``; ``delete()`` destroys. PySide6's classes are patched in place, once per process.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import shiboken6
from PySide6 import QtCore, QtGui, QtNetwork, QtUiTools, QtWidgets
from PySide6.QtCore import Property, QObject

QT_MODULES = (QtCore, QtGui, QtWidgets, QtNetwork)

# C++ calls these virtual functions by name on the Python type: a property in their place would be called.
VIRTUAL_GETTERS = frozenset({"sizeHint", "minimumSizeHint", "duration"})

# Attributes may not be added to objects of these packages' classes (a class derived in a module's own file
# may).
CPP_PACKAGES = ("PySide6", "standin.")

_connections: weakref.WeakKeyDictionary[QObject, list[tuple]] = weakref.WeakKeyDictionary()


def install() -> types.ModuleType:
    """Patch PySide6 and return the module ``qt`` (also put into sys.modules). Idempotent."""
    if "qt" in sys.modules:
        return sys.modules["qt"]
    classes = list(_qobject_classes())
    for cls in classes:
        _patch_properties(cls)
    for cls in classes:
        _patch_attribute_access(cls)
    QObject.__getattr__ = _get_dynamic_attribute
    QObject.name = property(lambda self: self.objectName, lambda self, value: self.setObjectName(value))
    QObject.className = lambda self: getattr(type(self), "_qt_class", None) or self.metaObject().className()
    QObject.delete = lambda self: shiboken6.delete(self)
    QtCore.QTimer.singleShot = staticmethod(_single_shot)
    _accept_integer_color_format()
    return _make_qt_module()


def signal_signatures(sender: QObject, name: str) -> set[str]:
    """The exact signatures of a signal, e.g. {"clicked(bool)", "clicked()"}; ``_qt_signatures`` of a class
    wins.
    """
    declared = getattr(type(sender), "_qt_signatures", {}).get(name)
    if declared:
        return set(declared)
    meta = sender.metaObject()
    methods = (meta.method(i) for i in range(meta.methodCount()))
    return {
        bytes(m.methodSignature()).decode()
        for m in methods
        if m.methodType() == QtCore.QMetaMethod.Signal and bytes(m.name()).decode() == name
    }


def connect(sender: QObject, signature: str, receiver: Any, slot: str | None = None) -> bool:
    """PythonQt's ``sender.connect("signal(type)", callable)`` or ``connect("signal(type)", object,
    "slot()")``.
    """
    function = receiver if slot is None else getattr(receiver, slot.split("(")[0])
    signal, argument_count = _find_signal(sender, signature)
    accepted = _accepted_argument_count(function)

    def call(*arguments: Any) -> None:
        arguments = arguments[:argument_count]
        function(*(arguments if accepted is None else arguments[:accepted]))

    signal.connect(call)
    _connections.setdefault(sender, []).append((signature, function, signal, call))
    return True


def disconnect(sender: QObject, signature: str, receiver: Any = None, slot: str | None = None) -> bool:
    """Undo connect() for this signature, or for this signature and function; False if there was none."""
    function = getattr(receiver, slot.split("(")[0]) if slot is not None else receiver
    _find_signal(sender, signature)
    found = [
        entry
        for entry in _connections.get(sender, [])
        if entry[0] == signature and (function is None or entry[1] == function)
    ]
    for entry in found:
        entry[2].disconnect(entry[3])
        _connections[sender].remove(entry)
    return bool(found)


def _qobject_classes() -> Iterator[type]:
    for module in QT_MODULES:
        for name in dir(module):  # PySide6 makes its types on demand: vars(module) would be incomplete
            cls = getattr(module, name, None)
            if isinstance(cls, type) and issubclass(cls, QObject):
                yield cls


def _patch_properties(cls: type) -> None:
    meta = cls.staticMetaObject
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        declared = meta.property(index)
        name = declared.name()
        if name in VIRTUAL_GETTERS or isinstance(cls.__dict__.get(name), property):
            continue
        setattr(cls, name, _python_property(cls, declared))


def _python_property(cls: type, declared: QtCore.QMetaProperty) -> property:
    name = declared.name()
    capitalised = name[0].upper() + name[1:]
    getter = getattr(cls, name, None)
    if not callable(getter):
        getter = getattr(cls, "is" + capitalised, None)
    if not callable(getter):
        getter = lambda self: QObject.property(self, name)  # noqa: E731
    setter: Callable = getattr(cls, "set" + capitalised, None) or (
        lambda self, v: QObject.setProperty(self, name, v)
    )
    is_bool = declared.typeName() == "bool"

    def write(self: QObject, value: Any) -> None:
        if is_bool:
            value = bool(value)
        try:
            setter(self, value)
        except TypeError:  # an integer for an enum: the meta-object system converts it
            if not isinstance(value, int) or not QObject.setProperty(self, name, value):
                raise

    return property(getter, write if declared.isWritable() else None)


def _patch_attribute_access(cls: type) -> None:
    # shiboken answers connect/disconnect (static and instance overloads) in its own lookup, so the lookup is
    # wrapped.
    if cls is QObject or "__getattribute__" in cls.__dict__:
        original = cls.__getattribute__

        def lookup(self: QObject, name: str) -> Any:
            if name == "connect":
                return types.MethodType(connect, self)
            if name == "disconnect":
                return types.MethodType(disconnect, self)
            return original(self, name)

        cls.__getattribute__ = lookup
    if cls is QObject or "__setattr__" in cls.__dict__:
        cls.__setattr__ = _set_attribute


def _set_attribute(self: QObject, name: str, value: Any) -> None:
    cls = type(self)
    if not name.startswith("_") and cls.__module__.startswith(CPP_PACKAGES) and not hasattr(cls, name):
        if QObject.property(self, name) is None:
            raise AttributeError(
                f"'{name}' does not exist on {cls.__name__} and "
                "creating new attributes on C++ objects is not allowed"
            )
        self.setProperty(name, value)
        return
    descriptor = inspect.getattr_static(cls, name, None)
    if isinstance(descriptor, Property):
        descriptor.fset(self, value)
    elif hasattr(type(descriptor), "__set__"):
        type(descriptor).__set__(descriptor, self, value)
    else:
        self.__dict__[name] = value


def _get_dynamic_attribute(self: QObject, name: str) -> Any:
    """Dynamic properties read as attributes too."""
    if not name.startswith("_") and shiboken6.isValid(self):
        value = QObject.property(self, name)
        if value is not None:
            return value
    raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")


def _find_signal(sender: QObject, signature: str) -> tuple[Any, int]:
    """The bound signal and its number of arguments. Raises ValueError for a signature that does not exist."""
    wanted = signature.replace(" ", "").lstrip("2")
    name, _, arguments = wanted.partition("(")
    arguments = arguments.rstrip(")")
    available = signal_signatures(sender, name)
    if wanted not in available:
        offer = sorted(available) or "no signal of that name"
        raise ValueError(f"{type(sender).__name__} has no signal '{signature}'; it has: {offer}")
    signal = getattr(sender, name)
    if len(available) > 1 and arguments:
        # An overload by default argument, such as clicked(bool) beside clicked(), is one signal object.
        with contextlib.suppress(KeyError, IndexError, TypeError):
            signal = signal[arguments]
    return signal, arguments.count(",") + 1 if arguments else 0


def _accepted_argument_count(function: Callable) -> int | None:
    """How many positional arguments the function takes; None if any number, or unknown."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (ValueError, TypeError):
        return None
    if any(p.kind == p.VAR_POSITIONAL for p in parameters):
        return None
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def _single_shot(milliseconds: int, receiver: Any, slot: str | None = None) -> None:
    timer = QtCore.QTimer(QtCore.QCoreApplication.instance())
    timer.setSingleShot(True)
    timer.timeout.connect(receiver if slot is None else getattr(receiver, slot.split("(")[0]))
    timer.start(milliseconds)


def _accept_integer_color_format() -> None:
    original = QtGui.QColor.name
    QtGui.QColor.name = lambda self, form=0: original(self, QtGui.QColor.NameFormat(form))


def _make_qt_module() -> types.ModuleType:
    qt = types.ModuleType("qt", "PythonQt's qt module, stood in over PySide6.")
    for module in QT_MODULES:
        for name in dir(module):
            if name.startswith("Q"):
                setattr(qt, name, getattr(module, name))
    qt.QUiLoader = QtUiTools.QUiLoader  # replaced by the strict loader of ui_loader.py
    qt.Signal, qt.Slot = QtCore.Signal, QtCore.Slot
    sys.modules["qt"] = qt
    return qt
