"""slicer.app.coreIOManager(): loads and saves nodes and scenes through the real storage nodes and module
logics.

File types and their suffixes as the readers of Slicer's loadable modules register them
(Modules/Loadable/*/qSlicer*Reader).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import slicer

SUFFIXES = {
    "SegmentationFile": (".seg.nrrd", ".seg.nhdr", ".seg.vtm"),
    "MarkupsFile": (".mrk.json", ".json", ".fcsv"),
    "TransformFile": (".h5", ".tfm", ".mat"),
    "ModelFile": (".vtk", ".vtp", ".stl", ".ply", ".obj"),
    "SceneFile": (".mrml", ".mrb"),
    "TableFile": (".csv", ".tsv"),
    "VolumeFile": (
        ".nii.gz",
        ".nii",
        ".nrrd",
        ".nhdr",
        ".mha",
        ".mhd",
        ".hdr",
        ".img",
        ".dcm",
        ".tif",
        ".png",
        ".jpg",
    ),
}


class CoreIOManager:
    """The part of qSlicerCoreIOManager that slicer.util calls."""

    def __init__(self, logics: dict[str, Any], application_logic: Any) -> None:
        self._logics = logics
        self._application_logic = application_logic

    def fileType(self, file_name: str) -> str:
        lower = str(file_name).lower()
        return next((kind for kind, suffixes in SUFFIXES.items() if lower.endswith(suffixes)), "NoFile")

    def loadNodes(self, file_type: str, properties: dict, nodes: Any = None, messages: Any = None) -> bool:
        file_name = properties["fileName"]
        if not os.path.exists(file_name):
            return False
        if file_type == "SceneFile":
            return _load_scene(file_name, bool(properties.get("clear")))
        loaders = {
            "VolumeFile": self._load_volume,
            "SegmentationFile": self._load_segmentation,
            "TransformFile": lambda name, _: self._logics["transforms"].AddTransform(name, slicer.mrmlScene),
            "ModelFile": lambda name, _: self._logics["models"].AddModel(name),
            "MarkupsFile": self._load_markups,
        }
        if file_type not in loaders:
            raise NotImplementedError(f"The stand-in does not load {file_type} ({file_name})")
        node = loaders[file_type](file_name, properties)
        if node is not None and nodes is not None:
            nodes.AddItem(node)
        return node is not None

    def _load_volume(self, file_name: str, properties: dict) -> Any:
        options = 1 if properties.get("labelmap") else 0
        node = self._logics["volumes"].AddArchetypeVolume(
            file_name, _node_name(file_name, properties), options
        )
        if node is not None and properties.get("show", True):
            self._application_logic.GetSelectionNode().SetActiveVolumeID(node.GetID())
        return node

    def _load_segmentation(self, file_name: str, properties: dict) -> Any:
        name, logic = _node_name(file_name, properties), self._logics["segmentations"]
        if file_name.lower().endswith(SUFFIXES["SegmentationFile"]):
            return logic.LoadSegmentationFromFile(
                file_name, bool(properties.get("autoOpacities", True)), name
            )
        label_volume = self._logics["volumes"].AddArchetypeVolume(file_name, name, 1)
        if label_volume is None:
            return None
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        imported = logic.ImportLabelmapToSegmentationNode(label_volume, node)
        slicer.mrmlScene.RemoveNode(label_volume)
        if not imported:
            slicer.mrmlScene.RemoveNode(node)
            return None
        node.CreateDefaultDisplayNodes()
        return node

    def _load_markups(self, file_name: str, properties: dict) -> Any:
        node_id = self._logics["markups"].LoadMarkups(file_name, _node_name(file_name, properties))
        return slicer.mrmlScene.GetNodeByID(node_id) if node_id else None

    def fileWriterFileType(self, node: Any) -> str:
        return node.GetClassName()

    def fileWriterExtensions(self, node: Any) -> list[str]:
        return [f"file (*{suffix})" for suffixes in SUFFIXES.values() for suffix in suffixes]

    def extractKnownExtension(self, file_name: str, node: Any) -> str:
        lower = str(file_name).lower()
        known = (suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
        return next((suffix for suffix in known if lower.endswith(suffix)), Path(lower).suffix)

    def saveNodes(self, file_type: str, properties: dict, messages: Any = None) -> bool:
        file_name = str(properties["fileName"])
        if file_type == "SceneFile":
            return _save_scene(file_name)
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        if not node.GetStorageNode():
            node.AddDefaultStorageNode()
        storage = node.GetStorageNode()
        storage.SetFileName(file_name)
        if "useCompression" in properties:
            storage.SetUseCompression(properties["useCompression"])
        return bool(storage.WriteData(node))

    def exportNodes(
        self, node_ids: list[str], files: list[str], properties: Any, harden: bool, m: Any = None
    ) -> bool:
        if harden:
            raise NotImplementedError("The stand-in exports without hardening transforms only")
        for node_id, file_name in zip(node_ids, files, strict=True):
            node = slicer.mrmlScene.GetNodeByID(node_id)
            storage = node.CreateDefaultStorageNode()
            storage.UnRegister(None)
            storage.SetScene(slicer.mrmlScene)
            storage.SetFileName(str(file_name))
            if not storage.WriteData(node):
                return False
        return True


def _node_name(file_name: str, properties: dict) -> str:
    return properties.get("name") or Path(file_name).name.split(".")[0]


def _load_scene(file_name: str, clear: bool) -> bool:
    scene = slicer.mrmlScene
    if file_name.lower().endswith(".mrb"):
        return bool(scene.ReadFromMRB(file_name, clear))
    scene.SetURL(file_name)
    return bool(scene.Connect() if clear else scene.Import())


def _save_scene(file_name: str) -> bool:
    scene = slicer.mrmlScene
    if file_name.lower().endswith(".mrb"):
        return bool(scene.WriteToMRB(file_name))
    if not file_name.lower().endswith(".mrml"):
        return bool(scene.SaveSceneToSlicerDataBundleDirectory(file_name, None))
    scene.SetURL(file_name)
    return bool(scene.Commit())
