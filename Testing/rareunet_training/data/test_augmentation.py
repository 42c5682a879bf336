"""Each random change by itself: what it does, what it leaves alone, and that a strength of nothing is nothing."""

from dataclasses import replace

import numpy as np
import pytest

from rareunet_training.configuration import AugmentationConfig
from rareunet_training.data.augmentation import augment, build_augmentation

OFF = AugmentationConfig(
    rotation_degrees=0.0, scaling=0.0, elastic_probability=0.0, elastic_magnitude=0.0,
    gamma=1.0, noise=0.0, blur=0.0, bias=0.0,
)  # fmt: skip
SEEDS = range(24)


def rod():
    """A rod along y, off the middle along x, and a scan that looks like it."""
    label = np.zeros((24, 24, 24), np.uint8)
    label[10:14, 3:21, 8:12] = 2
    random = np.random.default_rng(0)
    return (0.3 * label + 0.1 * random.random(label.shape))[None].astype(np.float32), label


def augmented(spacing=(1.0, 1.0, 1.0), **strengths):
    image, label = rod()
    transform = build_augmentation(replace(OFF, **strengths), spacing)
    return [augment(transform, image, label, seed) for seed in SEEDS]


def direction(label):
    """Unit vector along which a mask is longest."""
    return np.linalg.eigh(np.cov(np.argwhere(label).T))[1][:, -1]


def test_strengths_of_nothing_change_nothing():
    image, label = rod()
    for changed, classes in augmented(elastic_probability=1.0):
        np.testing.assert_allclose(changed, image, atol=2e-3)
        np.testing.assert_array_equal(classes, label)


@pytest.mark.parametrize("strength", [{"gamma": 3.0}, {"noise": 0.3}, {"blur": 3.0}, {"bias": 0.5}])
def test_intensities_change_without_the_label(strength):
    image, label = rod()
    changes = [float(abs(changed - image).mean()) for changed, _ in augmented(**strength)]
    assert max(changes) > 0.01
    assert all((classes == label).all() for _, classes in augmented(**strength))


def test_contrast_goes_both_ways():
    """On a ramp a gamma above 1 lowers the mean, one below raises it."""
    transform = build_augmentation(replace(OFF, gamma=2.0))
    ramp = np.linspace(0, 1, 512, dtype=np.float32).reshape(1, 8, 8, 8)
    means = [augment(transform, ramp, np.zeros((8, 8, 8), np.uint8), seed)[0].mean() for seed in range(40)]
    assert min(means) < 0.45
    assert max(means) > 0.55


def test_same_seed_gives_the_same_patch():
    image, label = rod()
    transform = build_augmentation(AugmentationConfig())
    first, other, again = (augment(transform, image, label, seed) for seed in (5, 6, 5))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_rotation_keeps_within_its_degrees():
    """Three turns of at most 10 degrees each tilt the rod by less than 20."""
    cosines = [abs(direction(classes)[1]) for _, classes in augmented(rotation_degrees=10.0)]
    assert min(cosines) > np.cos(np.deg2rad(20))
    assert min(cosines) < np.cos(np.deg2rad(2))


def test_rotated_label_keeps_its_values_and_its_place_in_the_scan():
    """Bright voxels and labelled ones stay together; classes are never mixed, intensities are."""
    image, _ = rod()
    blends = []
    for changed, classes in augmented(rotation_degrees=30.0):
        assert set(np.unique(classes)) <= {0, 2}
        together = (
            2
            * ((changed[0] > 0.35) & (classes == 2)).sum()
            / ((changed[0] > 0.35).sum() + (classes == 2).sum())
        )
        assert together > 0.9
        blends.append(int(((changed[0] > 0.2) & (changed[0] < 0.5)).sum()))
    assert max(blends) > 50  # the rod itself has none
    assert not ((image[0] > 0.2) & (image[0] < 0.5)).any()


def test_what_comes_from_outside_is_0():
    ones = np.ones((1, 16, 16, 16), np.float32)
    transform = build_augmentation(replace(OFF, rotation_degrees=45.0))
    made = [augment(transform, ones, ones[0].astype(np.uint8), seed) for seed in SEEDS]
    assert min(changed.min() for changed, _ in made) == 0
    assert min(classes.min() for _, classes in made) == 0


def test_scaling_changes_the_size():
    sizes = [int((classes == 2).sum()) for _, classes in augmented(scaling=0.3)]
    assert min(sizes) < 0.85 * 4 * 4 * 18 < 1.15 * 4 * 4 * 18 < max(sizes)


def test_mirroring_exchanges_left_and_right_of_both():
    image, label = rod()
    sides = set()
    for changed, classes in augmented(mirror_left_right=True):
        mirrored = not np.array_equal(classes, label)
        step = -1 if mirrored else 1
        np.testing.assert_array_equal(classes, label[:, :, ::step])
        np.testing.assert_allclose(changed, image[..., ::step], atol=2e-3)
        sides.add(mirrored)
    assert sides == {False, True}


def test_deformation_spares_thick_slices():
    _, label = rod()
    strengths = {"elastic_probability": 1.0, "elastic_magnitude": 300.0}
    assert any((classes != label).any() for _, classes in augmented(**strengths))
    assert all((classes == label).all() for _, classes in augmented((4.0, 1.0, 1.0), **strengths))
    never = {"elastic_probability": 0.0, "elastic_magnitude": 300.0}
    assert all((classes == label).all() for _, classes in augmented(**never))


def test_blur_is_never_more_than_asked_for():
    point = np.zeros((1, 9, 9, 9), np.float32)
    point[0, 4, 4, 4] = 1
    transform = build_augmentation(replace(OFF, blur=0.05))
    for seed in range(40):
        blurred, _ = augment(transform, point, np.zeros((9, 9, 9), np.uint8), seed)
        np.testing.assert_allclose(blurred, point, atol=2e-3)


def test_thick_slices_are_rotated_in_their_plane_alone():
    """A plate of one slice stays in its slice."""
    image, label = np.zeros((1, 8, 32, 32), np.float32), np.zeros((8, 32, 32), np.uint8)
    label[4, 8:24, 8:24] = 1
    image[0] = label
    quiet = AugmentationConfig(rotation_degrees=45.0, scaling=0.0)
    thick, cubes = build_augmentation(quiet, (4.0, 1.0, 1.0)), build_augmentation(quiet, (1.0, 1.0, 1.0))
    rotated = [augment(thick, image, label, seed)[1] for seed in range(10)]
    assert all(np.flatnonzero(r.any(axis=(1, 2))).tolist() == [4] for r in rotated)
    assert any((r != label).any() for r in rotated)
    tilted = [augment(cubes, image, label, seed)[1] for seed in range(10)]
    assert any(len(np.flatnonzero(r.any(axis=(1, 2)))) > 1 for r in tilted)
