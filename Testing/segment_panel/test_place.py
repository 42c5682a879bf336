"""Where a result was computed, in words, and whether earlier segments lie elsewhere."""

import numpy as np
import pytest
from segment_helpers import MODULE, FakePredictor, add_scan, add_transform, answer_by, scan_with_blobs
from turns import turned_world

FRONT, BACK = (12.5, 11, 9.5), (17, 16, 15)  # centres (R, A, S) of the blobs, mm


@pytest.fixture
def logic(slicer_app):
    """The module's logic; what it finds is told by scan_with_blobs()."""
    import sys

    import standin

    module = standin.load_module(MODULE)
    answer_by(FakePredictor())
    yield sys.modules["RAREUNetSegment"].RAREUNetSegmentLogic()
    standin.unload_module(module)


def add_region(center, size=(4, 4, 4)):
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "region")
    node.SetCenter(*center)
    node.SetSize(*size)
    return node


def counts(node):
    from RAREUNetSegmentLib.segments import segment_voxel_counts

    return segment_voxel_counts(node)


def test_the_second_side_does_not_replace_the_first(logic):
    scan = add_scan(scan_with_blobs())
    region = add_region(FRONT)
    first = logic.process(scan, region)
    found = counts(first)
    assert found["RAREUNet_fake_5"] > 0
    region.SetCenter(*BACK)
    second = logic.process(scan, region, outputSegmentation=first)
    assert second is not first
    assert counts(first) == found
    assert counts(second)["RAREUNet_fake_9"] == 27
    assert (
        "scan segmentation was left as it is, since its segments lie elsewhere in the scan: the result is in a new"
        " segmentation." in second.GetAttribute("RAREUNet.Warnings")
    )


def test_a_region_that_is_refined_replaces_the_earlier_result(logic):
    scan = add_scan(scan_with_blobs())
    whole = logic.process(scan)
    for center, size in (((14, 13, 12), (12, 12, 12)), ((15, 14, 13), (12, 12, 12))):
        assert logic.process(scan, add_region(center, size), outputSegmentation=whole) is whole
    assert logic.process(scan, outputSegmentation=whole) is whole


def test_a_region_that_leaves_a_structure_out_does_not_cost_it(logic):
    scan = add_scan(scan_with_blobs())
    whole = logic.process(scan)
    found = counts(whole)
    assert logic.process(scan, add_region(FRONT), outputSegmentation=whole) is not whole
    assert counts(whole) == found


def test_segments_of_which_nothing_was_found_are_replaced(logic):
    scan = add_scan(scan_with_blobs())
    nothing = logic.process(scan, add_region((3, 3, 3), (4, 4, 4)))
    assert not any(counts(nothing).values())
    assert logic.process(scan, add_region(FRONT), outputSegmentation=nothing) is nothing


def test_each_segment_has_a_place_of_its_own(logic):
    """Structures that were computed one by one: the node's last region is not that of all its segments."""
    scan = add_scan(scan_with_blobs())
    front, back = add_region(FRONT), add_region(BACK)
    node = logic.process(scan, front, structures="Front")
    assert logic.process(scan, back, structures="Back", outputSegmentation=node) is node
    before = counts(node)
    assert logic.process(scan, back, structures="Front", outputSegmentation=node) is not node
    assert counts(node) == before
    assert logic.process(scan, front, structures="Front", outputSegmentation=node) is node


def test_places_move_with_the_scan(logic):
    """What lay at the front now lies where the back was; the segments move along under the scan's transform."""
    scan = add_scan(scan_with_blobs())
    first = logic.process(scan, add_region(FRONT))
    shift = np.eye(4)
    shift[:3, 3] = np.subtract(BACK, FRONT)
    for node in (scan, first):
        node.SetAndObserveTransformNodeID(add_transform(shift).GetID())
    moved = np.add(BACK, shift[:3, 3])
    assert logic.process(scan, add_region(moved), outputSegmentation=first) is not first
    assert logic.process(scan, add_region(BACK), outputSegmentation=first) is first
    assert "R 15 to 19, A 14 to 18, S 13 to 17 mm" in first.GetAttribute("RAREUNet.Region")


def test_place_is_told_in_world_space_and_cut_to_the_scan(logic):
    scan = add_scan(np.ones((10, 20, 30)), np.diag([1.0, 1.0, 2.0, 1.0]))
    assert (
        logic.process(scan).GetAttribute("RAREUNet.Region")
        == "whole scan, R -0.5 to 29.5, A -0.5 to 19.5, S -1 to 19 mm"
    )
    region = add_region((0, 5, 4), (10, 10, 4))
    node = logic.process(scan, region)
    assert node.GetAttribute("RAREUNet.Region") == "region, R -0.5 to 5, A 0 to 10, S 2 to 6 mm"


def test_turned_region_is_told_by_the_box_that_holds_it(logic):
    region = add_region((0, 0, 0), (4, 6, 8))
    region.SetAndObserveTransformNodeID(add_transform(turned_world(45, 2)).GetID())
    scan = add_scan(np.ones((20, 20, 20)))
    scan.SetOrigin(-10, -10, -10)
    told = "region, R -3.5 to 3.5, A -3.5 to 3.5, S -4 to 4 mm"  # 10 mm / sqrt(2) along R and A
    assert logic.process(scan, region).GetAttribute("RAREUNet.Region") == told


def test_place_is_saved_with_the_segments(logic, tmp_path):
    import slicer.util

    scan = add_scan(scan_with_blobs())
    slicer.util.saveNode(logic.process(scan, add_region(FRONT)), str(tmp_path / "case.seg.nrrd"))
    loaded = slicer.util.loadSegmentation(str(tmp_path / "case.seg.nrrd"))
    assert logic.process(scan, add_region(BACK), outputSegmentation=loaded) is not loaded
    assert logic.process(scan, add_region(FRONT), outputSegmentation=loaded) is loaded


@pytest.mark.parametrize(
    ("lower", "upper", "two"),
    [
        ((0, 0, 0), (10, 10, 10), False),
        ((-90, -90, -90), (90, 90, 90), False),
        ((7, 0, 0), (17, 10, 10), False),  # 30 % of both
        ((8, 0, 0), (18, 10, 10), True),
        ((8, 0, 0), (12, 1, 1), False),  # half of the smaller one
        ((-30, 0, 0), (-20.5, 10, 10), True),
    ],
)
def test_two_places_share_less_than_a_quarter_of_the_smaller(slicer_app, lower, upper, two):
    from RAREUNetSegmentLib.place import are_two_places

    one, other = np.array([(0, 0, 0), (10, 10, 10)]), np.array([lower, upper])
    assert are_two_places(one, other) == are_two_places(other, one) == two
