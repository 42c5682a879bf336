"""slicer.ScriptedLoadableModule: the four base classes of a scripted module, and load_module() which opens
one.

Behaviour as in Slicer's Base/Python/slicer/ScriptedLoadableModule.py and, for load_module(),
Base/QTGUI/qSlicerScriptedLoadableModule.cxx and qSlicerScriptedLoadableModuleWidget.cxx.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
import unittest
from pathlib import Path
from typing import Any

import qt
import slicer
import slicer.util

from standin.module_logics import Module

__all__ = [
    "ScriptedLoadableModule",
    "ScriptedLoadableModuleLogic",
    "ScriptedLoadableModuleTest",
    "ScriptedLoadableModuleWidget",
]


class ScriptedLoadableModule:
    """Describes a module: its parent carries title, categories, dependencies, contributors and texts."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title = ""
        parent.categories = []
        parent.dependencies = []
        parent.contributors = []
        parent.helpText = ""
        parent.acknowledgementText = ""
        for suffix in (".svg", ".png"):
            icon = self.resourcePath(f"Icons/{self.moduleName}{suffix}")
            if os.path.isfile(icon):
                parent.icon = qt.QIcon(icon)
                break
        if not hasattr(slicer, "selfTests"):
            slicer.selfTests = {}
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, filename: str) -> str:
        return os.path.join(os.path.dirname(self.parent.path), "Resources", filename)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        page = slicer.app.documentationBaseUrl + docPage if docPage else None
        url = page or slicer.app.moduleDocumentationUrl(self.moduleName)
        return f'<p>For more information, see the <a href="{url}">online documentation</a>.</p>'

    def runTest(self, msec: int = 100, **kwargs: Any) -> None:
        test_class = getattr(importlib.import_module(self.__module__), self.moduleName + "Test", None)
        if test_class is None:
            raise AssertionError(f"Test case class not found: {self.__module__}.{self.moduleName}Test")
        test_case = test_class()
        test_case.messageDelay = msec
        test_case.runTest(**kwargs)


class ScriptedLoadableModuleWidget:
    """The panel. Without a parent it makes its own top-level widget and sets itself up."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = slicer.util.settingsValue("Developer/DeveloperMode", False, slicer.util.toBool)
        self.parent = parent or _make_panel()
        self.layout = self.parent.layout()
        if not parent:
            self.setup()
            self.parent.show()
        manager = slicer.app.moduleManager()
        manager.connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, filename: str) -> str:
        return os.path.join(os.path.dirname(slicer.util.modulePath(self.moduleName)), "Resources", filename)

    def setup(self) -> None:
        """Nothing by default; Slicer adds its developer section here in developer mode."""

    def cleanup(self) -> None:
        """Called before the module is unloaded or reloaded."""

    def _onModuleAboutToBeUnloaded(self, moduleName: str) -> None:
        if moduleName == self.moduleName:
            self.cleanup()
            manager = slicer.app.moduleManager()
            manager.disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def onReload(self) -> None:
        slicer.util.reloadScriptedModule(self.moduleName)

    def onReloadAndTest(self, **kwargs: Any) -> None:
        with slicer.util.tryWithErrorDisplay("Reload and Test failed."):
            self.onReload()
            slicer.selfTests[self.moduleName](**kwargs)


class ScriptedLoadableModuleLogic:
    """The computation; hands out the module's parameter node (a singleton unless isSingletonParameterNode is
    unset).
    """

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        if self.isSingletonParameterNode:
            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
            if node:
                node.SetAttribute("ModuleName", self.moduleName)  # lost when the scene was closed
                return node
        else:
            nodes = self.getAllParameterNodes()
            if nodes:
                return nodes[0]
        return slicer.mrmlScene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self) -> list[Any]:
        nodes = slicer.mrmlScene.GetNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self) -> Any:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """The module's self test: runTest() runs every method with "test" in its name, unless a module overrides
    it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.moduleTestNames: list[str] = []
        super().__init__(*args, **kwargs)
        self.enableScreenshots = False
        self.screenshotScaleFactor = 1.0
        self.moduleTestNames = [n for n in dir(self) if "test" in n and callable(getattr(self, n))]

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        slicer.util.delayDisplay(message, msec or requestedDelay or getattr(self, "messageDelay", 100))

    def runTest(self) -> None:
        if not self.moduleTestNames:
            logging.warning("No test is defined in %s", type(self).__name__)
            return
        self.setUpClass()
        for name in self.moduleTestNames:
            self.setUp()
            getattr(self, name)()
            self.tearDown()
        self.tearDownClass()


class ScriptedModule(Module):
    """qSlicerScriptedLoadableModule: also the ``parent`` that a module's constructor fills."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name, path=path)
        self.categories: list[str] = []
        self.dependencies: list[str] = []
        self.contributors: list[str] = []
        self.helpText = self.acknowledgementText = ""
        self.icon: Any = None
        self.hidden = False
        self.associatedNodeTypes: list[str] = []
        self.index = -1
        self.extensionName = ""
        self._representation: Any = None

    def widgetRepresentation(self) -> Any:
        """The panel, made and set up on the first call; its self() is the module's Python widget."""
        if self._representation is None:
            self._representation = self.createNewWidgetRepresentation()
        return self._representation

    def createNewWidgetRepresentation(self) -> Any:
        panel = _make_panel()
        panel._module_name = self.name
        panel.reload()
        return panel


slicer.qSlicerScriptedLoadableModule = ScriptedModule


def load_module(path: str | Path) -> ScriptedModule:
    """Load a module file and register it as Slicer does; ``.widgetRepresentation()`` opens its panel."""
    path = Path(path).resolve()
    name = path.stem
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    source = importlib.util.module_from_spec(spec)
    sys.modules[name] = source
    spec.loader.exec_module(source)
    module = ScriptedModule(name, str(path))
    setattr(slicer.modules, name.lower(), module)
    setattr(slicer.modules, name + "Instance", getattr(source, name)(module))
    slicer.app.moduleManager().moduleLoaded.emit(name)
    return module


def unload_module(module: ScriptedModule) -> None:
    """Clean up and close the module's panel, as Slicer does at exit."""
    slicer.app.moduleManager().moduleAboutToBeUnloaded.emit(module.name)
    if module._representation is not None:
        module._representation.delete()
        module._representation = None
    for attribute in (module.name.lower(), module.name + "Widget", module.name + "Instance"):
        vars(slicer.modules).pop(attribute, None)
    sys.modules.pop(module.name, None)


def _make_panel() -> Any:
    panel = slicer.qSlicerScriptedLoadableModuleWidget()
    panel.setLayout(qt.QVBoxLayout())
    panel.setMRMLScene(slicer.mrmlScene)
    return panel
