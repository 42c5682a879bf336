"""Measures of boxes whose agreement can be counted by hand."""

import math

import numpy as np
import pytest

from rareunet_training.evaluation.metrics import METRICS, agreement_per_class, dice_per_class


def box(z=slice(4, 8), y=slice(4, 8), x=slice(4, 8), value=1):
    label = np.zeros((14, 12, 12), dtype=np.uint8)
    label[z, y, x] = value
    return label


def test_box_moved_by_one_voxel_of_4():
    found = agreement_per_class(box(z=slice(5, 9)), box(), 2, (3.0, 1.0, 1.0))[0]
    assert found.dice == pytest.approx(3 / 4)
    assert found.iou == pytest.approx(3 / 5)
    assert found.precision == found.recall == pytest.approx(3 / 4)
    assert found.hd95_mm == pytest.approx(3.0)
    assert found.volume_error_percent == 0


def test_precision_and_recall_of_a_box_twice_as_long():
    found = agreement_per_class(box(z=slice(4, 12)), box(), 2, (1.0, 1.0, 1.0))[0]
    assert (found.precision, found.recall) == (pytest.approx(0.5), pytest.approx(1.0))
    assert found.volume_error_percent == pytest.approx(100)


def test_surface_dice_counts_what_lies_within_1_mm():
    near = agreement_per_class(box(x=slice(5, 9)), box(), 2, (1.0, 1.0, 1.0))[0]
    assert near.surface_dice == pytest.approx(1.0)
    far = agreement_per_class(box(x=slice(5, 9)), box(), 2, (1.0, 1.0, 3.0))[0]
    # Surface elements sit at the voxels' corners: of each box one face (4 x 4 mm2) and the half voxel of the four sides
    # beside it (4 x 4 x 1.5 mm2) lie 3 mm away, 40 of 224 mm2, a little less because its edges are rounded.
    assert far.surface_dice == pytest.approx(1 - 40 / 224, abs=0.03)
    assert agreement_per_class(box(), box(), 2, (1.0, 1.0, 3.0))[0].surface_dice == 1.0


def test_distances_are_in_mm_along_each_axis():
    moved, still = box(z=slice(6, 10)), box()
    assert agreement_per_class(moved, still, 2, (1.0, 1.0, 1.0))[0].hd95_mm == pytest.approx(2.0)
    assert agreement_per_class(moved, still, 2, (2.5, 1.0, 1.0))[0].hd95_mm == pytest.approx(5.0)


def test_one_stray_voxel_of_many_is_beyond_the_95th_percentile():
    predicted = box()
    predicted[12, 10, 10] = 1
    assert agreement_per_class(predicted, box(), 2, (1.0, 1.0, 1.0))[0].hd95_mm == 0


def test_distance_is_the_larger_of_both_directions():
    """6 voxels of 10 are missing: the end face, an eighth of the surface, is 6 mm away; the other way 2 at most."""
    long, short = box(z=slice(2, 12)), box(z=slice(2, 6))
    assert agreement_per_class(short, long, 2, (1.0, 1.0, 1.0))[0].hd95_mm == pytest.approx(6.0)
    assert agreement_per_class(long, short, 2, (1.0, 1.0, 1.0))[0].hd95_mm == pytest.approx(6.0)


def test_surface_dice_tolerates_1_mm_alone():
    moved = agreement_per_class(box(x=slice(5, 9)), box(), 2, (1.0, 1.0, 1.5))[0]
    assert moved.surface_dice < 0.95


def test_structure_absent_from_both_is_left_out():
    first, second = agreement_per_class(box(), box(), 3, (1.0, 1.0, 1.0))
    assert first.dice == 1
    assert all(math.isnan(getattr(second, metric)) for metric in METRICS)
    assert not second.not_found
    assert not second.not_there
    assert dice_per_class(box(), box(), 3) == [1.0, pytest.approx(float("nan"), nan_ok=True)]


def test_missed_structure():
    found = agreement_per_class(box() * 0, box(), 2, (1.0, 1.0, 1.0))[0]
    assert (found.dice, found.iou, found.recall, found.surface_dice) == (0, 0, 0, 0)
    assert math.isnan(found.precision)
    assert math.isnan(found.hd95_mm)
    assert found.volume_error_percent == -100
    assert found.not_found
    assert dice_per_class(box() * 0, box(), 2) == [0]


def test_structure_that_is_not_there():
    found = agreement_per_class(box(), box() * 0, 2, (1.0, 1.0, 1.0))[0]
    assert (found.dice, found.iou, found.precision, found.surface_dice) == (0, 0, 0, 0)
    assert math.isnan(found.recall)
    assert math.isnan(found.hd95_mm)
    assert found.volume_error_percent == math.inf
    assert found.not_there
    assert dice_per_class(box(), box() * 0, 2) == [0]


def test_each_class_is_compared_with_its_own():
    predicted, reference = box(value=2) + box(x=slice(0, 3)), box(value=2) + box(x=slice(9, 12))
    first, second = agreement_per_class(predicted, reference, 3, (1.0, 1.0, 1.0))
    assert (first.dice, second.dice) == (0, 1)
    assert dice_per_class(predicted, reference, 3) == [0, 1]


def test_sizes_that_differ_are_refused():
    with pytest.raises(ValueError, match="differ in size"):
        dice_per_class(box(), box()[1:], 2)
