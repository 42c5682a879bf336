"""Intensities: percentiles, padding, voxels that are no numbers."""

import numpy as np
import pytest

from rareunet.intensity import IntensityRule, content_box, normalise

RULE = IntensityRule()


def test_intensities_lie_in_0_to_1_by_percentiles():
    voxels = np.arange(1000, dtype=np.float32).reshape(1, 10, 10, 10)
    result = normalise(voxels, IntensityRule(10, 90))
    assert result.dtype == np.float32
    low, high = np.percentile(voxels, [10, 90])
    np.testing.assert_allclose(result, np.clip((voxels - low) / (high - low), 0, 1), atol=1e-6)


@pytest.mark.parametrize(("offset", "scale"), [(1e9, 1.0), (0.0, 1e300), (-4e12, 3.0)])
def test_numbers_that_float32_can_not_tell_apart_are_told_apart(offset, scale):
    voxels = np.random.default_rng(0).normal(size=(1, 8, 9, 10))
    np.testing.assert_allclose(normalise(offset + scale * voxels, RULE), normalise(voxels, RULE), atol=1e-3)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_single_marker_far_from_all_other_values_changes_nothing(kind):
    """-3.4e38 is the smallest float32, with which some tools mark what they did not measure."""
    voxels = np.random.default_rng(0).normal(size=(1, 8, 9, 10)).astype(kind)
    expected = normalise(voxels, RULE)
    voxels[0, 4, 4, 4], expected[0, 4, 4, 4] = -3.4e38, 0
    np.testing.assert_allclose(normalise(voxels, RULE), expected, atol=0.02)


@pytest.mark.parametrize("value", [0.0, -1000.0, 4000.0])
def test_constant_padding_does_not_change_the_content(value):
    content = np.random.default_rng(0).normal(100, 20, size=(1, 9, 8, 7)).astype(np.float32)
    padded = np.pad(content, ((0, 0), (3, 4), (5, 5), (2, 6)), constant_values=value)
    inner = normalise(padded, RULE)[:, 3:12, 5:13, 2:9]
    np.testing.assert_allclose(inner, normalise(content, RULE), atol=1e-6)
    assert content_box(padded[0]) == (slice(3, 12), slice(5, 13), slice(2, 9))
    outside = normalise(padded, RULE)
    outside[:, 3:12, 5:13, 2:9] = 0
    assert not outside.any()


def test_padding_is_known_beside_voxels_that_are_no_numbers():
    """A padded channel that was resampled to a larger field of view."""
    content = np.random.default_rng(0).normal(100, 20, size=(1, 9, 8, 7)).astype(np.float32)
    padded = np.pad(content, ((0, 0), (3, 3), (3, 3), (3, 3)), constant_values=-1024)
    beyond = np.pad(padded, ((0, 0), (0, 0), (0, 0), (8, 9)), constant_values=np.nan)
    result = normalise(beyond, RULE)
    np.testing.assert_allclose(result[:, 3:12, 3:11, 11:18], normalise(content, RULE), atol=1e-6)
    result[:, 3:12, 3:11, 11:18] = 0
    assert not result.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_become_0_and_do_not_count(bad):
    content = np.random.default_rng(0).normal(100, 20, size=(1, 12, 12, 12)).astype(np.float32)
    broken = content.copy()
    broken[0, 3:5, 4, 5] = bad
    result = normalise(broken, RULE)
    assert np.isfinite(result).all()
    assert (result[0, 3:5, 4, 5] == 0).all()
    untouched = np.isfinite(broken)
    np.testing.assert_allclose(result[untouched], normalise(content, RULE)[untouched], atol=0.02)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (0, "float32"),
        (7.5, "float32"),
        (np.nan, "float32"),
        (np.inf, "float64"),
        (7.5, "float64"),
        (7, "int64"),
    ],
)
def test_constant_channel_becomes_0(value, dtype):
    voxels = np.full((2, 4, 4, 4), value, dtype=dtype)
    voxels[1] = np.arange(64).reshape(4, 4, 4)
    result = normalise(voxels, RULE)
    assert not result[0].any()
    assert result[1].max() == 1


def test_integers_are_taken_as_they_are():
    voxels = np.arange(1000).reshape(1, 10, 10, 10)
    expected = normalise(voxels.astype(np.float32), RULE)
    for dtype in (np.int16, np.uint16, np.float64):
        np.testing.assert_allclose(normalise(voxels.astype(dtype), RULE), expected, atol=1e-6)


def test_normalising_leaves_the_scan_alone():
    voxels = np.random.default_rng(0).normal(size=(2, 6, 6, 6)).astype(np.float32)
    voxels[0, 2, 2, 2] = np.nan
    before = voxels.copy()
    normalise(voxels, RULE)
    np.testing.assert_array_equal(voxels, before)


def test_second_normalisation_changes_nothing():
    """A scan whose background is 0, also within the head: the voxels clipped to the bottom are no background."""
    random = np.random.default_rng(0)
    scan = np.zeros((1, 24, 24, 24))
    scan[0, 4:20, 4:20, 4:20] = random.normal(300, 100, (16, 16, 16)).clip(20)
    scan[0, 8:12, 8:12, 8:12] = 0
    once = normalise(scan, IntensityRule())
    assert normalise(once, IntensityRule()) == pytest.approx(once, abs=1e-3)
    assert (once[scan == 0] == 0).all()
    assert once.max() == 1
