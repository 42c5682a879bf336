"""qMRMLNodeComboBox: the node selector, as in Slicer's Libs/MRML/Widgets/qMRMLNodeComboBox.cxx."""

from __future__ import annotations

from typing import Any

import slicer
from PySide6 import QtWidgets
from PySide6.QtCore import Property, Signal

from standin.widget_properties import stored_property, with_setters

CREATE, RENAME, DELETE = "+", "!rename", "!delete"


@with_setters
class qMRMLNodeComboBox(QtWidgets.QWidget):
    """Lists the nodes of the given types; adding a node to the scene never selects it."""

    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    nodeActivated = Signal(object)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    mrmlSceneChanged = Signal(object)
    _qt_signatures = {
        "currentNodeChanged": ["currentNodeChanged(vtkMRMLNode*)", "currentNodeChanged(bool)"],
        "nodeActivated": ["nodeActivated(vtkMRMLNode*)"],
        "nodeAdded": ["nodeAdded(vtkMRMLNode*)"],
        "nodeAddedByUser": ["nodeAddedByUser(vtkMRMLNode*)"],
        "mrmlSceneChanged": ["mrmlSceneChanged(vtkMRMLScene*)"],
    }

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._observer_tags: list[int] = []
        self._attributes: list[tuple[str, str, Any]] = []
        self._current_id = ""
        self._box = QtWidgets.QComboBox(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self._box.activated.connect(self._on_activated)

    # --- scene and filters ----------------------------------------------------------------------------------

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if self._scene is scene:
            return
        for tag in self._observer_tags:
            self._scene.RemoveObserver(tag)
        self._scene = scene
        self._observer_tags = []
        if scene is not None:
            events = (
                scene.NodeAddedEvent,
                scene.NodeRemovedEvent,
                scene.EndBatchProcessEvent,
                scene.EndCloseEvent,
            )
            self._observer_tags = [scene.AddObserver(event, lambda *_: self._refill()) for event in events]
        self._refill()
        self.mrmlSceneChanged.emit(scene)

    def addAttribute(self, node_type: str, name: str, value: Any = None) -> None:
        self._attributes.append((node_type, name, value))
        self._refill()

    def _accepts(self, node: Any, node_type: str) -> bool:
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        if not self.showChildNodeTypes and node.GetClassName() != node_type:
            return False
        if any(node.IsA(hidden) for hidden in self.hideChildNodeTypes):
            return False
        for restricted_type, name, value in self._attributes:
            found = node.GetAttribute(name)
            if node.IsA(restricted_type) and (found is None or (value is not None and found != str(value))):
                return False
        return True

    def _nodes(self) -> list[Any]:
        nodes: list[Any] = []
        for node_type in self.nodeTypes if self._scene else []:
            for node in self._scene.GetNodesByClass(node_type):
                if node not in nodes and self._accepts(node, node_type):
                    nodes.append(node)
        return nodes

    def nodeCount(self) -> int:
        return len(self._nodes())

    def nodeFromIndex(self, index: int) -> Any:
        nodes = self._nodes()
        return nodes[index] if 0 <= index < len(nodes) else None

    # --- the list -------------------------------------------------------------------------------------------

    def _refill(self) -> None:
        try:
            self._box.blockSignals(True)
        except RuntimeError:  # the widget is gone, the observer is about to be
            return
        nodes = self._nodes()
        self._box.clear()
        if self.noneEnabled:
            self._box.addItem(self.noneDisplay or "None", "")
        for node in nodes:
            self._box.addItem(node.GetName(), node.GetID())
        if self.addEnabled:
            for node_type in self.nodeTypes:
                tag = self._scene.GetTagByClassName(node_type) if self._scene else None
                self._box.addItem(f"Create new {tag or node_type}", CREATE + node_type)
        if self.renameEnabled:
            self._box.addItem("Rename current node", RENAME)
        if self.removeEnabled:
            self._box.addItem("Delete current node", DELETE)
        kept = self._current_id if self._current_id in [node.GetID() for node in nodes] else ""
        self._show(kept)
        self._box.blockSignals(False)
        self._select(kept)

    def _show(self, node_id: str) -> None:
        self._box.setCurrentIndex(self._box.findData(node_id) if node_id or self.noneEnabled else -1)

    def _select(self, node_id: str) -> None:
        if node_id == self._current_id:
            return
        self._current_id = node_id
        self.currentNodeChanged.emit(self.currentNode())
        self.currentNodeIDChanged.emit(node_id)

    def _on_activated(self, index: int) -> None:
        chosen = self._box.itemData(index) or ""
        if chosen.startswith(CREATE):
            self.nodeAddedByUser.emit(self.addNode(chosen.removeprefix(CREATE)))
        elif chosen == DELETE:
            if self.currentNode():
                self._scene.RemoveNode(self.currentNode())
        elif chosen != RENAME:
            self._select(chosen)
            self.nodeActivated.emit(self.currentNode())
        self._show(self._current_id)

    # --- current node ---------------------------------------------------------------------------------------

    def addNode(self, node_type: str | None = None) -> Any:
        node_type = node_type or self.nodeTypes[0]
        base = self.baseName or node_type.removeprefix("vtkMRML").removesuffix("Node")
        node = self._scene.AddNewNodeByClass(node_type, self._scene.GenerateUniqueName(base))
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAdded.emit(node)
        return node

    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self._current_id) if self._scene and self._current_id else None

    def setCurrentNode(self, node: Any) -> None:
        if node is not None and not isinstance(node, slicer.vtkMRMLNode):
            raise ValueError(
                f"qMRMLNodeComboBox.setCurrentNode: expected a MRML node, got {type(node).__name__}"
            )
        self.setCurrentNodeID(node.GetID() if node else "")

    def setCurrentNodeID(self, node_id: str | None) -> None:
        node_id = node_id or ""
        if node_id and self._box.findData(node_id) < 0:
            node_id = ""  # a node that the filters leave out selects none
        self._show(node_id)
        self._select(node_id)

    currentNodeID = Property(str, lambda self: self._current_id, setCurrentNodeID)
    nodeTypes = stored_property("QStringList", "nodeTypes", [], _refill)
    hideChildNodeTypes = stored_property("QStringList", "hideChildNodeTypes", [], _refill)
    addEnabled = stored_property(bool, "addEnabled", True, _refill)
    removeEnabled = stored_property(bool, "removeEnabled", True, _refill)
    renameEnabled = stored_property(bool, "renameEnabled", False, _refill)
    editEnabled = stored_property(bool, "editEnabled", False)
    noneEnabled = stored_property(bool, "noneEnabled", False, _refill)
    noneDisplay = stored_property(str, "noneDisplay", "", _refill)
    showHidden = stored_property(bool, "showHidden", False, _refill)
    showChildNodeTypes = stored_property(bool, "showChildNodeTypes", True, _refill)
    selectNodeUponCreation = stored_property(bool, "selectNodeUponCreation", True)
    baseName = stored_property(str, "baseName", "")
    interactionNodeSingletonTag = stored_property(str, "interactionNodeSingletonTag", "")
