"""Volumes of the segments that this module made, as they are now, in a table node that Slicer shows and saves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk

from RAREUNetSegmentLib.own_segments import labelmap_name, layer_to_node, own_ids, segment_mask
from RAREUNetSegmentLib.scene import check_node, parent_to_world, put_beside

# The table refers to the segmentation: a copy of the segmentation would take a reference of its own along.
SEGMENTATION_ROLE = "RAREUNetSegmentation"


@dataclass(frozen=True)
class SegmentVolume:
    """A segment's name, voxels, and volume in world space, ml."""

    name: str
    voxels: int
    ml: float


def volumes_table(segmentation_node: Any) -> Any:
    """A vtkMRMLTableNode with a row for each segment that this module made: the same one for the same segmentation.

    Raises:
        ValueError: see measure(); the table stays as it is.
    """
    volumes = measure(segmentation_node)
    table = _table_of(segmentation_node) or _add_table(segmentation_node)
    with slicer.util.NodeModify(table):
        table.RemoveAllColumns()
        _add_column(table, vtk.vtkStringArray(), "Segment", [volume.name for volume in volumes])
        _add_column(table, vtk.vtkDoubleArray(), "Volume (ml)", [volume.ml for volume in volumes])
        _add_column(table, vtk.vtkIntArray(), "Voxels", [volume.voxels for volume in volumes])
        table.SetColumnUnitLabel("Volume (ml)", "ml")
    return table


def measure(segmentation_node: Any) -> list[SegmentVolume]:
    """Volumes of the segments that this module made, in their order; whoever edited them since.

    Raises:
        ValueError: no segmentation of the scene, none of this module's segments in it, one that is not stored as
            voxels, or a non-linear parent transform.
    """
    check_node("segmentationNode", segmentation_node, "vtkMRMLSegmentationNode")
    name, segmentation = segmentation_node.GetName(), segmentation_node.GetSegmentation()
    if not slicer.mrmlScene.IsNodePresent(segmentation_node):
        raise ValueError(f"{name} was removed from the scene: segment the scan again.")
    ids = own_ids(segmentation)
    if not ids:
        raise ValueError(
            f"{name} holds no segments that RAREUNet made: choose a segmentation that does. For others there is the"
            " module Segment Statistics."
        )
    to_world = parent_to_world(segmentation_node)
    return [_measure(segmentation.GetSegment(i), name, to_world) for i in ids]


def show(table: Any) -> None:
    """Brings a table node into the view for tables, in a layout that has one."""
    layouts = slicer.app.layoutManager()
    if layouts is not None:  # as there is without a main window
        layouts.setLayout(slicer.modules.tables.logic().GetLayoutWithTable(layouts.layout))
    logic = slicer.app.applicationLogic()
    logic.GetSelectionNode().SetActiveTableID(table.GetID())
    logic.PropagateTableSelection()


def _measure(segment: Any, node_name: str, to_world: np.ndarray) -> SegmentVolume:
    """Volume of a segment whose node's frame lies in world space by this (4, 4) matrix."""
    if segment.GetRepresentation(labelmap_name()) is None:
        raise ValueError(
            f"{segment.GetName()} of {node_name} is not stored as voxels, which are counted: create the representation"
            " 'Binary labelmap' in the module Segmentations."
        )
    voxel_mm3 = abs(np.linalg.det((to_world @ layer_to_node(segment))[:3, :3]))
    voxels = int(np.count_nonzero(segment_mask(segment)[0]))
    return SegmentVolume(segment.GetName(), voxels, float(voxels * voxel_mm3 / 1000))


def _table_of(segmentation_node: Any) -> Any:
    tables = slicer.util.getNodesByClass("vtkMRMLTableNode")
    ours = (table for table in tables if table.GetNodeReference(SEGMENTATION_ROLE) is segmentation_node)
    return next(ours, None)


def _add_table(segmentation_node: Any) -> Any:
    name = slicer.mrmlScene.GenerateUniqueName(f"{segmentation_node.GetName()} volumes")
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
    table.SetNodeReferenceID(SEGMENTATION_ROLE, segmentation_node.GetID())
    table.SetUseColumnTitleAsColumnHeader(True)
    put_beside(table, segmentation_node)
    return table


def _add_column(table: Any, array: Any, name: str, values: list[Any]) -> None:
    array.SetName(name)
    for value in values:
        array.InsertNextValue(value)
    table.AddColumn(array)
