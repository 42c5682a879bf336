"""The segments that this module made, told from the user's by a mark of what they held when they were written."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util import numpy_support

from rareunet.geometry import bounding_box, corners_ras
from rareunet.prediction import Prediction
from RAREUNetSegmentLib.place import are_two_places

STRUCTURE_TAG = "RAREUNet.Structure"  # "model:label value"
WRITTEN_TAG = "RAREUNet.Written"  # what the segment was when it was written


def segment_id(model_name: str, label_value: int) -> str:
    return f"RAREUNet_{model_name}_{label_value}"


def mark_as_written(segment: Any) -> None:
    """Notes name and voxels, so that what a user does to them is seen later."""
    segment.SetTag(WRITTEN_TAG, _state(segment))


def own_ids(segmentation: Any) -> list[str]:
    """Ids of the segments that this module made. A copy that the user made has our tags and another id."""
    return [i for i in segmentation.GetSegmentIDs() if _is_own(i, segmentation.GetSegment(i))]


def ids_replaced_by(prediction: Prediction, segmentation: Any) -> list[str]:
    """Of these the ones of the prediction's model and structures."""
    structures = {(prediction.model["name"], label.value) for label in prediction.labels}
    return [i for i in own_ids(segmentation) if structure_of(segmentation.GetSegment(i)) in structures]


def changed_ids_replaced_by(prediction: Prediction, segmentation: Any) -> list[str]:
    """Of these the ones that were renamed or edited since they were written."""
    own = ((i, segmentation.GetSegment(i)) for i in ids_replaced_by(prediction, segmentation))
    return [i for i, segment in own if _tag(segment, WRITTEN_TAG) != _state(segment)]


def elsewhere_ids_replaced_by(prediction: Prediction, segmentation: Any, place: np.ndarray) -> list[str]:
    """Of these the ones that hardly lie in a place, (N, 3) points in the segments' frame: of the other side."""
    own = ((i, segmentation.GetSegment(i)) for i in ids_replaced_by(prediction, segmentation))
    corners = ((i, _corners(segment)) for i, segment in own)
    return [i for i, points in corners if points is not None and are_two_places(points, place)]


def structure_of(segment: Any) -> tuple[str, int]:
    """Model and label value of a segment that carries our tag; ("", 0) otherwise."""
    model_name, _, value = _tag(segment, STRUCTURE_TAG).rpartition(":")
    return model_name, int(value or 0)


def segment_mask(segment: Any) -> tuple[np.ndarray, tuple[int, int, int]]:
    """bool (Z, Y, X) of the segment's layer, and the index (z, y, x) of its first voxel."""
    layer = segment.GetRepresentation(labelmap_name())
    scalars = layer.GetPointData().GetScalars() if layer else None
    if scalars is None:
        return np.zeros((0, 0, 0), dtype=bool), (0, 0, 0)
    x0, x1, y0, y1, z0, z1 = layer.GetExtent()
    values = numpy_support.vtk_to_numpy(scalars).reshape(z1 - z0 + 1, y1 - y0 + 1, x1 - x0 + 1)
    return values == segment.GetLabelValue(), (z0, y0, x0)


def layer_to_node(segment: Any) -> np.ndarray:
    """(4, 4) matrix from the voxels (i, j, k) of the segment's layer to its node's frame, which VTK calls world."""
    matrix = vtk.vtkMatrix4x4()
    segment.GetRepresentation(labelmap_name()).GetImageToWorldMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def labelmap_name() -> str:
    return slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()


def _corners(segment: Any) -> np.ndarray | None:
    """(8, 3) corners of the box of voxels that holds a segment, mm in its node's frame; None for an empty one."""
    mask, start = segment_mask(segment)
    if not mask.any():
        return None
    box, to_box = bounding_box(mask), np.eye(4)
    to_box[:3, 3] = [first + part.start for first, part in zip(start, box, strict=True)][::-1]
    return corners_ras(mask[box].shape, layer_to_node(segment) @ to_box)


def _state(segment: Any) -> str:
    """Hash of the name and of the voxels, however large the layer around them is."""
    mask, start = segment_mask(segment)
    box = bounding_box(mask)
    places = [f"{first + part.start}:{first + part.stop}" for first, part in zip(start, box, strict=True)]
    state = hashlib.sha256(f"{segment.GetName()} {places if mask.any() else 'empty'}".encode())
    state.update(np.packbits(mask[box]).tobytes())
    return state.hexdigest()


def _is_own(id_: str, segment: Any) -> bool:
    return bool(_tag(segment, STRUCTURE_TAG)) and id_ == segment_id(*structure_of(segment))


def _tag(segment: Any, name: str) -> str:
    value = vtk.reference("")
    return str(value) if segment.GetTag(name, value) else ""
