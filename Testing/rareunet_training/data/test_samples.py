"""Samples of cases, and the cache that keeps them within its budget."""

import numpy as np
import pytest
from training_helpers import samples
from turns import straight_world, turned_world

from rareunet import Volume
from rareunet.intensity import IntensityRule
from rareunet.volume_files import write_label_map, write_volume
from rareunet_training.data.cases import Case
from rareunet_training.data.samples import (
    FOREGROUND_VOXELS,
    KeptSamples,
    Sample,
    SampleCache,
    SampleFacts,
    load_sample,
)


def cache_of(sizes, budget):
    read = []

    def load(name):
        read.append(name)
        return Sample(
            name,
            np.zeros((1, sizes[name], 1, 1), np.float32),
            np.zeros((sizes[name], 1, 1), np.uint8),
            np.eye(4),
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
    scan, turn = case.read()[0], turned_world(np.degrees(np.arccos(0.8)), 2)
    turned = Volume(voxels, turn @ scan.ijk_to_ras)
    write_volume(tmp_path / "scan.nii.gz", turned)
    write_label_map(tmp_path / "label.nii.gz", label, turned)
    sample = load_sample(case, [7, 2], IntensityRule())
    canonical = straight_world((3, 1, 2))
    canonical[:2, 3] = -8, -5  # the last voxels of the stored axes, which run to P and L
    np.testing.assert_allclose(sample.ijk_to_ras, turn @ canonical, atol=1e-6)
    assert sample.spacing_mm == pytest.approx((3, 1, 2))


def test_value_outside_the_label_set_is_refused(tmp_path):
    case, *_ = stored_case(tmp_path)
    with pytest.raises(ValueError, match=r"a: label values \[2\] are not in the label set \[7\]"):
        load_sample(case, [7], IntensityRule())


def test_many_values_outside_the_label_set_are_counted(tmp_path):
    case, _, label = stored_case(tmp_path)
    values = np.zeros_like(label)
    values.flat[: 1 + 40] = range(41)
    write_label_map(tmp_path / "label.nii.gz", values, case.read()[0])
    message = r"\[21, 22, 23, 24 and 16 more\] are not in the label set \[1, 2, .*, 10 and 10 more\]"
    with pytest.raises(ValueError, match=message):
        load_sample(case, range(1, 21), IntensityRule())


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
    made = Sample("s", np.zeros((3, 4, 5, 6), np.float32), np.zeros((4, 5, 6), np.uint8), np.eye(4))
    assert SampleCache.of([made]).facts == (SampleFacts("s", (4, 5, 6), (1.0,) * 3, 3),)
    assert SampleCache.of([made]).facts[0].bytes == made.bytes
