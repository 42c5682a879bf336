"""Coarser scans and labels lie where the fine ones lie."""

import tracemalloc

import numpy as np
import pytest

from rareunet.resampling import profile_matrix
from rareunet_training.data.degradation import (
    corner_label,
    degrade,
    halve,
    majority_label,
)


def blob(shape=(64, 64, 64), centre=(31.3, 30.1, 32.8), sigma=9.0):
    grids = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    squared = sum((g - c) ** 2 for g, c in zip(grids, centre, strict=True))
    return np.exp(-squared / (2 * sigma**2)).astype(np.float32)


def centroid(array, steps):
    """Centroid in fine voxel coordinates."""
    weights = array / array.sum()
    axes = np.meshgrid(
        *((np.arange(n) + 0.5) * s - 0.5 for n, s in zip(array.shape, steps, strict=True)), indexing="ij"
    )
    return [float((weights * a).sum()) for a in axes]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_halved_image_and_majority_label_stay_in_place(depth):
    image = blob()
    label = (image > 0.2).astype(np.uint8)
    steps = [2**depth] * 3
    sizes = [n // 2**depth for n in label.shape]
    coarse = majority_label(label, 2, sizes, steps)
    assert centroid(halve(image[None], depth)[0], steps) == pytest.approx(
        centroid(image, (1, 1, 1)), abs=0.1 * 2**depth
    )
    # The label's own edge is a voxel wide, so its centroid moves a little more than the smooth image's.
    assert centroid(coarse, steps) == pytest.approx(centroid(label, (1, 1, 1)), abs=0.15 * 2**depth)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_published_labels_are_displaced_by_half_a_coarse_voxel(depth):
    label = (blob() > 0.2).astype(np.uint8)
    moved = np.subtract(centroid(corner_label(label, depth), [2**depth] * 3), centroid(label, (1, 1, 1)))
    assert moved == pytest.approx([(2**depth - 1) / 2] * 3, abs=0.35 * 2**depth)


def test_profile_matrix_averages_whole_slices():
    assert profile_matrix(6, 3, 2.0) == pytest.approx(np.kron(np.eye(3), [0.5, 0.5]))


def test_profile_with_gaps_uses_the_middle_of_each_step():
    assert profile_matrix(8, 2, 4.0, thickness=0.5)[0] == pytest.approx([0, 0.5, 0.5, 0, 0, 0, 0, 0])


def test_profile_rows_add_up_to_one_for_odd_factors():
    assert profile_matrix(35, 9, 35 / 9, 0.7).sum(axis=1) == pytest.approx(np.ones(9))


def test_profile_is_never_thinner_than_a_voxel():
    """A slice of 0.5 voxels at 1.25 covers a voxel's width of what is stored, 0.75 to 1.75."""
    assert profile_matrix(5, 2, 2.5, thickness=0.2)[0] == pytest.approx([0.25, 0.75, 0, 0, 0])


def test_profile_beyond_the_field_of_view_is_the_mean_of_what_lies_within():
    assert profile_matrix(8, 3, 3.0)[2] == pytest.approx([0, 0, 0, 0, 0, 0, 0.5, 0.5])


def test_halving_averages_the_voxels_around_the_centre():
    """Voxel i of a quarter is centred at 4 i + 1.5; what is left over at the end is cut off by the smaller size."""
    ramp = np.arange(8.0)[None, :, None, None] * np.ones((1, 1, 8, 8))
    assert halve(ramp, 1)[0, :, 0, 0] == pytest.approx([0.5, 2.5, 4.5, 6.5])
    assert halve(ramp, 2)[0, :, 0, 0] == pytest.approx([1.5, 5.5])
    assert halve(ramp[:, :7], 1).shape == (1, 3, 4, 4)
    assert corner_label(ramp[0, :7], 1).shape == (3, 4, 4)


def test_degrade_leaves_gaps_between_thin_slices_and_labels_count_all():
    label = np.array([1, 1, 0, 1, 0, 0, 1, 0], np.uint8).reshape(8, 1, 1)
    coarse = degrade(label[None].astype(np.float32), (2, 1, 1), (4.0, 1.0, 1.0), thickness=0.5)
    assert coarse.ravel() == pytest.approx([0.5, 0.5])
    assert majority_label(label, 2, (2, 1, 1), (4.0, 1.0, 1.0)).ravel().tolist() == [1, 0]


def test_degrade_keeps_axes_of_step_one_untouched():
    image = np.random.default_rng(0).random((1, 6, 5, 4), dtype=np.float32)
    coarse = degrade(image, (3, 5, 4), (2.0, 1.0, 1.0))
    assert coarse == pytest.approx((image[:, ::2] + image[:, 1::2]) / 2)


def test_majority_takes_the_class_that_fills_most_and_background_on_a_tie():
    label = np.zeros((2, 2, 2), dtype=np.uint8)
    label[0] = 1
    assert majority_label(label, 3, (1, 1, 1), (2, 2, 2)).item() == 0
    label[1, 0, 0] = 2
    assert majority_label(label, 3, (1, 1, 1), (2, 2, 2)).item() == 1


def test_majority_takes_the_first_of_equally_large_classes():
    label = np.array([3, 2, 2, 3, 1, 3], np.uint8).reshape(6, 1, 1)
    assert majority_label(label, 4, (3, 1, 1), (2, 1, 1)).ravel().tolist() == [2, 2, 1]


def test_memory_of_the_majority_does_not_grow_with_the_classes():
    label = np.random.default_rng(0).integers(0, 16, (32, 64, 64), dtype=np.uint8)
    sizes, steps = (8, 64, 64), (4.0, 1.0, 1.0)
    tracemalloc.start()
    majority = majority_label(label, 16, sizes, steps)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * label.size  # bytes: a class' mask in float32, and the coarse grid
    masks = (label == np.arange(16)[:, None, None, None]).astype(np.float32)
    np.testing.assert_array_equal(majority, degrade(masks, sizes, steps).argmax(axis=0))
