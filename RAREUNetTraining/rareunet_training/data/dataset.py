"""Samples -> training steps. A step holds several views of the same scans, each on its own route.

All randomness is keyed by (seed, epoch, case or step), so that a resumed or distributed run draws the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from monai import transforms
from torch.utils.data import Dataset

from rareunet.geometry import Shape, Triple
from rareunet.routing import route_for
from rareunet_training.configuration import AugmentationConfig, FitConfig
from rareunet_training.data.augmentation import augment, build_augmentation
from rareunet_training.data.samples import Sample, SampleCache
from rareunet_training.data.views import (
    Part,
    View,
    ViewSettings,
    degraded_view,
    halved_view,
    own_view,
    padded_view,
    restored_view,
    stack,
)

Patch = tuple[np.ndarray, np.ndarray]  # image (C, Z, Y, X) and label (Z, Y, X)

# Of the steps: a view at 1/2 takes half the time of the whole one, and fewer of it suffice.
HALF_OFTEN = 2 / 3
COARSE = 2  # halvings from which on a view takes less than a fifth of that time: it is shown of more patches
SPACINGS_PER_DOUBLING = 15  # scans of one batch differ by less than 5 %, which augmentation scales by anyway


@dataclass(frozen=True)
class Step:
    """A training step: views of the same cases, and the share this process has in the batch.

    Attributes:
        views: the first is the scans' own resolution.
        cases: names of all cases of the batch, over all processes.
        weight: 0 where the batch has no case for this process, which then repeats one to take part.
    """

    views: list[View]
    cases: list[str]
    weight: float = 1.0


class StepDataset(Dataset[Step]):
    """The steps of one epoch, as one process sees them.

    Args:
        samples: all training samples.
        fit, augmentation: sections of the configuration.
        settings: how views are made.
        epoch: of which the steps are.
        rank, world_size: this process and their number; a batch is shared out over them.
    """

    def __init__(
        self,
        samples: SampleCache,
        fit: FitConfig,
        augmentation: AugmentationConfig,
        settings: ViewSettings,
        epoch: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.samples, self.fit, self.augmentation, self.settings = samples, fit, augmentation, settings
        self.epoch, self.rank, self.world_size = epoch, rank, world_size
        self.batches = make_batches([f.spacing_mm for f in samples.facts], fit, settings, epoch)

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, step: int) -> Step:
        batch = self.batches[step]
        mine = batch[self.rank :: self.world_size]
        held = mine or batch[:1]
        keys = [(self.fit.seed, self.epoch, index) for index in held]
        # One spacing for the whole batch, in which they differ by little: all processes take the same routes.
        spacing = self.samples.facts[batch[0]].spacing_mm
        samples = [self.samples[index] for index in held]
        key = (self.fit.seed, self.epoch, step, len(self.samples))
        views = make_views(samples, spacing, keys, key, self.fit, self.augmentation, self.settings)
        names = [self.samples.facts[index].name for index in batch]
        return Step(views, names, 1.0 if mine else 0.0)


def make_batches(
    spacings_mm: Sequence[Triple], fit: FitConfig, settings: ViewSettings, epoch: int
) -> list[list[int]]:
    """Indices of cases of one route and about equal spacing, in an order that the seed and epoch decide."""
    random = np.random.default_rng([fit.seed, epoch])
    groups: dict[tuple[object, ...], list[int]] = {}
    for index in random.permutation(len(spacings_mm)):
        groups.setdefault(_kind(spacings_mm[index], settings), []).append(int(index))
    size = fit.batch_size
    batches = [group[i : i + size] for group in groups.values() for i in range(0, len(group), size)]
    return [batches[i] for i in random.permutation(len(batches))]


def _kind(spacing_mm: Sequence[float], settings: ViewSettings) -> tuple[object, ...]:
    """What scans have in common that can be stacked: the route, and the spacing in steps of 5 %."""
    spacing = [float(f"{s:.4g}") for s in spacing_mm]  # headers differ by rounding
    reference = settings.reference_spacing_mm
    route = route_for(spacing, reference, settings.deepest)
    steps = (round(SPACINGS_PER_DOUBLING * math.log2(s / r)) for s, r in zip(spacing, reference, strict=True))
    return route.axis_depths, route.resampled_axes, *steps


def make_views(
    samples: Sequence[Sample],
    spacing: Triple,
    keys: Sequence[tuple[int, ...]],
    step_key: tuple[int, ...],
    fit: FitConfig,
    augmentation: AugmentationConfig | None,
    settings: ViewSettings,
) -> list[View]:
    """Views of one batch. "rare": its own resolution, halved ones and a degraded one; baselines: see FitConfig.

    Args:
        samples: of about one spacing.
        spacing: (z, y, x), mm, that all of them are taken to have.
        keys: decide what is random about each sample.
        step_key: decides what all samples of the step share, whichever process holds them.
        augmentation: None for none.
    """
    random = np.random.default_rng(list(step_key))
    wide = bool(fit.wide_patch) and random.random() < 0.5
    shape = patch_shape(fit.wide_patch if wide else fit.patch, settings.reference_spacing_mm, spacing)
    transform = None if augmentation is None else _transform(augmentation, spacing)

    def patches_of(number: int) -> list[Patch]:
        return [
            augmented_patch(sample, transform, shape, (*key, number), fit.foreground_crops)
            for sample, key in zip(samples, keys, strict=True)
        ]

    patches, most = patches_of(0), most_halvings(shape)
    own = [own_view(*p, spacing, settings) for p in patches]
    views = [stack("own", 0, own, settings.stages)]
    if fit.method == "rare":
        most = min(most, settings.deepest - max(own[0][2].axis_depths))
        halvings = _halvings(random, most, fit.protocol)
        coarse = [depth for depth in halvings if depth >= COARSE]
        views += _halved(patches, 0, halvings, spacing, settings)
        if coarse:
            for number in range(1, fit.coarse_patches):
                views += _halved(patches_of(number), number, coarse, spacing, settings)
        if fit.protocol == "aligned":
            factors, thickness = random_factors(random), float(random.uniform(0.5, 1.0))
            degraded = [degraded_view(*p, spacing, factors, thickness, settings) for p in patches]
            views.append(stack("degraded", 0, degraded, settings.stages))
    elif fit.method != "unet":
        restored = _restored(patches, spacing, min(int(random.integers(1, 4)), most), random, fit, settings)
        views.append(stack("restored", 0, restored, settings.stages))
    return views


def _halved(
    patches: Sequence[Patch], number: int, halvings: Sequence[int], spacing: Triple, s: ViewSettings
) -> list[View]:
    return [
        stack(f"1/{2**depth}", number, [halved_view(*p, spacing, depth, s) for p in patches], s.stages)
        for depth in halvings
    ]


def _restored(
    patches: Sequence[Patch],
    spacing: Triple,
    depth: int,
    random: np.random.Generator,
    fit: FitConfig,
    s: ViewSettings,
) -> list[Part]:
    """Low-resolution scans as the baselines without gateways are given them."""
    if fit.method == "unet-aug-pad":
        return [padded_view(*p, spacing, depth, s) for p in patches]
    as_halved = fit.protocol == "published" or random.random() < 0.5
    factors = (2.0**depth,) * 3 if as_halved else random_factors(random)
    return [restored_view(*p, spacing, factors, s) for p in patches]


def patch_shape(patch: Sequence[int], reference_mm: Sequence[float], spacing_mm: Sequence[float]) -> Shape:
    """Voxels (Z, Y, X) of this spacing that cover as many mm as `patch` does at the reference spacing."""
    z, y, x = (max(1, round(n * r / s)) for n, r, s in zip(patch, reference_mm, spacing_mm, strict=True))
    return z, y, x


def most_halvings(shape: Shape) -> int:
    """How often a patch can be halved and still has two voxels along each axis."""
    return max(0, min(shape).bit_length() - 2)


def augmented_patch(
    sample: Sample,
    transform: transforms.Compose | None,
    shape: Shape,
    key: Sequence[int],
    foreground_crops: float = 0.0,
) -> Patch:
    """A random patch (Z, Y, X voxels) of a sample, augmented if there is a transform."""
    random = np.random.default_rng(list(key))
    image, label = random_crop(sample, shape, random, foreground_crops)
    if transform is not None:
        image, label = augment(transform, np.ascontiguousarray(image), label, int(random.integers(2**31)))
    return image, label


def random_crop(
    sample: Sample, shape: Shape, random: np.random.Generator, foreground_crops: float = 0.0
) -> Patch:
    """Crops at random where larger than shape (Z, Y, X), pads with 0 on both sides where smaller.

    Args:
        foreground_crops: share of crops that hold a random voxel of a random structure, so that small structures
            in large scans are seen often enough.
    """
    image, label, wanted = sample.image, sample.label, None
    present = [voxels for voxels in sample.foreground if len(voxels)]
    if present and random.random() < foreground_crops:
        voxels = present[random.integers(len(present))]
        wanted = voxels[random.integers(len(voxels))]
    for axis, size in enumerate(shape):
        n = label.shape[axis]
        if n > size:
            low, high = 0, n - size
            if wanted is not None:
                low, high = max(low, int(wanted[axis]) - size + 1), min(high, int(wanted[axis]))
            start = int(random.integers(low, high + 1))
            image = image.take(range(start, start + size), axis + 1)
            label = label.take(range(start, start + size), axis)
        elif n < size:
            pads = [(0, 0)] * 3
            pads[axis] = ((size - n + 1) // 2, (size - n) // 2)
            image, label = np.pad(image, [(0, 0), *pads]), np.pad(label, pads)
    return image, label


def random_factors(random: np.random.Generator) -> Triple:
    """Coarsening of each axis: thick slices along any axis in 2 of 3 cases, else isotropic.

    Half of them are whole numbers, as protocols mostly have them (1 x 1 x 4 mm); then structures often fill a voxel
    just by half, which other factors hardly ever show.
    """
    whole = random.random() < 0.5

    def draw(low: float, high: float) -> float:
        factor = float(np.exp(random.uniform(np.log(low), np.log(high))))
        return max(2.0, float(round(factor))) if whole else factor

    if random.random() < 1 / 3:
        factor = draw(1.3, 8.0)
        return factor, factor, factor
    in_plane = 1.0 if random.random() < 0.7 else float(random.uniform(1.2, 2.2))
    factors = [in_plane] * 3
    factors[random.integers(3)] = max(draw(1.6, 9.0), in_plane)
    return factors[0], factors[1], factors[2]


def _halvings(random: np.random.Generator, most: int, protocol: str) -> list[int]:
    """How often to halve: once to `most` times; in the aligned protocol not always once if three times are possible."""
    without_half = protocol == "aligned" and most > 2 and random.random() > HALF_OFTEN
    return list(range(2 if without_half else 1, most + 1))


@lru_cache(maxsize=64)
def _transform(config: AugmentationConfig, spacing_mm: Triple) -> transforms.Compose:
    return build_augmentation(config, spacing_mm)
