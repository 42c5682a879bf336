"""Views of a patch: where its voxels lie, what they hold, and the route they take."""

from dataclasses import replace

import numpy as np
import pytest

from rareunet.intensity import IntensityRule, normalise
from rareunet.preprocessing import network_shape
from rareunet.resampling import resample
from rareunet_training.data.degradation import corner_label, degrade, halve, majority_label
from rareunet_training.data.views import (
    ViewSettings,
    degraded_view,
    halved_view,
    own_view,
    padded_view,
    restored_view,
    stack,
)

RULE = IntensityRule()
SETTINGS = ViewSettings((1.0, 1.0, 1.0), 3, 2, 3, RULE)
MM = (1.0, 1.0, 1.0)


def patch(shape=(12, 10, 9), seed=0):
    random = np.random.default_rng(seed)
    return random.random((1, *shape), dtype=np.float32) * 90 + 5, random.integers(0, 3, shape, dtype=np.uint8)


def blob(shape=(24, 24, 24), centre=(9.3, 12.6, 14.2), sigma=3.5):
    """A smooth spot, and the mask of its inside."""
    grids = np.meshgrid(*map(np.arange, shape), indexing="ij")
    squared = sum((g - c) ** 2 for g, c in zip(grids, centre, strict=True))
    image = np.exp(-squared / (2 * sigma**2)).astype(np.float32)
    return image[None], (image > 0.3).astype(np.uint8)


def centre_of(array, steps):
    """Centroid in fine voxels."""
    indices = np.indices(array.shape).reshape(3, -1)
    return (np.average(indices, axis=1, weights=array.ravel()) + 0.5) * steps - 0.5


def test_own_view_is_the_normalised_patch():
    image, label = patch()
    made, classes, route = own_view(image, label, MM, SETTINGS)
    np.testing.assert_array_equal(made, normalise(image, RULE))
    np.testing.assert_array_equal(classes, label)
    assert route.axis_depths == (0, 0, 0)


def test_own_view_of_an_axis_far_from_any_depth_is_resampled_as_in_inference():
    """3 mm enter at 1 mm: three voxels for each, of its class."""
    image, label = patch((4, 8, 8))
    made, classes, route = own_view(image, label, (3.0, 1.0, 1.0), SETTINGS)
    assert route.axis_depths == (0, 0, 0)
    np.testing.assert_allclose(made, resample(normalise(image, RULE), (12, 8, 8)), atol=1e-6)
    np.testing.assert_array_equal(classes, label.repeat(3, axis=0))


@pytest.mark.parametrize("depth", [1, 3])
def test_halved_view_has_the_depth_of_its_spacing(depth):
    image, label = patch((19, 16, 17))
    sizes = [n // 2**depth for n in label.shape]
    made, classes, route = halved_view(image, label, MM, depth, replace(SETTINGS, deepest=3))
    z, y, x = (size * 2**depth for size in sizes)
    np.testing.assert_allclose(made, normalise(halve(image[:, :z, :y, :x], depth), RULE))
    np.testing.assert_array_equal(classes, majority_label(label, 3, sizes, [2**depth] * 3))
    assert route.axis_depths == (depth,) * 3


@pytest.mark.parametrize("spacing", [(0.7, 0.7, 0.7), (1.5, 1.5, 1.5), (3.0, 0.75, 0.75)])
@pytest.mark.parametrize("depth", [1, 2])
def test_halved_view_lies_on_the_grid_that_inference_would_give_it(spacing, depth):
    """Else voxels of one size are learnt at the depth of another."""
    image, label = patch((16, 24, 20))
    made, classes, route = halved_view(image, label, spacing, depth, replace(SETTINGS, deepest=3))
    assert route.spacing_mm == pytest.approx([s * 2**depth for s in spacing])
    assert made.shape[1:] == classes.shape == network_shape([n // 2**depth for n in label.shape], route)
    for n, new, s, target in zip(label.shape, classes.shape, spacing, route.network_spacing_mm, strict=True):
        assert new == pytest.approx(n * s / target, abs=0.5)


def test_published_protocol_has_the_labels_of_the_corners():
    image, label = patch((12, 8, 16))
    published = replace(SETTINGS, protocol="published")
    made, classes, route = halved_view(image, label, MM, 2, published)
    np.testing.assert_allclose(made, normalise(halve(image, 2), RULE))
    np.testing.assert_array_equal(classes, corner_label(label, 2))
    assert route.axis_depths == (2, 2, 2)


def test_degraded_view_has_the_spacing_and_the_slices_that_it_was_made_with():
    """10 voxels at 3.9 give 3 of 3.33 mm, each the middle 60 % of its step."""
    image, label = patch((10, 8, 8))
    made, classes, route = degraded_view(image, label, MM, (3.9, 1.0, 1.0), 0.6, SETTINGS)
    assert route.spacing_mm == pytest.approx((10 / 3, 1.0, 1.0))
    coarse = degrade(image, (3, 8, 8), (10 / 3, 1, 1), 0.6)
    np.testing.assert_allclose(made, resample(normalise(coarse, RULE), classes.shape), atol=1e-6)
    steps = [n / size for n, size in zip(label.shape, classes.shape, strict=True)]
    np.testing.assert_array_equal(classes, majority_label(label, 3, classes.shape, steps))


def test_degraded_view_stays_in_place():
    image, label = blob()
    made, classes, route = degraded_view(image, label, MM, (4.3, 1.0, 2.0), 0.7, SETTINGS)
    steps = np.divide(label.shape, classes.shape)
    assert route.axis_depths == (2, 0, 1)
    assert centre_of(classes, steps) == pytest.approx(centre_of(label, 1), abs=0.1 * steps.max())
    assert centre_of(made[0] ** 2, steps) == pytest.approx(centre_of(image[0] ** 2, 1), abs=0.1 * steps.max())


def test_axis_shorter_than_a_coarse_voxel_becomes_one():
    image, label = patch((2, 8, 8))
    _, classes, route = degraded_view(image, label, MM, (6.0, 1.0, 1.0), 1.0, SETTINGS)
    assert route.spacing_mm == (2.0, 1.0, 1.0)
    assert classes.shape == (1, 8, 8)


def test_restored_view_is_the_coarse_scan_on_the_grid_of_the_patch():
    image, label = patch((12, 8, 8))
    made, classes, route = restored_view(image, label, MM, (4.0, 2.0, 2.0), SETTINGS)
    coarse = normalise(degrade(image, (3, 4, 4), (4, 2, 2)), RULE)
    np.testing.assert_allclose(made, normalise(resample(coarse, label.shape), RULE), atol=1e-6)
    np.testing.assert_array_equal(classes, label)
    assert route.axis_depths == (0, 0, 0)


def test_padded_view_holds_the_halved_scan_in_the_middle():
    image, label = patch((12, 9, 10))
    small, small_classes, _ = halved_view(image, label, MM, 1, SETTINGS)
    made, classes, _ = padded_view(image, label, MM, 1, SETTINGS)
    middle = (slice(3, 9), slice(3, 7), slice(3, 8))  # an odd difference puts the larger half first
    np.testing.assert_array_equal(classes[middle], small_classes)
    np.testing.assert_allclose(made[0][middle], small[0], atol=0.1)  # its percentiles are measured once more
    for padded in (made[0], classes):
        outside = padded.copy()
        outside[middle] = 0
        assert not outside.any()


def test_stack_pads_images_and_labels_alike_and_keeps_their_order():
    """Three poolings need multiples of 8; one of two for the axis that waits."""
    parts = []
    for seed in range(2):
        label = np.pad(patch((2, 4, 3), seed)[1] % 2 + 1, ((0, 1), (1, 1), (1, 1)))
        parts.append(
            (label[None].astype(np.float32), label, own_view(*patch(), (4.0, 1.0, 1.0), SETTINGS)[2])
        )
    view = stack("own", 0, parts, 3)
    assert view.axis_depths == (2, 0, 0)
    assert view.images.shape == (2, 1, 4, 8, 8)
    np.testing.assert_array_equal(view.images[:, 0].numpy(), view.labels.numpy())
    for stacked, (_, label, _) in zip(view.labels.numpy(), parts, strict=True):
        np.testing.assert_array_equal(stacked[1:, 1:7, 2:7], label)
