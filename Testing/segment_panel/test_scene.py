"""Nodes in, nodes out: where the segments lie, what they are called, and that nothing else is touched."""

import numpy as np
import pytest
from segment_helpers import (
    MODULE,
    TERMINOLOGY,
    FakePredictor,
    add_scan,
    add_transform,
    answer_by,
    make_labels,
    scan_with_blobs,
)
from turns import oblique

from rareunet.volume import Volume


@pytest.fixture
def make_logic(slicer_app):
    """Makes the module's logic with this predictor in place of the core's."""
    import sys

    import standin

    module = standin.load_module(MODULE)

    def make(predictor=None):
        answer_by(predictor or FakePredictor())
        return sys.modules["RAREUNetSegment"].RAREUNetSegmentLogic()

    yield make
    standin.unload_module(module)


def segment_points(node, number):
    """World coordinates (N, 3) of a segment's voxels, through the node's parent transforms."""
    import slicer.util
    import vtk
    from vtk.util import numpy_support

    segment = node.GetSegmentation().GetNthSegment(number)
    layer = segment.GetRepresentation("Binary labelmap")
    x, y, z = layer.GetDimensions()
    values = numpy_support.vtk_to_numpy(layer.GetPointData().GetScalars()).reshape(z, y, x)
    matrix = vtk.vtkMatrix4x4()
    layer.GetImageToWorldMatrix(matrix)
    to_world = slicer.util.arrayFromVTKMatrix(matrix)
    if node.GetParentTransformNode():
        parent = vtk.vtkMatrix4x4()
        node.GetParentTransformNode().GetMatrixTransformToWorld(parent)
        to_world = slicer.util.arrayFromVTKMatrix(parent) @ to_world
    kji = np.argwhere(values == segment.GetLabelValue())
    start = np.array(layer.GetExtent()[::2])
    return (kji[:, ::-1] + start) @ to_world[:3, :3].T + to_world[:3, 3]


def expected_points(array, ijk_to_world):
    kji = np.argwhere(array > 1000)
    return kji[:, ::-1] @ ijk_to_world[:3, :3].T + ijk_to_world[:3, 3]


LEFT_HANDED = np.array([[-1.0, 0, 0, 40], [0, 1.0, 0, 2], [0, 0, 2.0, 5], [0, 0, 0, 1]])
SAGITTAL = np.array([[0, 0, 2.0, 1], [1.0, 0, 0, 2], [0, -1.0, 0, 3], [0, 0, 0, 1]])
TURNED = np.array([[0, -1.0, 0, 7], [1.0, 0, 0, -3], [0, 0, 1.0, 11], [0, 0, 0, 1]])


@pytest.mark.parametrize("matrix", [np.eye(4), LEFT_HANDED, SAGITTAL, oblique()])
@pytest.mark.parametrize("parent", [None, TURNED])
def test_segments_lie_where_the_voxels_are(make_logic, matrix, parent):
    array = scan_with_blobs()
    node = add_scan(array, matrix)
    world = np.asarray(matrix, dtype=float)
    if parent is not None:
        node.SetAndObserveTransformNodeID(add_transform(parent).GetID())
        world = parent @ world
    predictor = FakePredictor()
    result = make_logic(predictor).process(node)
    np.testing.assert_allclose(predictor.calls[0].volume.ijk_to_ras, world, atol=1e-9)
    np.testing.assert_allclose(segment_points(result, 0), expected_points(array, world), atol=1e-4)
    assert result.GetParentTransformNode() is node.GetParentTransformNode()


def test_array_in_the_scans_grid_is_the_label(make_logic):
    import slicer.util

    array = scan_with_blobs()
    node = add_scan(array, oblique())
    result = make_logic().process(node)
    for segment_id, mask in zip(
        result.GetSegmentation().GetSegmentIDs(), (array > 1000, array < -1000), strict=True
    ):
        read = slicer.util.arrayFromSegmentBinaryLabelmap(result, segment_id, node)
        np.testing.assert_array_equal(read, mask)


def test_nonlinear_transform_is_refused(make_logic):
    import slicer

    node = add_scan()
    grid = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "warp")
    node.SetAndObserveTransformNodeID(grid.GetID())
    with pytest.raises(ValueError, match="warp.*Harden"):
        make_logic().process(node)


def test_names_colours_codes_and_provenance(make_logic):
    import slicer

    node = add_scan(scan_with_blobs())
    result = make_logic().process(node)
    segmentation = result.GetSegmentation()
    assert [segmentation.GetNthSegment(i).GetName() for i in range(2)] == ["Front", "Back"]
    np.testing.assert_allclose(segmentation.GetNthSegment(0).GetColor(), np.array([230, 96, 66]) / 255)
    entry = slicer.vtkSlicerTerminologyEntry()
    text = segmentation.GetNthSegment(0).GetTerminology()
    assert slicer.modules.terminologies.logic().DeserializeTerminologyEntry(text, entry)
    assert entry.GetTerminologyContextName() == "Segmentation category and type - DICOM master list"
    for code, key in (
        (entry.GetCategoryObject(), "category"),
        (entry.GetTypeObject(), "type"),
        (entry.GetTypeModifierObject(), "type_modifier"),
    ):
        found = [code.GetCodingSchemeDesignator(), code.GetCodeValue(), code.GetCodeMeaning()]
        assert found == TERMINOLOGY[key]
    assert result.GetAttribute("RAREUNet.Model") == "fake"
    assert result.GetAttribute("RAREUNet.ModelSHA256") == "ab" * 32
    assert result.GetAttribute("RAREUNet.Route").startswith("1.0 x 1.0 x 1.0 mm")
    assert result.GetAttribute("RAREUNet.Certainty") == "0.9000"


def test_reference_geometry_is_the_scans(make_logic):
    import slicer

    node = add_scan(scan_with_blobs(), oblique())
    result = make_logic().process(node)
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    assert result.GetNodeReference(role) is node


def test_study_of_the_scan(make_logic):
    import slicer

    node = add_scan(scan_with_blobs())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "patient")
    study = hierarchy.CreateStudyItem(patient, "study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), study)
    result = make_logic().process(node)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(result)) == study


@pytest.mark.parametrize("values", [(5, 9), (1, 2), (300, 40000)])
def test_any_label_values(make_logic, values):
    from RAREUNetSegmentLib.segments import make_segments, segment_voxel_counts

    array = scan_with_blobs()
    node = add_scan(array)
    if max(values) < 256:
        result = make_logic(FakePredictor(make_labels(values))).process(node)
        assert list(segment_voxel_counts(result).values()) == [120, 27]
    label_map = np.where(array > 1000, values[0], np.where(array < -1000, values[1], 0)).astype(np.uint16)
    segments = make_segments(label_map, make_labels(values), node, "model")
    assert [segment.GetLabelValue() for segment in segments.values()] == [1, 2]


def test_absent_structure_gives_an_empty_segment_and_a_message(make_logic):
    from RAREUNetSegmentLib.segments import segment_voxel_counts

    array = scan_with_blobs()
    array[array < -1000] = 0
    result = make_logic().process(add_scan(array))
    assert list(segment_voxel_counts(result).values()) == [120, 0]
    assert "Back was not found" in result.GetAttribute("RAREUNet.Warnings")


def test_region_of_interest_limits_the_result(make_logic):
    import slicer

    from RAREUNetSegmentLib.segments import segment_voxel_counts

    node = add_scan(scan_with_blobs())
    region = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "region")
    region.SetCenter(12, 11, 10)
    region.SetSize(4.5, 8, 8)  # x from 9.75 to 14.25: the voxels 10 to 14 of 10 to 15
    predictor = FakePredictor()
    result = make_logic(predictor).process(node, regionOfInterest=region)
    assert list(segment_voxel_counts(result).values()) == [4 * 5 * 5, 0]
    region.SetAndObserveTransformNodeID(add_transform(TURNED, "turn").GetID())
    from RAREUNetSegmentLib.scene import region_from_node

    turned = region_from_node(region)
    np.testing.assert_allclose(turned.center_ras, (TURNED @ [12, 11, 10, 1])[:3])
    np.testing.assert_allclose(turned.axes, TURNED[:3, :3], atol=1e-12)
    np.testing.assert_allclose(turned.size_mm, (4.5, 8, 8))


def test_placed_region_is_of_training_size_at_the_crosshair(slicer_app):
    import slicer

    from RAREUNetSegmentLib.region import place_region

    node = add_scan()
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    crosshair.SetCrosshairRAS(5, 6, 7)
    region = place_region(node, (30.0, 20.0, 10.0))
    assert (region.GetName(), tuple(region.GetSize())) == ("RAREUNet region", (10, 20, 30))
    assert list(region.GetCenterWorld()) == [5, 6, 7]
    assert slicer_app.dialogs == []
    crosshair.SetCrosshairRAS(500, 6, 7)
    assert place_region(node, (30.0, 20.0, 10.0), region) is region
    np.testing.assert_allclose(region.GetCenterWorld(), (13.5, 12.5, 11.5))
    (dialog,) = slicer_app.dialogs
    assert "placed at the scan's centre" in dialog.text
    assert "hold Shift and move the mouse in a slice view" in dialog.text
    crosshair.SetCrosshairRAS(0, 0, 0)


def test_existing_segmentation_keeps_the_users_segments(make_logic):
    import slicer

    node = add_scan(scan_with_blobs())
    logic = make_logic()
    result = logic.process(node)
    result.GetSegmentation().AddEmptySegment("mine", "Mine")
    again = logic.process(node, outputSegmentation=result)
    assert again is result
    assert sorted(result.GetSegmentation().GetSegmentIDs()) == ["RAREUNet_fake_5", "RAREUNet_fake_9", "mine"]
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1


def test_label_map_is_refused_as_a_scan(make_logic):
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    with pytest.raises(ValueError, match="labels is a label map: choose the scan"):
        make_logic().process(node)


def edit(node, segment_id, scan):
    import slicer.util

    mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, scan)
    mask[tuple(np.argwhere(mask).mean(axis=0).astype(int))] = 0  # one voxel, well inside
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment_id, scan)


def rename(node, segment_id, scan):
    node.GetSegmentation().GetSegment(segment_id).SetName("Front, seen by Dr X")


@pytest.mark.parametrize("change", [edit, rename])
def test_segments_that_a_user_changed_stay(make_logic, change):
    from RAREUNetSegmentLib.segments import segment_voxel_counts

    node = add_scan(scan_with_blobs())
    result = make_logic().process(node)
    change(result, "RAREUNet_fake_5", node)
    counts = segment_voxel_counts(result)
    names = [result.GetSegmentation().GetSegment(i).GetName() for i in counts]
    again = make_logic().process(node, outputSegmentation=result)
    assert again is not result
    assert segment_voxel_counts(result) == counts
    assert [result.GetSegmentation().GetSegment(i).GetName() for i in counts] == names
    assert f"was changed by hand ({names[0]})" in again.GetAttribute("RAREUNet.Warnings")
    assert make_logic().process(node, outputSegmentation=again) is again


def test_a_copy_of_a_segment_is_the_users(make_logic):
    import slicer

    node = add_scan(scan_with_blobs())
    result = make_logic().process(node)
    copy = slicer.vtkSegment()
    copy.DeepCopy(result.GetSegmentation().GetSegment("RAREUNet_fake_5"))
    copy.SetName("mine")
    result.GetSegmentation().AddSegment(copy, "copy")
    assert make_logic().process(node, outputSegmentation=result) is result
    assert sorted(result.GetSegmentation().GetSegmentIDs()) == ["RAREUNet_fake_5", "RAREUNet_fake_9", "copy"]


def test_a_saved_and_loaded_segmentation_counts_as_unchanged(make_logic, tmp_path):
    import slicer.util

    from RAREUNetSegmentLib.own_segments import changed_ids_replaced_by

    node = add_scan(scan_with_blobs())
    result = make_logic().process(node)
    slicer.util.saveNode(result, str(tmp_path / "case.seg.nrrd"))
    loaded = slicer.util.loadSegmentation(str(tmp_path / "case.seg.nrrd"))
    assert loaded.GetSegmentation().GetNumberOfSegments() == 2
    prediction = FakePredictor().predict(Volume(np.zeros((8, 8, 8)), np.eye(4)))
    assert changed_ids_replaced_by(prediction, loaded.GetSegmentation()) == []


def test_segments_of_structures_that_were_not_asked_for_stay(make_logic):
    from RAREUNetSegmentLib.segments import segment_voxel_counts

    node = add_scan(scan_with_blobs())
    result = make_logic().process(node)
    before = segment_voxel_counts(result)
    slicer_segment = result.GetSegmentation().GetSegment("RAREUNet_fake_5")
    slicer_segment.SetName("mine")  # what is not written again may have been changed
    assert make_logic().process(node, structures="Back", outputSegmentation=result) is result
    assert segment_voxel_counts(result) == before
    assert slicer_segment.GetName() == "mine"
    assert result.GetAttribute("RAREUNet.Structures") == "Back"
    other = add_scan(scan_with_blobs(), name="other")
    with pytest.raises(ValueError, match="scan segmentation holds segments of another scan"):
        make_logic().process(other, structures="Back", outputSegmentation=result)
    assert segment_voxel_counts(result) == before
    whole = make_logic().process(node)
    assert make_logic().process(other, outputSegmentation=whole) is whole  # all of them are replaced


def test_existing_segmentation_survives_a_failure(make_logic):
    from RAREUNetSegmentLib.segments import segment_voxel_counts

    node = add_scan(scan_with_blobs())
    result = make_logic().process(node)
    before = segment_voxel_counts(result)
    with pytest.raises(RuntimeError, match="broken"):
        make_logic(FakePredictor(error=RuntimeError("broken"))).process(node, outputSegmentation=result)
    assert segment_voxel_counts(result) == before


def test_existing_segmentation_survives_a_failure_while_it_is_written(make_logic, monkeypatch):
    import slicer

    from RAREUNetSegmentLib import segments

    array = scan_with_blobs()
    node = add_scan(array)
    transform = add_transform(np.diag([2.0, 1, 1, 1]))
    node.SetAndObserveTransformNodeID(transform.GetID())
    result = make_logic().process(node)
    result.GetSegmentation().AddEmptySegment("mine", "Mine")
    before = segments.segment_voxel_counts(result)
    geometry = result.GetSegmentation().GetConversionParameter("Reference image geometry")
    assert all(before[segment] for segment in before if segment != "mine")
    second = add_scan(np.where(array > 1000, 0, array), name="second")
    second.SetAndObserveTransformNodeID(transform.GetID())
    second.SetSpacing(2, 2, 2)

    def fail(*arguments):
        raise MemoryError

    monkeypatch.setattr(segments, "_check_counts", fail)
    with pytest.raises(RuntimeError):
        make_logic().process(second, outputSegmentation=result)
    assert segments.segment_voxel_counts(result) == before
    assert result.GetParentTransformNode() is transform
    assert not segments.shows_another_scan(result, node)
    assert result.GetSegmentation().GetConversionParameter("Reference image geometry") == geometry
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1


@pytest.fixture
def scene_with_undo(slicer_app):
    """The scene's undo is off until someone wants it."""
    import slicer

    assert not slicer.mrmlScene.GetUndoFlag()
    slicer.mrmlScene.SetUndoOn()
    yield slicer.mrmlScene
    slicer.mrmlScene.SetUndoOff()
    slicer.mrmlScene.ClearUndoStack()


def test_undo_brings_back_what_was_replaced(make_logic, scene_with_undo):
    from RAREUNetSegmentLib.segments import segment_voxel_counts

    array = scan_with_blobs()
    result = make_logic().process(add_scan(array))
    before = segment_voxel_counts(result)
    array[array > 1000] = 0
    make_logic().process(add_scan(array, name="second"), outputSegmentation=result)
    assert segment_voxel_counts(result) != before
    scene_with_undo.Undo()
    assert segment_voxel_counts(result) == before


def test_undo_takes_a_result_out_of_the_users_segmentation(make_logic, scene_with_undo):
    own = scene_with_undo.AddNewNodeByClass("vtkMRMLSegmentationNode", "own")
    own.GetSegmentation().AddEmptySegment("mine", "Mine")
    assert make_logic().process(add_scan(scan_with_blobs()), outputSegmentation=own) is own
    assert len(own.GetSegmentation().GetSegmentIDs()) == 3
    scene_with_undo.Undo()
    assert list(own.GetSegmentation().GetSegmentIDs()) == ["mine"]
    assert own.GetAttribute("RAREUNet.Model") is None


def test_existing_segmentation_under_another_transform_is_refused(make_logic):
    import slicer

    node = add_scan(scan_with_blobs())
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "other")
    other.GetSegmentation().AddEmptySegment("mine", "Mine")
    other.SetAndObserveTransformNodeID(add_transform(TURNED).GetID())
    with pytest.raises(ValueError, match="another transform"):
        make_logic().process(node, outputSegmentation=other)
    assert list(other.GetSegmentation().GetSegmentIDs()) == ["mine"]


def test_channels_become_one_volume(make_logic):
    fake = FakePredictor()
    logic = make_logic(fake)
    first, second = add_scan(scan_with_blobs(), name="T1"), add_scan(scan_with_blobs() * 2, name="T2")
    logic.process([first, second])
    volume = fake.calls[0].volume
    assert volume.voxels.shape == (2, 24, 26, 28)
    np.testing.assert_array_equal(volume.voxels[1], volume.voxels[0] * 2)
    with pytest.raises(ValueError, match="no scan"):
        logic.process(None)


def test_segments_of_another_model_count_as_others(make_logic):
    """They would be left in place, but under the new scan's transform."""
    import slicer

    first, second = add_scan(scan_with_blobs()), add_scan(scan_with_blobs())
    segmentation = make_logic(FakePredictor()).process(first)
    other = FakePredictor()
    other.bundle.name = "other-model"
    second.SetAndObserveTransformNodeID(add_transform(TURNED).GetID())
    with pytest.raises(ValueError, match="another transform"):
        make_logic(other).process(second, outputSegmentation=segmentation)
    assert segmentation.GetParentTransformNode() is None
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("volumeNode", "MRHead"),
        ("volumeNode", "region"),
        ("regionOfInterest", "scan"),
        ("outputSegmentation", "scan"),
        ("outputSegmentation", "x"),
        ("model", None),
        ("device", 0),
        ("entryDepth", "deep"),
        ("force", "no"),
        ("force", 1),
        ("memoryGb", "4"),
        ("structures", 5),
        ("structures", ("Front", 9)),
    ],
)
def test_an_argument_of_the_wrong_kind_is_named_at_once(make_logic, argument, value):
    import slicer

    region = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "region")
    nodes = {"scan": add_scan(), "region": region}
    arguments = {"volumeNode": nodes["scan"], argument: nodes.get(value, value)}
    with pytest.raises(ValueError, match="entry depth" if argument == "entryDepth" else f"^{argument} is "):
        make_logic().process(**arguments)


def test_numbers_of_numpy_are_numbers(make_logic):
    predictor = FakePredictor()
    options = {"force": np.bool_(True), "memoryGb": np.float32(4), "entryDepth": np.int64(1)}
    make_logic(predictor).process(add_scan(), **options)
    (call,) = predictor.calls
    assert (call.force, call.memory_gb, call.entry_depth) == (True, 4, 1)
