"""The real module logics of slicer-core, registered the way Slicer's loadable modules register themselves."""

from __future__ import annotations

import sys
import tempfile
import types
from typing import Any

import slicer
import vtk

# attribute of slicer.modules -> (logic class, name in the application logic)
LOGIC_CLASSES = {
    "colors": ("vtkMRMLColorLogic", "Colors"),
    "volumes": ("vtkSlicerVolumesLogic", "Volumes"),
    "subjecthierarchy": ("vtkSlicerSubjectHierarchyModuleLogic", "SubjectHierarchy"),
    "terminologies": ("vtkSlicerTerminologiesModuleLogic", "Terminologies"),
    "segmentations": ("vtkSlicerSegmentationsModuleLogic", "Segmentations"),
    "markups": ("vtkSlicerMarkupsLogic", "Markups"),
    "cropvolume": ("vtkSlicerCropVolumeLogic", "CropVolume"),
    "transforms": ("vtkSlicerTransformLogic", "Transforms"),
    "models": ("vtkSlicerModelsLogic", "Models"),
    "plots": ("vtkSlicerPlotsLogic", "Plots"),
    "tables": ("vtkSlicerTablesLogic", "Tables"),  # Modules/Loadable/Tables/qSlicerTablesModule.cxx
}


class Module:
    """A module as ``slicer.modules.<name>`` shows it: name, title, path and logic()."""

    def __init__(self, name: str, logic: Any = None, path: str = "") -> None:
        self.name = name
        self.title = name
        self.path = path
        self._logic = logic

    def logic(self) -> Any:
        return self._logic


def install(scene: Any, application_logic: Any) -> dict[str, Any]:
    """Make ``slicer.modules`` and return the logics by attribute name."""
    modules = types.ModuleType("slicer.modules", "The loaded modules.")
    sys.modules["slicer.modules"] = slicer.modules = modules
    logics: dict[str, Any] = {}
    share = tempfile.mkdtemp(prefix="slicer-share-")
    warnings = vtk.vtkObject.GetGlobalWarningDisplay()
    # slicer-core comes without the terminology files, and says so six times
    vtk.vtkObject.GlobalWarningDisplayOff()
    for attribute, (class_name, name) in LOGIC_CLASSES.items():
        if not hasattr(slicer, class_name):
            continue
        logic = getattr(slicer, class_name)()
        if hasattr(logic, "SetModuleShareDirectory"):
            logic.SetModuleShareDirectory(share)
        logic.SetMRMLApplicationLogic(application_logic)
        logic.SetMRMLScene(scene)
        application_logic.SetModuleLogic(name, logic)
        logics[attribute] = logic
        setattr(modules, attribute, Module(name, logic))
    vtk.vtkObject.SetGlobalWarningDisplay(warnings)
    logics["colors"].AddDefaultColorNodes()
    logics["remote"] = _install_remote_io(scene, application_logic)
    _follow_nodes_in_subject_hierarchy(scene)
    return logics


def _install_remote_io(scene: Any, application_logic: Any) -> tuple[Any, Any]:
    """Reading a MRB goes through the data IO manager (qSlicerCoreApplication::init in Base/QTCore)."""
    remote = slicer.vtkMRMLRemoteIOLogic()
    remote.SetMRMLScene(scene)
    remote.SetMRMLApplicationLogic(application_logic)
    remote.GetCacheManager().SetRemoteCacheDirectory(tempfile.mkdtemp(prefix="slicer-cache-"))
    data_io = slicer.vtkDataIOManagerLogic()
    data_io.SetMRMLScene(scene)
    data_io.SetMRMLApplicationLogic(application_logic)
    data_io.SetAndObserveDataIOManager(remote.GetDataIOManager())
    remote.AddDataIOToScene()
    return remote, data_io


def _follow_nodes_in_subject_hierarchy(scene: Any) -> None:
    """Every node shown to the user gets an item, and loses it (qSlicerSubjectHierarchyPluginLogic.cxx, a Qt
    class).
    """
    shown_classes = ("vtkMRMLDisplayableNode", "vtkMRMLTableNode", "vtkMRMLTextNode")

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def on_added(caller: Any, event: str, node: Any) -> None:
        if caller.IsImporting() or not node or node.GetHideFromEditors():
            return
        if any(node.IsA(name) for name in shown_classes):
            hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(caller)
            if not hierarchy.GetItemByDataNode(node):
                hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def on_about_to_be_removed(caller: Any, event: str, node: Any) -> None:
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(caller)
        item = hierarchy.GetItemByDataNode(node) if hierarchy and node is not hierarchy else 0
        if item:
            hierarchy.RemoveItem(item, False, False)

    scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, on_added)
    scene.AddObserver(slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, on_about_to_be_removed)
