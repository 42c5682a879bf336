"""A region of interest of the size that a model was trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _

from RAREUNetSegmentLib.scene import ijk_to_world

REGION_NAME = "RAREUNet region"


def place_region(volume_node: Any, extent_mm: tuple[float, float, float], region_node: Any = None) -> Any:
    """Places an axis-aligned vtkMRMLMarkupsROINode at the crosshair; where that is not on the scan, at the scan's
    centre, which a dialog says.

    Args:
        volume_node: the scan.
        extent_mm: size along (S, A, R).
        region_node: an earlier one, moved if this function made it and it lies under no transform.

    Returns:
        the region's node.
    """
    crosshair = _crosshair_on(volume_node)
    center = crosshair or _center(volume_node)
    ours = region_node is not None and region_node.GetAttribute("RAREUNet.Region") == "1"
    if not ours or region_node.GetParentTransformNode() is not None:
        name = slicer.mrmlScene.GenerateUniqueName(REGION_NAME)
        region_node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", name)
        region_node.SetAttribute("RAREUNet.Region", "1")
        region_node.CreateDefaultDisplayNodes()
        region_node.GetDisplayNode().SetFillOpacity(0.05)
    region_node.SetAndObserveObjectToNodeMatrix(vtk.vtkMatrix4x4())
    region_node.SetCenterWorld(*center)
    size_s, size_a, size_r = extent_mm
    region_node.SetSize(size_r, size_a, size_s)
    if crosshair is None:
        slicer.util.infoDisplay(
            _(
                "The crosshair is not on the scan, so the region was placed at the scan's centre. To set the crosshair,"
                " hold Shift and move the mouse in a slice view; then place the region again, or drag it."
            )
        )
    return region_node


def _crosshair_on(volume_node: Any) -> list[float] | None:
    """The crosshair's position (R, A, S); None where it was never moved or lies off the scan."""
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    position = list(crosshair.GetCrosshairRAS()) if crosshair else [0.0, 0.0, 0.0]
    if not any(position):
        return None
    index = np.linalg.inv(ijk_to_world(volume_node)) @ [*position, 1.0]
    size = volume_node.GetImageData().GetDimensions()
    return position if all(-0.5 <= i <= n - 0.5 for i, n in zip(index, size, strict=False)) else None


def _center(volume_node: Any) -> list[float]:
    middle = [(n - 1) / 2 for n in volume_node.GetImageData().GetDimensions()]
    return [float(value) for value in (ijk_to_world(volume_node) @ [*middle, 1.0])[:3]]
