"""The objects that slicer.app hands out: module manager, layout manager, command options."""

from __future__ import annotations

from typing import Any

import slicer
from PySide6 import QtCore
from PySide6.QtCore import Signal

from standin import module_logics


class ModuleManager(QtCore.QObject):
    """qSlicerModuleManager and its factory manager, as far as slicer.util uses them."""

    moduleAboutToBeUnloaded = Signal(str)
    moduleLoaded = Signal(str)

    def module(self, name: str) -> Any:
        return getattr(slicer.modules, name.lower(), None)

    def factoryManager(self) -> ModuleManager:
        return self

    def loadedModuleNames(self) -> list[str]:
        return [
            value.name for value in vars(slicer.modules).values() if isinstance(value, module_logics.Module)
        ]


class LayoutManager(QtCore.QObject):
    """A layout manager without views: counts what it is asked to do."""

    layoutChanged = Signal(int)

    def __init__(self, parent: QtCore.QObject) -> None:
        super().__init__(parent)
        self._layout = 3  # vtkMRMLLayoutNode::SlicerLayoutFourUpView
        self._slice_view_resets = 0

    def setLayout(self, layout: int) -> None:
        self._layout = int(layout)
        self.layoutChanged.emit(self._layout)

    layout = property(lambda self: self._layout, lambda self, value: self.setLayout(value))

    def resetSliceViews(self) -> None:
        self._slice_view_resets += 1

    def resetThreeDViews(self) -> None:
        """Accepted: there is no view."""

    def sliceViewNames(self) -> tuple[str, ...]:
        return ()

    threeDViewCount = 0


class CommandOptions:
    """qSlicerCoreCommandOptions, the two options a script may look at."""

    testingEnabled = False
    runPythonAndExit = False
