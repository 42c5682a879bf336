"""Nodes of the scene -> the core's Volume and RegionOfInterest, both in world space (RAS, mm)."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk

from rareunet.geometry import RegionOfInterest
from rareunet.volume import Volume


def volumes_from_nodes(nodes: Any) -> tuple[Volume, ...]:
    """Volumes of one volume node, or of several, one for each channel; each on its own grid, in the node's memory.

    Args:
        nodes: a vtkMRMLScalarVolumeNode, or a list of them. Linear parent transforms are honoured.

    Raises:
        ValueError: no voxels, a label map, or a non-linear parent transform.
    """
    nodes = list(nodes) if isinstance(nodes, (list, tuple)) else [nodes]
    if not nodes or any(node is None for node in nodes):
        raise ValueError("no scan is chosen: load one and choose it.")
    for node in nodes:
        check_node("volumeNode", node, "vtkMRMLScalarVolumeNode")
    return tuple(Volume(_voxels(node), ijk_to_world(node), node.GetName()) for node in nodes)


def check_node(argument: str, node: Any, class_name: str) -> None:
    """Raises ValueError where something else than a node of a class was given."""
    if not (hasattr(node, "IsA") and node.IsA(class_name)):
        found = f"the {node.GetClassName()} {node.GetName()}" if hasattr(node, "GetName") else repr(node)
        raise ValueError(
            f"{argument} is {found}: a {class_name} is needed, such as slicer.util.getNode gives for its name."
        )


def ijk_to_world(node: Any) -> np.ndarray:
    """(4, 4) matrix from voxel indices (i, j, k) to world RAS, parent transforms included.

    Raises:
        ValueError: the node lies under a non-linear transform.
    """
    return parent_to_world(node) @ ijk_to_ras(node)


def ijk_to_ras(node: Any) -> np.ndarray:
    """(4, 4) matrix from voxel indices (i, j, k) to the node's own RAS, before parent transforms."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def parent_to_world(node: Any) -> np.ndarray:
    """(4, 4) matrix of the node's parent transforms; the identity without any."""
    transform = node.GetParentTransformNode()
    if transform is None:
        return np.eye(4)
    if not transform.IsTransformToWorldLinear():
        raise ValueError(
            f"{node.GetName()} lies under the non-linear transform {transform.GetName()}: only linear ones can be"
            " followed. Harden the transform on a copy and choose that, or take it off."
        )
    matrix = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToWorld(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def geometry_events(node: Any) -> tuple[int, ...]:
    """Events of a volume or region node after which it may lie or reach elsewhere."""
    is_region = node.IsA("vtkMRMLMarkupsNode")
    changed = slicer.vtkMRMLMarkupsNode.PointModifiedEvent if is_region else node.ImageDataModifiedEvent
    return vtk.vtkCommand.ModifiedEvent, node.TransformModifiedEvent, changed


def put_beside(node: Any, neighbour: Any) -> None:
    """Puts a node into the folder, study or patient of the subject hierarchy that its neighbour lies in."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    beside = hierarchy.GetItemByDataNode(neighbour) if hierarchy else 0
    if not beside:
        return
    item, parent = hierarchy.GetItemByDataNode(node), hierarchy.GetItemParent(beside)
    if item:
        hierarchy.SetItemParent(item, parent)
    else:
        hierarchy.CreateItem(parent, node)


def region_from_node(node: Any) -> RegionOfInterest | None:
    """Region of a vtkMRMLMarkupsROINode in world space, with its own axes; None for None.

    Raises:
        ValueError: the node is no region, has no extent, or lies under a non-linear transform.
    """
    if node is None:
        return None
    check_node("regionOfInterest", node, "vtkMRMLMarkupsROINode")
    parent_to_world(node)  # refuses what a box can't follow
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(node.GetObjectToWorldMatrix())
    object_to_world = slicer.util.arrayFromVTKMatrix(matrix)
    scale = np.linalg.norm(object_to_world[:3, :3], axis=0)
    size = np.array(node.GetSize()) * scale
    if node.GetNumberOfControlPoints() == 0 or not np.all(size > 0):
        raise ValueError(f"the region of interest {node.GetName()} has no extent: draw it, or choose none.")
    r, a, s = (float(value) for value in object_to_world[:3, 3])
    size_r, size_a, size_s = (float(value) for value in size)
    return RegionOfInterest((r, a, s), (size_r, size_a, size_s), object_to_world[:3, :3] / scale)


def _voxels(node: Any) -> np.ndarray:
    """(Z, Y, X); the node's own memory."""
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise ValueError(f"{node.GetName()} is a label map: choose the scan that it belongs to.")
    if node.GetImageData() is None or node.GetImageData().GetNumberOfPoints() == 0:
        raise ValueError(f"{node.GetName()} has no voxels: load the scan again or choose another one.")
    voxels = slicer.util.arrayFromVolume(node)
    if voxels is None or voxels.ndim != 3:
        raise ValueError(f"{node.GetName()} is not a scan with one number per voxel: choose a scalar volume.")
    return voxels
