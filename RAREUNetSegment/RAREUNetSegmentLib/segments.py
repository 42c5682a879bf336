"""Label map -> segmentation node: named, coloured, coded segments on the scan's grid, beside what the user made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util import numpy_support

from rareunet.bundle import Label
from rareunet.geometry import canonical_spacing
from rareunet.prediction import Prediction
from RAREUNetSegmentLib import own_segments
from RAREUNetSegmentLib.own_segments import STRUCTURE_TAG, labelmap_name, segment_mask
from RAREUNetSegmentLib.scene import ijk_to_world, put_beside

SEGMENT_CONTEXT = "Segmentation category and type - DICOM master list"
REGION_CONTEXT = "Anatomic codes - DICOM master list"
NO_CODE = ("", "", "")


def write_segmentation(
    prediction: Prediction, volume_node: Any, place: str, segmentation_node: Any = None
) -> Any:
    """Puts a prediction into a segmentation node, under the scan's transform and in its study.

    Everything is made and checked before the scene is touched. Our segments of the same structures and model are
    replaced, and whoever calls has looked whether a user worked on them, and whether they lie elsewhere; others stay
    as they are.

    Args:
        prediction: the answer, on volume_node's grid.
        volume_node: the scan.
        place: where in it the answer was computed, in words.
        segmentation_node: where to; None makes a new node.

    Returns:
        the segmentation node.

    Raises:
        ValueError: segmentation_node can't take the segments.
    """
    if segmentation_node is not None:
        _check_target(segmentation_node, volume_node, prediction)
    segments = make_segments(prediction.label_map, prediction.labels, volume_node, prediction.model["name"])
    scene = slicer.mrmlScene
    is_new = segmentation_node is None
    if not is_new:
        segmentation_node.UndoEnabledOn()  # or its state is not saved
    scene.SaveStateForUndo()
    if is_new:
        segmentation_node = scene.AddNewNodeByClass(
            "vtkMRMLSegmentationNode", scene.GenerateUniqueName(f"{volume_node.GetName()} segmentation")
        )
        segmentation_node.UndoEnabledOn()
    backup = None if is_new else _Backup(segmentation_node)
    try:
        _fill(segmentation_node, segments, volume_node, prediction, place)
    except Exception:
        if backup is None:
            scene.RemoveNode(segmentation_node)
        else:
            backup.restore()
        raise
    return segmentation_node


def make_segments(
    label_map: np.ndarray, labels: Sequence[Label], volume_node: Any, model_name: str
) -> dict[str, Any]:
    """One vtkSegment per label by segment id, all on one shared layer with the values 1..N.

    Args:
        label_map: (Z, Y, X) on the node's grid, in the labels' own values.
    """
    layer_values = np.zeros(label_map.shape, dtype=np.uint8 if len(labels) < 256 else np.uint16)
    for number, label in enumerate(labels, start=1):
        layer_values[label_map == label.value] = number
    layer = _layer(layer_values, volume_node)
    segments = {}
    for number, label in enumerate(labels, start=1):
        segment = slicer.vtkSegment()
        segment.SetName(label.name)
        segment.SetColor(*(value / 255 for value in label.color))
        segment.SetLabelValue(number)
        segment.AddRepresentation(labelmap_name(), layer)
        segment.SetTag(STRUCTURE_TAG, f"{model_name}:{label.value}")
        if label.terminology:
            segment.SetTerminology(terminology_entry(label.terminology))
        segments[own_segments.segment_id(model_name, label.value)] = segment
    return segments


def terminology_entry(terminology: dict[str, Sequence[str]]) -> str:
    """Serialises codes, each [scheme, value, meaning], the way segments carry them."""

    def code(key: str) -> tuple[str, str, str]:
        scheme, value, meaning = terminology.get(key, NO_CODE)
        return value, scheme, meaning

    region_context = REGION_CONTEXT if "region" in terminology else ""
    return slicer.vtkSlicerTerminologiesModuleLogic.SerializeTerminologyEntry(
        SEGMENT_CONTEXT,
        *(*code("category"), *code("type"), *code("type_modifier")),
        region_context,
        *(*code("region"), *code("region_modifier")),
    )


def segment_voxel_counts(segmentation_node: Any) -> dict[str, int]:
    """Voxels of each segment by segment id, counted in the segments' own layers."""
    segmentation = segmentation_node.GetSegmentation()
    ids = segmentation.GetSegmentIDs()
    return {i: int(np.count_nonzero(segment_mask(segmentation.GetSegment(i))[0])) for i in ids}


def shows_another_scan(segmentation_node: Any, volume_node: Any) -> bool:
    """Whether this module made the segmentation (None is allowed), and of another scan."""
    if segmentation_node is None or not segmentation_node.GetAttribute("RAREUNet.Model"):
        return False
    return (
        volume_node is not None and segmentation_node.GetNodeReference(_reference_role()) is not volume_node
    )


def _check_target(segmentation_node: Any, volume_node: Any, prediction: Prediction) -> None:
    """Refuses a node whose other segments, which the prediction's do not replace, would move or be converted."""
    segmentation = segmentation_node.GetSegmentation()
    if set(own_segments.ids_replaced_by(prediction, segmentation)) == set(segmentation.GetSegmentIDs()):
        return
    name = segmentation_node.GetName()
    if segmentation_node.GetParentTransformNode() is not volume_node.GetParentTransformNode():
        raise ValueError(
            f"{name} holds other segments and lies under another transform than {volume_node.GetName()}:"
            " choose a new segmentation, or put both under the same transform."
        )
    if segmentation.GetSourceRepresentationName() != labelmap_name():
        raise ValueError(
            f"{name} holds other segments, stored as {segmentation.GetSourceRepresentationName().lower()}:"
            " choose a new segmentation, or make 'Binary labelmap' its source in the module Segmentations."
        )


class _Backup:
    """A segmentation node as it is, for the case that filling it fails half way."""

    def __init__(self, segmentation_node: Any) -> None:
        self._node = segmentation_node
        self._transform = segmentation_node.GetTransformNodeID()
        self._reference = segmentation_node.GetNodeReferenceID(_reference_role())
        self._segmentation = slicer.vtkSegmentation()
        self._segmentation.DeepCopy(segmentation_node.GetSegmentation())

    def restore(self) -> None:
        with slicer.util.NodeModify(self._node):
            self._node.GetSegmentation().DeepCopy(self._segmentation)
            self._node.SetAndObserveTransformNodeID(self._transform)
            self._node.SetNodeReferenceID(_reference_role(), self._reference)


def _fill(
    segmentation_node: Any, segments: dict[str, Any], volume_node: Any, prediction: Any, place: str
) -> None:
    with slicer.util.NodeModify(segmentation_node):
        segmentation = segmentation_node.GetSegmentation()
        show_3d = segmentation.ContainsRepresentation("Closed surface")
        for segment_id in own_segments.ids_replaced_by(prediction, segmentation):
            segmentation.RemoveSegment(segment_id)
        if segmentation.GetNumberOfSegments() == 0:
            segmentation_node.SetSourceRepresentationToBinaryLabelmap()
        segmentation_node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
        segmentation_node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
        for segment_id, segment in segments.items():
            if not segmentation.AddSegment(segment, segment_id):
                raise RuntimeError(
                    f"the segment {segment.GetName()} could not be added to {segmentation_node.GetName()}."
                )
        _check_counts(segmentation_node, segments, prediction)
        for segment in segments.values():
            own_segments.mark_as_written(segment)
        segmentation_node.CreateDefaultDisplayNodes()
        if show_3d:
            segmentation_node.CreateClosedSurfaceRepresentation()
        _describe(segmentation_node, volume_node, prediction, place)
    put_beside(segmentation_node, volume_node)


def _check_counts(segmentation_node: Any, segments: dict[str, Any], prediction: Any) -> None:
    """Holds every segment against the label map, because a wrong import goes unseen otherwise."""
    counts = segment_voxel_counts(segmentation_node)
    for segment_id, segment in segments.items():
        _, value = own_segments.structure_of(segment)
        expected = int(np.count_nonzero(prediction.label_map == value))
        if counts.get(segment_id) != expected:
            raise RuntimeError(
                f"the segment {segment.GetName()} holds {counts.get(segment_id)} voxels instead of {expected}."
                " Please report this with the version of Slicer."
            )


def _describe(segmentation_node: Any, volume_node: Any, prediction: Any, place: str) -> None:
    """Provenance, kept with the node and saved with the scene."""
    route = prediction.route
    facts = {
        "Model": prediction.model["name"],
        "ModelVersion": prediction.model["version"],
        "ModelSHA256": prediction.model["sha256"],
        "Route": route.describe(),
        "EntryDepth": str(route.entry_depth),
        "AxisDepthsSAR": " ".join(str(depth) for depth in route.axis_depths),
        "SpacingSARmm": " ".join(f"{mm:.6g}" for mm in canonical_spacing(ijk_to_world(volume_node))),
        "Device": prediction.device,
        "Seconds": f"{sum(prediction.seconds.values()):.3f}",
        "Certainty": "" if prediction.certainty is None else f"{prediction.certainty:.4f}",
        "Structures": "; ".join(label.name for label in prediction.labels),
        "VolumesMl": "; ".join(f"{name}: {ml:.6g}" for name, ml in prediction.volumes_ml.items()),
        "Scan": volume_node.GetName(),
        "Region": place,
        "Warnings": "\n".join(prediction.warnings),
    }
    for name, value in facts.items():
        segmentation_node.SetAttribute(f"RAREUNet.{name}", value)


def _layer(values: np.ndarray, volume_node: Any) -> Any:
    """vtkOrientedImageData of (Z, Y, X) values in the node's own frame (its parent transform comes on top)."""
    layer = slicer.vtkOrientedImageData()
    z, y, x = values.shape
    layer.SetDimensions(x, y, z)
    scalars = numpy_support.numpy_to_vtk(
        values.ravel(), deep=True, array_type=numpy_support.get_vtk_array_type(values.dtype)
    )
    scalars.SetName("LabelMap")
    layer.GetPointData().SetScalars(scalars)
    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    layer.SetImageToWorldMatrix(matrix)
    return layer


def _reference_role() -> str:
    return slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
