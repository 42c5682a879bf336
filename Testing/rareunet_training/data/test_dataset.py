"""What is drawn at random for a step: batches, crops, routes; and what must not be."""

from dataclasses import replace

import numpy as np
import pytest
from training_helpers import config_of_balls, samples
from turns import straight_world

from rareunet.intensity import IntensityRule
from rareunet_training.configuration import AugmentationConfig
from rareunet_training.data import dataset
from rareunet_training.data.augmentation import build_augmentation
from rareunet_training.data.dataset import (
    StepDataset,
    augmented_patch,
    make_batches,
    make_views,
    patch_shape,
    random_crop,
    random_factors,
)
from rareunet_training.data.samples import Sample, SampleCache
from rareunet_training.data.views import ViewSettings

SETTINGS = ViewSettings((1.0, 1.0, 1.0), 4, 3, 2, IntensityRule())
MM = (1.0, 1.0, 1.0)


def fit_config(**changes):
    return replace(config_of_balls().fit, **changes)


def sample_of(label, foreground=()):
    """A scan that looks like its label map."""
    return Sample("s", label[None].astype(np.float32), label, straight_world(MM), foreground)


def steps_of(seed=0, epoch=0):
    """Own images by case, and the routes and sizes of each step's views."""
    steps = StepDataset(
        samples(5), fit_config(batch_size=1, seed=seed, patch=[8, 8, 8]), None, SETTINGS, epoch
    )
    made = [steps[step] for step in range(len(steps))]
    images = {step.cases[0]: step.views[0].images.numpy() for step in made}
    return images, [[(v.name, v.axis_depths, v.images.shape) for v in step.views] for step in made]


@pytest.mark.parametrize("change", [{"epoch": 1}, {"seed": 1}])
def test_each_epoch_and_seed_draws_other_crops_and_routes(change):
    first, routes = steps_of()
    again, same_routes = steps_of()
    other, other_routes = steps_of(**change)
    assert routes == same_routes
    assert routes != other_routes
    assert len({str(route) for route in routes}) > 1
    for case, image in first.items():
        np.testing.assert_array_equal(image, again[case])
        assert not np.array_equal(image, other[case])


def test_batches_are_mixed_anew_in_each_epoch():
    spacings = [MM] * 8 + [(4.0, 1.0, 1.0)] * 8
    epochs = [make_batches(spacings, fit_config(batch_size=2), SETTINGS, epoch) for epoch in range(8)]
    assert len({frozenset(map(frozenset, batches)) for batches in epochs}) == 8  # who is together
    changes = [sum((a[0] < 8) != (b[0] < 8) for a, b in zip(e, e[1:], strict=False)) for e in epochs]
    assert max(changes) > 1  # not all of one spacing first
    assert make_batches(spacings, fit_config(batch_size=2, seed=1), SETTINGS, 0) != epochs[0]


def together(spacings_mm):
    """Which scans may share a batch."""
    batches = make_batches([(mm, 1.0, 1.0) for mm in spacings_mm], fit_config(batch_size=9), SETTINGS, 0)
    return sorted(sorted(spacings_mm[index] for index in batch) for batch in batches)


def test_scans_of_one_route_and_about_equal_spacing_share_batches():
    assert together([1.0, 1.0001, 1.02, 1.3, 1.31]) == [[1.0, 1.0001, 1.02], [1.3, 1.31]]
    assert together([1.0, 1.1]) == [[1.0], [1.1]]  # one route, but not about equal
    assert together([1.125, 1.1254, 1.13]) == [[1.125, 1.1254], [1.13]]  # 1.13 mm is resampled
    assert together([1.59, 1.61]) == [[1.59, 1.61]]  # both at 1 mm, though 1.61 mm belongs to depth 1
    assert together([3.19, 3.21]) == [[3.19], [3.21]]  # from 3.2 mm on at depth 2


def test_batches_of_equal_spacings_are_in_the_order_of_the_shipped_models_training():
    fit = fit_config(batch_size=3)
    random = np.random.default_rng([fit.seed, 5])
    order = random.permutation(8)
    expected = [order[i : i + 3].tolist() for i in range(0, 8, 3)]
    assert make_batches([MM] * 8, fit, SETTINGS, 5) == [expected[i] for i in random.permutation(3)]


@pytest.mark.parametrize("method", ["rare", "unet-aug-up", "unet-aug-pad"])
@pytest.mark.parametrize("slices", [1, 2, 3, 8])
def test_patch_of_few_slices_is_halved_while_two_are_left(method, slices):
    label = np.ones((slices, 32, 32), np.uint8)
    fit = fit_config(method=method, patch=[slices, 32, 32])
    made = [make_views([sample_of(label)], MM, [(0,)], (key,), fit, None, SETTINGS) for key in range(8)]
    halved = [view for views in made for view in views if view.name.startswith("1/")]
    expected = {1, 2} if (method, slices) == ("rare", 8) else set()
    assert {max(view.axis_depths) for view in halved} == expected


def test_processes_take_the_same_routes_where_spacings_differ_by_rounding():
    """1.125 mm stays as it is, 1.1254 mm is resampled: gradients of different routes can't be added up."""
    worlds = [straight_world((mm,) * 3) for mm in (1.125, 1.1254)]
    mixed = [replace(ball, ijk_to_ras=worlds[i % 2]) for i, ball in enumerate(samples(8))]
    cache, fit = SampleCache.of(mixed), fit_config(batch_size=2, patch=[16, 16, 16])
    first, second = (StepDataset(cache, fit, None, SETTINGS, 0, rank, world_size=2) for rank in range(2))
    for step in range(len(first)):
        for view, other in zip(first[step].views, second[step].views, strict=True):
            assert (view.name, view.axis_depths) == (other.name, other.axis_depths)
            assert view.images.shape == other.images.shape


def test_patch_covers_the_same_mm_at_every_spacing_and_is_never_empty():
    """32 voxels of 1.5 mm are 48 mm, 16.55 voxels of 2.9 mm."""
    assert patch_shape((32, 64, 32), (1, 1, 1), (4.0, 1.0, 0.5)) == (8, 64, 64)
    assert patch_shape((32, 64, 32), (1.5, 1.0, 1.0), (2.9, 0.7, 100.0)) == (17, 91, 1)


def test_crop_reaches_both_ends_and_pads_the_middle():
    label = np.arange(1, 10, dtype=np.uint8)[:, None, None].repeat(5, axis=1).repeat(4, axis=2)
    random = np.random.default_rng(0)
    crops = [random_crop(sample_of(label), (8, 8, 4), random) for _ in range(20)]
    assert {int(cropped[0, 4, 0]) for _, cropped in crops} == {1, 2}
    for image, cropped in crops:
        np.testing.assert_array_equal(image[0], cropped)
        assert np.flatnonzero(cropped.any(axis=(0, 2))).tolist() == [
            2,
            3,
            4,
            5,
            6,
        ]  # the larger half goes before


def test_foreground_crops_choose_among_structures_and_voxels():
    """Two structures far apart, one of two far voxels, one that this scan lacks."""
    label = np.zeros((60, 4, 4), np.uint8)
    label[2, 0, 0], label[30, 0, 0], label[57, 0, 0] = 1, 2, 4
    foreground = (np.argwhere(label == 1), np.argwhere(label == 3), np.argwhere(label > 1))
    random = np.random.default_rng(0)
    crops = [random_crop(sample_of(label, foreground), (6, 4, 4), random, 1.0) for _ in range(200)]
    held = [np.unique(cropped[cropped > 0]).tolist() for _, cropped in crops]
    assert set(map(tuple, held)) == {(1,), (2,), (4,)}
    assert 0.4 < held.count([1]) / 200 < 0.6
    places = {int(np.argwhere(cropped)[0, 0]) for _, cropped in crops}
    assert places == set(range(6))  # anywhere in the crop
    anywhere = [
        random_crop(sample_of(label, foreground), (6, 4, 4), random, 0.0)[1].any() for _ in range(200)
    ]
    assert sum(anywhere) < 80  # 12 of the 55 places hold one


def test_foreground_crops_reach_the_views():
    label = np.zeros((64, 64, 64), np.uint8)
    label[40, 50, 3] = 1
    made = sample_of(label, (np.argwhere(label),))
    for key in range(10):
        fit = fit_config(foreground_crops=1.0)
        assert make_views([made], MM, [(key,)], (key,), fit, None, SETTINGS)[0].labels.any()


def test_key_decides_the_crop_and_the_augmentation():
    made = sample_of(np.random.default_rng(0).integers(0, 2, (20, 20, 20), dtype=np.uint8))
    rotate = build_augmentation(AugmentationConfig())
    for transform, shape in (
        (None, (8, 8, 8)),
        (rotate, (20, 20, 20)),
    ):  # the second leaves no choice of the crop
        first, again, other = (augmented_patch(made, transform, shape, key)[1] for key in ((3,), (3,), (4,)))
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)


def test_thick_slices_are_augmented_as_such():
    """A plate of one slice is turned within it; between cubes of voxels it would tilt."""
    label = np.zeros((8, 32, 32), np.uint8)
    label[4, 8:24, 12:20] = 1
    turning = AugmentationConfig(rotation_degrees=45.0, scaling=0.0)
    fit, keys = fit_config(patch=[32, 32, 32]), [(key,) for key in range(8)]
    labels = make_views([sample_of(label)] * 8, (4.0, 1.0, 1.0), keys, (0,), fit, turning, SETTINGS)[
        0
    ].labels.numpy()
    assert all(np.flatnonzero(made.any(axis=(1, 2))).tolist() == [4] for made in labels)
    assert any((made != label).any() for made in labels)


@pytest.mark.parametrize(("spacing", "deepest_own"), [((4.0, 4.0, 4.0), 2), ((4.0, 1.0, 1.0), 2), (MM, 0)])
def test_halvings_end_at_the_deepest_gateway(spacing, deepest_own):
    made = samples(1, spacing)[0]
    patch = fit_config(patch=[64, 64, 64])
    drawn = [make_views([made], spacing, [(0,)], (key,), patch, None, SETTINGS) for key in range(12)]
    halved = [
        [view.name for view in views if view.name.startswith("1/") and not view.patch] for views in drawn
    ]
    allowed = ["1/2", "1/4", "1/8"][: 3 - deepest_own]
    without_half = [names for names in halved if names != allowed]
    assert without_half == [["1/4", "1/8"]] * len(without_half)
    assert (1 <= len(without_half) <= 8) if deepest_own == 0 else not without_half


def test_published_protocol_has_all_halvings_and_no_slices():
    settings = replace(SETTINGS, protocol="published")
    fit = fit_config(protocol="published", coarse_patches=1)
    for key in range(5):
        views = make_views([samples(1)[0]], MM, [(0,)], (key,), fit, None, settings)
        assert [view.name for view in views] == ["own", "1/2", "1/4", "1/8"]


def test_quarter_resolution_and_less_is_shown_of_more_patches():
    """Another part of the scan, at the grids of the first patch: batches of all processes have the same shapes."""
    made = sample_of(np.random.default_rng(0).integers(0, 2, (48, 48, 48), dtype=np.uint8))
    fit = fit_config(patch=[32, 32, 32], coarse_patches=3, protocol="published")
    views = make_views([made], MM, [(0,)], (0,), fit, None, replace(SETTINGS, protocol="published"))
    shown = [(view.name, view.patch) for view in views]
    assert shown == [("own", 0), ("1/2", 0), *[(name, n) for n in range(3) for name in ("1/4", "1/8")]]
    quarters = [view for view in views if view.name == "1/4"]
    assert len({view.images.shape for view in quarters}) == 1
    assert len({view.images.numpy().tobytes() for view in quarters}) == 3


def recorded(monkeypatch, name, fit):
    """What the view of that name is made with, over 60 steps."""
    calls, real = [], getattr(dataset, name)

    def recorder(image, label, spacing, *arguments):
        calls.append(arguments[:-1])
        return real(image, label, spacing, *arguments)

    monkeypatch.setattr(dataset, name, recorder)
    made = samples(1)[0]
    for key in range(60):
        make_views([made], MM, [(0,)], (key,), fit, None, SETTINGS)
    assert len(calls) == 60
    return calls


def test_slices_are_of_all_thicknesses(monkeypatch):
    thicknesses = [thickness for _, thickness in recorded(monkeypatch, "degraded_view", fit_config())]
    assert 0.5 <= min(thicknesses) < 0.6
    assert 0.9 < max(thicknesses) <= 1


def test_padding_baseline_sees_every_halving(monkeypatch):
    calls = recorded(monkeypatch, "padded_view", fit_config(method="unet-aug-pad"))
    assert {depth for (depth,) in calls} == {1, 2, 3}


@pytest.mark.parametrize("protocol", ["aligned", "published"])
def test_resampling_baseline_sees_every_halving_and_other_factors_if_aligned(monkeypatch, protocol):
    fit = fit_config(method="unet-aug-up", protocol=protocol)
    factors = [tuple(factors) for (factors,) in recorded(monkeypatch, "restored_view", fit)]
    halvings = {(2.0,) * 3, (4.0,) * 3, (8.0,) * 3}
    assert halvings <= set(factors)
    others = sum(factor not in halvings for factor in factors)
    assert 10 < others < 45 if protocol == "aligned" else others == 0


def test_random_factors_are_those_of_scanners():
    """A third isotropic, else one axis at least as coarse as the other two; half of them whole numbers, none 1."""
    random = np.random.default_rng(0)
    factors = np.array([random_factors(random) for _ in range(600)])
    isotropic = (factors == factors[:, :1]).all(axis=1)
    assert 0.28 < isotropic.mean() < 0.40
    ordered = np.sort(factors, axis=1)
    assert (ordered[:, 0] == ordered[:, 1]).all()
    assert ordered[:, 2].min() > 1
    assert ordered[:, 0].min() >= 1
    assert (factors.max(axis=0) > 5).all()  # thick along any axis
    coarse_plane = ordered[~isotropic, 0] > 1
    assert 0.2 < coarse_plane.mean() < 0.4
    whole = ordered[:, 2] == ordered[:, 2].round()
    assert 0.4 < whole.mean() < 0.6


def test_processes_share_a_batch_and_draw_what_one_process_would():
    """Views of a case depend on the case, not on which process holds it."""
    fit = fit_config(batch_size=4)
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
    fit = fit_config(batch_size=1)
    steps = [StepDataset(samples(2), fit, AugmentationConfig(), SETTINGS, 0, rank, 2)[0] for rank in range(2)]
    assert [step.weight for step in steps] == [1.0, 0.0]
    assert steps[0].cases == steps[1].cases


def test_scan_of_2_mm_enters_at_depth_1_and_trains_no_finer_view():
    fit = fit_config(patch=[32, 32, 32])
    made = samples(2, spacing=(2.0, 2.0, 2.0))
    views = make_views([made[0], made[1]], (2.0,) * 3, [(0,), (1,)], (0,), fit, None, SETTINGS)
    assert views[0].axis_depths == (1, 1, 1)
    assert views[0].images.shape[2:] == (16, 16, 16)
    assert all(min(view.axis_depths) > 1 for view in views if view.name.startswith("1/"))


@pytest.mark.parametrize("method", ["unet", "unet-aug-up", "unet-aug-pad"])
def test_baselines_see_the_full_grid_alone(method):
    fit = fit_config(method=method)
    settings = replace(SETTINGS, stages=3, deepest=0)
    views = make_views([samples(1)[0]], MM, [(0,)], (0,), fit, None, settings)
    assert {view.images.shape for view in views} == {(1, 1, 16, 16, 16)}
    assert {view.axis_depths for view in views} == {(0, 0, 0)}
    assert len(views) == (1 if method == "unet" else 2)
