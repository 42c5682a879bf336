"""slicer.parameterNodeWrapper for the types in parameter_types.py (Slicer's
parameterNodeWrapper/wrapper.py).
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any

import qt
import slicer.util
import vtk

from standin.gui_connectors import Connector, create_connector
from standin.parameter_types import (
    Choice,
    Decimals,
    Default,
    Maximum,
    Minimum,
    Parameter,
    SingleStep,
    WithinRange,
)

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Maximum",
    "Minimum",
    "SingleStep",
    "SlicerParameterNamePropertyName",
    "WithinRange",
    "isParameterNodeWrapper",
    "parameterNodeWrapper",
]

SlicerParameterNamePropertyName = "SlicerParameterName"


class ParameterNodeWrapper:
    """Base of every decorated class: the values lie in parameterNode, a vtkMRMLScriptedModuleNode."""

    allParameters: dict[str, Parameter] = {}
    _is_parameter_node_wrapper = True

    def __init__(self, parameterNode: Any) -> None:
        self.parameterNode = parameterNode
        self._connectors: dict[int, dict[str, Connector]] = {}
        self._observer_tags: dict[int, int] = {}
        self._next_tag = 0
        self._updating_gui = False
        for parameter in self.allParameters.values():
            if not parameter.is_in(parameterNode):
                parameter.write(parameterNode, parameter.default)

    def getValue(self, name: str) -> Any:
        return self._parameter(name).read(self.parameterNode)

    def setValue(self, name: str, value: Any) -> None:
        self._parameter(name).write(self.parameterNode, value)

    def default(self, name: str) -> Default:
        return Default(self._parameter(name).default)

    def dataType(self, name: str) -> Any:
        return self._parameter(name).declared

    # NodeModify() and VTKObservationMixin take a wrapper for its node
    def StartModify(self) -> bool:
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified: bool) -> int:
        return self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event: Any, callback: Callable, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()

    def connectGui(self, gui: Any) -> int:
        """Connect every widget with the dynamic property SlicerParameterName; returns the tag for
        disconnectGui.
        """
        is_widget = getattr(gui, "isWidgetType", lambda: False)()
        widgets = gui.findChildren(qt.QWidget) if is_widget else vars(gui).values()
        named = {w.property(SlicerParameterNamePropertyName): w for w in widgets}
        return self.connectParametersToGui({name: widget for name, widget in named.items() if name})

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        connectors = {
            name: create_connector(widget, self._parameter(name)) for name, widget in mapping.items()
        }
        tag = self._next_tag
        self._next_tag += 1
        self._connectors[tag] = connectors
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.on_changed(self._make_callback(name, connector))
        self._observer_tags[tag] = self.AddObserver(
            vtk.vtkCommand.ModifiedEvent, lambda *_: self._update_gui()
        )
        return tag

    def disconnectGui(self, tag: int) -> None:
        for connector in self._connectors.pop(tag, {}).values():
            connector.on_changed(None)
        if tag in self._observer_tags:
            self.RemoveObserver(self._observer_tags.pop(tag))

    def _parameter(self, name: str) -> Parameter:
        if name not in self.allParameters:
            raise ValueError(
                f"Cannot find a param with the given name: {name}; there are {list(self.allParameters)}"
            )
        return self.allParameters[name]

    def _make_callback(self, name: str, connector: Connector) -> Callable[[], None]:
        def callback() -> None:
            if not self._updating_gui:
                with slicer.util.NodeModify(self):
                    self.setValue(name, connector.read())

        return callback

    def _update_gui(self) -> None:
        if self._updating_gui:
            return
        self._updating_gui = True
        try:
            for connectors in self._connectors.values():
                for name, connector in connectors.items():
                    connector.write(self.getValue(name))
        finally:
            self._updating_gui = False


def parameterNodeWrapper(classtype: type | None = None) -> Any:
    """Class decorator: the annotated members become properties that lie in a parameter node."""
    if classtype is None:
        return parameterNodeWrapper
    members = typing.get_type_hints(classtype, include_extras=True)
    parameters = {
        name: Parameter(name, hint, getattr(classtype, name, ...)) for name, hint in members.items()
    }
    for name in parameters:
        if hasattr(ParameterNodeWrapper, name):
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
    namespace = {k: v for k, v in vars(classtype).items() if k not in ("__dict__", "__weakref__")}
    namespace |= {name: _make_property(name) for name in parameters}
    namespace["allParameters"] = parameters
    bases = tuple(base for base in classtype.__bases__ if base is not object)
    return type(classtype.__name__, (*bases, ParameterNodeWrapper), namespace)


def isParameterNodeWrapper(classOrObj: Any) -> bool:
    return getattr(classOrObj, "_is_parameter_node_wrapper", False)


def _make_property(name: str) -> property:
    return property(lambda self: self.getValue(name), lambda self, value: self.setValue(name, value))
