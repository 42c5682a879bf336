"""Volumes in a table: of which segments, in which unit, and that there is one table for one segmentation."""

import numpy as np
import pytest
from segment_helpers import FakePredictor, add_scan, add_transform, answer_by, scan_with_blobs, segmentations

SPACING_ML = 1 * 1.5 * 2 / 1000  # of one voxel


@pytest.fixture
def result(panel):
    """A segmentation with 120 voxels of Front and 27 of Back."""
    answer_by(FakePredictor())
    return panel.logic.process(add_scan(scan_with_blobs(), np.diag([1.0, 1.5, 2.0, 1.0])))


def rows(table):
    """The table's cells, row by row."""
    columns = [table.GetTable().GetColumn(number) for number in range(table.GetNumberOfColumns())]
    return [tuple(column.GetValue(row) for column in columns) for row in range(table.GetNumberOfRows())]


def expected(**voxels):
    return [(name, pytest.approx(count * SPACING_ML), count) for name, count in voxels.items()]


def tables():
    import slicer.util

    return slicer.util.getNodesByClass("vtkMRMLTableNode")


def empty_segment(node, segment_id, scan):
    import slicer.util

    mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, scan)
    slicer.util.updateSegmentBinaryLabelmapFromArray(np.zeros_like(mask), node, segment_id, scan)


def test_columns_have_names_units_and_types(panel, result):
    import vtk

    table = panel.logic.volumesTable(result)
    names = [table.GetColumnName(number) for number in range(table.GetNumberOfColumns())]
    assert names == ["Segment", "Volume (ml)", "Voxels"]
    types = [table.GetColumnType(name) for name in names]
    assert types == [vtk.VTK_STRING, vtk.VTK_DOUBLE, vtk.VTK_INT]
    assert table.GetColumnUnitLabel("Volume (ml)") == "ml"
    assert table.GetUseColumnTitleAsColumnHeader()
    assert rows(table) == expected(Front=120, Back=27)
    assert result.GetAttribute("RAREUNet.VolumesMl") == "Front: 0.36; Back: 0.081"


def test_the_same_table_tells_the_segments_as_they_are_now(panel, result):
    import slicer

    scan = result.GetNodeReference(result.GetReferenceImageGeometryReferenceRole())
    table = panel.logic.volumesTable(result)
    result.GetSegmentation().GetSegment("RAREUNet_fake_5").SetName("Front, seen")
    empty_segment(result, "RAREUNet_fake_9", scan)
    result.GetSegmentation().AddEmptySegment("mine", "Mine")
    assert panel.logic.volumesTable(result) is table
    assert rows(table) == expected(**{"Front, seen": 120, "Back": 0})
    another = panel.logic.volumesTable(panel.logic.process(scan))
    assert another is not table
    slicer.mrmlScene.RemoveNode(table)
    assert rows(panel.logic.volumesTable(result)) == expected(**{"Front, seen": 120, "Back": 0})
    assert len(tables()) == 2


def test_a_copy_of_the_segmentation_has_a_table_of_its_own(panel, result):
    import slicer

    table = panel.logic.volumesTable(result)
    copy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    copy.Copy(result)
    assert panel.logic.volumesTable(copy) is not table


def test_volumes_are_those_in_world_space(panel, result):
    result.SetAndObserveTransformNodeID(add_transform(np.diag([2.0, 1.0, 1.0, 1.0])).GetID())
    ((_, front, voxels), _) = rows(panel.logic.volumesTable(result))
    assert (front, voxels) == (pytest.approx(2 * 120 * SPACING_ML), 120)


def test_table_lies_beside_the_segmentation(panel, result):
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(result), study)
    table = panel.logic.volumesTable(result)
    assert table.GetName() == "scan segmentation volumes"
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(table)) == study


def test_what_has_no_volumes_is_refused(panel, result):
    import slicer

    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "other")
    other.GetSegmentation().AddEmptySegment("mine", "Mine")
    with pytest.raises(ValueError, match="^other holds no segments that RAREUNet made: choose"):
        panel.logic.volumesTable(other)
    with pytest.raises(ValueError, match="^segmentationNode is None: a vtkMRMLSegmentationNode is needed"):
        panel.logic.volumesTable(None)
    table = panel.logic.volumesTable(result)
    result.CreateClosedSurfaceRepresentation()
    result.GetSegmentation().SetSourceRepresentationName("Closed surface")
    result.GetSegmentation().RemoveRepresentation("Binary labelmap")
    with pytest.raises(ValueError, match="^Front of scan segmentation is not stored as voxels.*: create"):
        panel.logic.volumesTable(result)
    assert rows(table) == expected(Front=120, Back=27)
    slicer.mrmlScene.RemoveNode(result)
    with pytest.raises(ValueError, match="was removed from the scene"):
        panel.logic.volumesTable(result)


def test_button_shows_the_table_of_the_result(panel, slicer_app):
    import slicer

    answer_by(FakePredictor())
    button = panel.ui.volumesTableButton
    assert button.isHidden()
    panel._parameterNode.inputVolume = add_scan(scan_with_blobs())
    panel.ui.applyButton.click()
    button.click()
    button.click()
    (table,) = tables()
    assert slicer_app.applicationLogic().GetSelectionNode().GetActiveTableID() == table.GetID()
    assert slicer_app.layoutManager().layout == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView
    slicer.mrmlScene.RemoveNode(segmentations()[0])
    button.click()
    assert "was removed from the scene: segment the scan again." in slicer_app.dialogs[0].text
    slicer_app.takeSlotExceptions()
    slicer.mrmlScene.Clear(0)
    assert button.isHidden()
