"""The qMRML and qSlicer widgets used by the panels, over PySide6 (Slicer's Libs/MRML/Widgets, Segmentations
widgets).
"""

from __future__ import annotations

import sys
from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Signal

from standin.node_combo_box import qMRMLNodeComboBox
from standin.widget_properties import stored_property, with_setters

__all__ = [
    "qMRMLNodeComboBox",
    "qMRMLSegmentationShow3DButton",
    "qMRMLSegmentsTableView",
    "qMRMLWidget",
    "qSlicerScriptedLoadableModuleWidget",
    "qSlicerWidget",
]


class SceneHolder:
    """mrmlScene() and setMRMLScene() of a widget that has the signal mrmlSceneChanged."""

    def mrmlScene(self) -> Any:
        return self.__dict__.get("_scene")

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self.mrmlScene():
            self.__dict__["_scene"] = scene
            self.mrmlSceneChanged.emit(scene)


SCENE_SIGNATURE = {"mrmlSceneChanged": ["mrmlSceneChanged(vtkMRMLScene*)"]}


@with_setters
class qMRMLWidget(SceneHolder, QtWidgets.QWidget):
    """A widget with a scene (qMRMLWidget.h)."""

    mrmlSceneChanged = Signal(object)
    _qt_signatures = SCENE_SIGNATURE


@with_setters
class qSlicerWidget(qMRMLWidget):
    """Top widget of most .ui files (Base/QTGUI/qSlicerWidget.h)."""


@with_setters
class qSlicerScriptedLoadableModuleWidget(qSlicerWidget):
    """The parent of a scripted module's widget (Base/QTGUI/qSlicerScriptedLoadableModuleWidget.h)."""

    def self(self) -> Any:  # the name of the C++ method, which hands out the Python object
        return self.__dict__.get("_python_widget")

    def reload(self) -> None:
        """Make the Python widget (again) from the module's source and set it up."""
        name = self._module_name
        self._python_widget = getattr(sys.modules[name], name + "Widget")(self)
        setattr(slicer.modules, name + "Widget", self._python_widget)
        self._python_widget.setup()

    isEntered = property(lambda self: self.__dict__.get("_entered", False))  # qSlicerAbstractModuleWidget.h

    def enter(self) -> None:
        self._entered = True
        self._call("enter")

    def exit(self) -> None:
        self._entered = False
        self._call("exit")

    def _call(self, name: str) -> None:
        method = getattr(self.self(), name, None)
        if method is not None:
            method()


@with_setters
class qMRMLSegmentsTableView(SceneHolder, QtWidgets.QWidget):
    """The segments of a segmentation node, one row each (qMRMLSegmentsTableView.h)."""

    mrmlSceneChanged = Signal(object)
    selectionChanged = Signal(object, object)
    segmentationNodeChanged = Signal(object)
    _qt_signatures = {
        **SCENE_SIGNATURE,
        "selectionChanged": ["selectionChanged(QItemSelection,QItemSelection)"],
    }
    # enum SelectionMode comes from QAbstractItemView: its integer values
    NoSelection, SingleSelection, MultiSelection, ExtendedSelection = 0, 1, 2, 3

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self._observers: list[tuple[Any, int]] = []
        self._table = QtWidgets.QTableWidget(0, 1, self)
        self._table.setHorizontalHeaderLabels(["Name"])
        self._table.horizontalHeader().setStretchLastSection(True)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._table)

    def segmentationNode(self) -> Any:
        return self._node

    def setSegmentationNode(self, node: Any) -> None:
        for segmentation, tag in self._observers:
            segmentation.RemoveObserver(tag)
        self._node, self._observers = node, []
        if node is not None:
            segmentation = node.GetSegmentation()
            for event in (
                segmentation.SegmentAdded,
                segmentation.SegmentRemoved,
                segmentation.SegmentModified,
            ):
                tag = segmentation.AddObserver(event, lambda *_: self._refill())
                self._observers.append((segmentation, tag))
        self._refill()

    def _refill(self) -> None:
        segmentation = self._node.GetSegmentation() if self._node else None
        ids = segmentation.GetSegmentIDs() if segmentation else []
        self._table.setRowCount(len(ids))
        for row, segment_id in enumerate(ids):
            item = QtWidgets.QTableWidgetItem(segmentation.GetSegment(segment_id).GetName())
            item.setData(QtCore.Qt.UserRole, segment_id)
            self._table.setItem(row, 0, item)

    def segmentCount(self) -> int:
        return self._table.rowCount

    def selectedSegmentIDs(self) -> list[str]:
        return [item.data(QtCore.Qt.UserRole) for item in self._table.selectedItems()]

    def setSelectedSegmentIDs(self, segment_ids: list[str]) -> None:
        self._table.clearSelection()
        for row in range(self._table.rowCount):
            if self._table.item(row, 0).data(QtCore.Qt.UserRole) in segment_ids:
                self._table.item(row, 0).setSelected(True)

    selectionMode = stored_property(int, "selectionMode", 3)
    headerVisible = stored_property(bool, "headerVisible", True)
    visibilityColumnVisible = stored_property(bool, "visibilityColumnVisible", True)
    colorColumnVisible = stored_property(bool, "colorColumnVisible", True)
    opacityColumnVisible = stored_property(bool, "opacityColumnVisible", True)
    statusColumnVisible = stored_property(bool, "statusColumnVisible", False)
    filterBarVisible = stored_property(bool, "filterBarVisible", False)
    readOnly = stored_property(bool, "readOnly", False)


@with_setters
class qMRMLSegmentationShow3DButton(SceneHolder, QtWidgets.QPushButton):
    """Shows a segmentation in 3D: makes or removes its closed surfaces
    (qMRMLSegmentationShow3DButton.cxx).
    """

    mrmlSceneChanged = Signal(object)
    _qt_signatures = SCENE_SIGNATURE

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__("Show 3D", parent)
        self.setCheckable(True)
        self._node: Any = None
        self.toggled.connect(self._show_or_hide)

    def segmentationNode(self) -> Any:
        return self._node

    def setSegmentationNode(self, node: Any) -> None:
        self._node = node
        shown = bool(node) and node.GetSegmentation().ContainsRepresentation("Closed surface")
        self.blockSignals(True)
        self.setChecked(shown)
        self.blockSignals(False)

    def _show_or_hide(self, shown: bool) -> None:
        if self._node is None:
            return
        if shown:
            self._node.CreateClosedSurfaceRepresentation()
        else:
            self._node.RemoveClosedSurfaceRepresentation()


def install() -> None:
    """Put the widget classes into the package ``slicer``, where PythonQt puts them."""
    for name in __all__:
        setattr(slicer, name, globals()[name])
