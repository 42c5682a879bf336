"""The cache of samples, and crops and batches from them."""

from dataclasses import replace

import numpy as np
import pytest
from training_helpers import config_of_balls, samples

from rareunet import Volume
from rareunet.intensity import IntensityRule
from rareunet.volume_files import write_label_map, write_volume
from rareunet_training.configuration import AugmentationConfig
from rareunet_training.data.augmentation import augment, build_augmentation
from rareunet_training.data.cases import Case
from rareunet_training.data.dataset import (
    StepDataset,
    make_batches,
    make_views,
    patch_shape,
    random_crop,
    random_factors,
)
from rareunet_training.data.samples import (
    FOREGROUND_VOXELS,
    KeptSamples,
    Sample,
    SampleCache,
    SampleFacts,
    load_sample,
)
from rareunet_training.data.views import ViewSettings

SETTINGS = ViewSettings((1.0, 1.0, 1.0), 4, 3, 2, IntensityRule())


def cache_of(sizes, budget):
    read = []

    def load(name):
        read.append(name)
        return Sample(
            name,
            np.zeros((1, sizes[name], 1, 1), np.float32),
            np.zeros((sizes[name], 1, 1), np.uint8),
            (1.0,) * 3,
        )

    facts = [SampleFacts(name, (size, 1, 1), (1.0,) * 3) for name, size in sizes.items()]
    return SampleCache(facts, load, KeptSamples(budget)), read


def test_cache_stays_within_its_budget_and_drops_the_least_recently_used():
    cache, read = cache_of({"a": 10, "b": 10, "c": 10}, budget=100)  # two samples of 50 bytes
    for index in (0, 1, 0, 2, 0, 1):
        assert cache[index].name == "abc"[index]
        assert cache.kept.bytes <= 100
    assert read == ["a", "b", "c", "b"]


def test_cache_without_room_reads_each_time_and_keeps_nothing():
    cache, read = cache_of({"a": 10}, budget=49)
    assert cache[0].name == cache[0].name == "a"
    assert (read, cache.kept.bytes) == (["a", "a"], 0)


def test_facts_tell_the_memory_of_a_sample():
    sample = samples(1)[0]
    facts = SampleFacts(sample.name, (18, 18, 18), sample.spacing_mm)
    assert facts.bytes == sample.image.nbytes + sample.label.nbytes


def stored_case(folder):
    """A scan stored with x to the back and y to the left, of voxels 3 x 2 x 1 mm (z, y, x), and its label map."""
    voxels = np.random.default_rng(0).uniform(50, 100, (4, 5, 6)).astype(np.float32)
    label = np.zeros((4, 5, 6), np.uint8)
    label[0, 1, 2], label[3, 0, 5] = 7, 2
    matrix = np.array([[0, -2, 0, 0], [-1, 0, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]], float)
    scan = Volume(voxels, matrix)
    write_volume(folder / "scan.nii.gz", scan)
    write_label_map(folder / "label.nii.gz", label, scan)
    return Case("a", (folder / "scan.nii.gz",), folder / "label.nii.gz"), voxels, label


def test_sample_is_in_canonical_axes_with_classes_in_the_order_of_the_labels(tmp_path):
    case, voxels, label = stored_case(tmp_path)
    sample = load_sample(case, [7, 2], IntensityRule(0, 100))
    to_canonical = (slice(None), slice(None, None, -1), slice(None, None, -1))
    expected = (voxels - voxels.min()) / np.ptp(voxels)
    np.testing.assert_allclose(sample.image[0], expected.transpose(0, 2, 1)[to_canonical], atol=1e-5)
    classes = (1 * (label == 7) + 2 * (label == 2)).transpose(0, 2, 1)[to_canonical]
    np.testing.assert_array_equal(sample.label, classes)
    assert sample.spacing_mm == pytest.approx((3, 1, 2))
    assert [np.argwhere(classes == k).tolist() for k in (1, 2)] == [f.tolist() for f in sample.foreground]


def test_sample_knows_how_it_lies(tmp_path):
    case, voxels, label = stored_case(tmp_path)
    scan, turn = case.read()[0], np.eye(4)
    turn[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    turned = Volume(voxels, turn @ scan.ijk_to_ras)
    write_volume(tmp_path / "scan.nii.gz", turned)
    write_label_map(tmp_path / "label.nii.gz", label, turned)
    sample = load_sample(case, [7, 2], IntensityRule())
    np.testing.assert_allclose(sample.directions, [[0, 0, 1], [-0.6, 0.8, 0], [0.8, 0.6, 0]], atol=1e-6)


def test_value_outside_the_label_set_is_refused(tmp_path):
    case, *_ = stored_case(tmp_path)
    with pytest.raises(ValueError, match=r"a: label values \[2\] are not in the label set \[7\]"):
        load_sample(case, [7], IntensityRule())


def test_few_voxels_of_a_large_structure_are_kept_from_all_over_it(tmp_path):
    scan = Volume(np.random.default_rng(0).random((21, 21, 21)).astype(np.float32), np.eye(4))
    write_volume(tmp_path / "scan.nii.gz", scan)
    write_label_map(tmp_path / "label.nii.gz", np.ones((21, 21, 21), np.uint8), scan)
    case = Case("a", (tmp_path / "scan.nii.gz",), tmp_path / "label.nii.gz")
    (kept,) = load_sample(case, [1], IntensityRule()).foreground
    assert FOREGROUND_VOXELS / 2 < len(kept) <= FOREGROUND_VOXELS
    assert (kept.min(axis=0) < 4).all()
    assert (kept.max(axis=0) > 16).all()


def test_part_of_a_cache_shares_its_budget():
    cache, read = cache_of({"a": 10, "b": 10, "c": 10}, budget=100)
    part = cache[1:]
    assert [facts.name for facts in part.facts] == ["b", "c"]
    assert [part[0].name, part[1].name, part[0].name, cache[1].name] == ["b", "c", "b", "b"]
    assert (read, cache.kept.bytes) == (["b", "c"], 100)


def test_cache_is_filled_with_what_fits():
    cache, read = cache_of({"a": 10, "b": 30, "c": 10}, budget=100)
    for _ in range(2):
        cache.fill()
    assert read == ["a", "c"]


def test_facts_of_samples_in_memory_know_their_channels():
    made = Sample("s", np.zeros((3, 4, 5, 6), np.float32), np.zeros((4, 5, 6), np.uint8), (1.0,) * 3)
    assert SampleCache.of([made]).facts == (SampleFacts("s", (4, 5, 6), (1.0,) * 3, 3),)
    assert SampleCache.of([made]).facts[0].bytes == made.bytes


def test_crops_of_a_structure_hold_it():
    """A structure of one voxel in a corner, which a random crop of a hundredth of the scan would miss."""
    label = np.zeros((40, 40, 40), np.uint8)
    label[38, 1, 20] = 1
    sample = Sample("s", np.zeros((1, 40, 40, 40), np.float32), label, (1.0,) * 3, (np.argwhere(label),))
    random = np.random.default_rng(0)
    assert all(random_crop(sample, (8, 8, 8), random, 1.0)[1].any() for _ in range(50))
    assert sum(random_crop(sample, (8, 8, 8), random, 0.0)[1].any() for _ in range(50)) < 10


def test_crop_pads_what_is_too_small():
    label = np.ones((5, 20, 8), np.uint8)
    sample = Sample("s", np.ones((2, 5, 20, 8), np.float32), label, (1.0,) * 3)
    image, cropped = random_crop(sample, (8, 8, 8), np.random.default_rng(0))
    assert image.shape == (2, 8, 8, 8)
    assert cropped.sum() == 5 * 8 * 8


def test_patch_covers_the_same_mm_at_every_spacing():
    assert patch_shape((32, 64, 32), (1, 1, 1), (4.0, 1.0, 0.5)) == (8, 64, 64)


def test_batches_hold_one_spacing_and_every_case_once():
    spacings = [(1.0, 1.0, 1.0)] * 5 + [(4.0, 1.0, 1.0)] * 4
    fit = replace(config_of_balls().fit, batch_size=2)
    batches = make_batches(spacings, fit, SETTINGS, epoch=0)
    assert sorted(index for batch in batches for index in batch) == list(range(9))
    assert all(len({spacings[index] for index in batch}) == 1 for batch in batches)
    assert batches == make_batches(spacings, fit, SETTINGS, epoch=0)
    assert batches != make_batches(spacings, fit, SETTINGS, epoch=1)


def test_processes_share_a_batch_and_draw_what_one_process_would():
    """Views of a case depend on the case, not on which process holds it."""
    fit = replace(config_of_balls().fit, batch_size=4)
    augmentation = AugmentationConfig()
    whole = StepDataset(samples(5), fit, augmentation, SETTINGS, epoch=3)[0]
    parts = [StepDataset(samples(5), fit, augmentation, SETTINGS, 3, rank, 2)[0] for rank in range(2)]
    assert [view.name for view in whole.views] == [view.name for view in parts[0].views]
    for number, view in enumerate(whole.views):
        for rank, part in enumerate(parts):
            assert part.views[number].axis_depths == view.axis_depths
            np.testing.assert_array_equal(part.views[number].images, view.images[rank::2])
    assert parts[0].cases == whole.cases


def test_process_without_a_case_repeats_one_with_weight_0():
    fit = replace(config_of_balls().fit, batch_size=1)
    steps = [StepDataset(samples(2), fit, AugmentationConfig(), SETTINGS, 0, rank, 2)[0] for rank in range(2)]
    assert [step.weight for step in steps] == [1.0, 0.0]
    assert steps[0].cases == steps[1].cases


def test_scan_of_2_mm_enters_at_depth_1_and_trains_no_finer_view():
    fit = replace(config_of_balls().fit, patch=[32, 32, 32])
    made = samples(2, spacing=(2.0, 2.0, 2.0))
    views = make_views([made[0], made[1]], [(0,), (1,)], (0,), fit, None, SETTINGS)
    assert views[0].axis_depths == (1, 1, 1)
    assert views[0].images.shape[2:] == (16, 16, 16)
    assert all(min(view.axis_depths) > 1 for view in views if view.name.startswith("1/"))


@pytest.mark.parametrize("method", ["unet", "unet-aug-up", "unet-aug-pad"])
def test_baselines_see_the_full_grid_alone(method):
    fit = replace(config_of_balls().fit, method=method)
    settings = replace(SETTINGS, stages=3, deepest=0)
    views = make_views([samples(1)[0]], [(0,)], (0,), fit, None, settings)
    assert {view.images.shape for view in views} == {(1, 1, 16, 16, 16)}
    assert {view.axis_depths for view in views} == {(0, 0, 0)}
    assert len(views) == (1 if method == "unet" else 2)


def test_random_factors_reach_every_axis_and_never_refine():
    random = np.random.default_rng(1)
    factors = np.array([random_factors(random) for _ in range(300)])
    assert factors.min() >= 1
    assert (factors.max(axis=0) > 5).all()


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
