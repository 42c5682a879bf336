"""Cases -> training steps. A step holds several views of the same scans, each on its own route.

All randomness is keyed by (seed, epoch, case or step), so that a resumed or distributed run draws the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from monai import transforms
from torch import Tensor

from rareunet.geometry import Reorientation
from rareunet.preprocessing import IntensityRule, network_shape, normalise, padding_for, resample
from rareunet.routing import AxisDepths, Route, route_for
from rareunet_training.augmentation import augment
from rareunet_training.cases import Case
from rareunet_training.degradation import corner_label, degrade, halve, majority_label

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Sample:
    """A case in memory: image float32 (C, Z, Y, X) in [0, 1], classes uint8 (Z, Y, X), axes S, A, R."""

    name: str
    image: np.ndarray
    label: np.ndarray
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True)
class View:
    """One resolution of a batch: images (B, C, Z, Y, X) float32, labels (B, Z, Y, X) int64, the route's depths."""

    name: str
    images: Tensor
    labels: Tensor
    axis_depths: AxisDepths

    def to(self, device: torch.device) -> View:
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


@dataclass(frozen=True)
class ViewSettings:
    """What a view is made with: reference spacing (S, A, R), stages, deepest depth, classes, label protocol."""

    reference_spacing_mm: tuple[float, float, float]
    stages: int
    deepest: int
    classes: int
    rule: IntensityRule
    protocol: str = "aligned"


def load_sample(case: Case, label_values: Sequence[int], rule: IntensityRule) -> Sample:
    """Reads a case into canonical axes; labels become class indices 1, 2, ... in the order of label_values."""
    scan, label = case.read()
    reorientation = Reorientation.to_ras(scan.ijk_to_ras)
    image = normalise(reorientation.apply(scan.voxels), rule)
    values = reorientation.apply(label.voxels)[0]
    unknown = sorted(set(np.unique(values).tolist()) - {0, *label_values})
    if unknown:
        raise ValueError(
            f"{case.name}: label values {unknown} are not in the label set {list(label_values)}."
        )
    classes = np.zeros(values.shape, dtype=np.uint8)
    for index, value in enumerate(label_values, start=1):
        classes[values == value] = index
    return Sample(case.name, image, classes, reorientation.reorder(scan.spacing_mm))


def fit_to(
    image: np.ndarray, label: np.ndarray, shape: Shape, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Crops at random where larger than shape (Z, Y, X), pads with 0 on both sides where smaller."""
    for axis, size in enumerate(shape):
        n = label.shape[axis]
        if n > size:
            start = int(random.integers(n - size + 1))
            image, label = (
                image.take(range(start, start + size), axis + 1),
                label.take(range(start, start + size), axis),
            )
        elif n < size:
            pads = [(0, 0)] * 3
            pads[axis] = ((size - n + 1) // 2, (size - n) // 2)
            image, label = np.pad(image, [(0, 0), *pads]), np.pad(label, pads)
    return image, label


def augmented_patch(
    sample: Sample, transform: transforms.Compose | None, patch: Shape, key: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """A random patch (Z, Y, X voxels) of a sample, augmented if there is a transform."""
    random = np.random.default_rng(list(key))
    image, label = fit_to(sample.image, sample.label, patch, random)
    if transform is not None:
        image, label = augment(transform, np.ascontiguousarray(image), label, int(random.integers(2**31)))
    return image, label


def own_view(
    image: np.ndarray, label: np.ndarray, spacing: Sequence[float], s: ViewSettings
) -> tuple[np.ndarray, np.ndarray, Route]:
    """The patch at its own spacing."""
    return _on_network_grid(image, label, route_for(spacing, s.reference_spacing_mm, s.deepest), s)


def halved_view(
    image: np.ndarray, label: np.ndarray, spacing: Sequence[float], depth: int, s: ViewSettings
) -> tuple[np.ndarray, np.ndarray, Route]:
    """The patch halved `depth` times along each axis."""
    sizes = [n // 2**depth for n in label.shape]
    route = route_for([v * 2**depth for v in spacing], s.reference_spacing_mm, s.deepest)
    if s.protocol == "published":
        return normalise(halve(image, depth), s.rule), corner_label(label, depth), route
    coarse = majority_label(label, s.classes, sizes, [2**depth] * 3)
    return normalise(halve(image, depth), s.rule), coarse, route


def degraded_view(
    image: np.ndarray,
    label: np.ndarray,
    spacing: Sequence[float],
    factors: Sequence[float],
    thickness: float,
    s: ViewSettings,
) -> tuple[np.ndarray, np.ndarray, Route]:
    """The patch as a scanner with coarser voxels would give it: `factors` times its spacing along each axis."""
    sizes = [max(1, round(n / factor)) for n, factor in zip(label.shape, factors, strict=True)]
    steps = [n / size for n, size in zip(label.shape, sizes, strict=True)]
    route = route_for(
        [v * step for v, step in zip(spacing, steps, strict=True)], s.reference_spacing_mm, s.deepest
    )
    return _on_network_grid(degrade(image, sizes, steps, thickness), label, route, s)


def _on_network_grid(
    image: np.ndarray, label: np.ndarray, route: Route, s: ViewSettings
) -> tuple[np.ndarray, np.ndarray, Route]:
    """Normalises and resamples as inference does; the label goes from its fine grid to the network's voxels."""
    sizes = network_shape(image.shape[1:], route)
    image = resample(normalise(image, s.rule), sizes)
    steps = [n / size for n, size in zip(label.shape, sizes, strict=True)]
    coarse = label if sizes == label.shape else majority_label(label, s.classes, sizes, steps)
    return image, coarse, route


def stack(name: str, parts: Sequence[tuple[np.ndarray, np.ndarray, Route]], stages: int) -> View:
    """Puts the same view of several scans into one batch, padded to what the poolings need."""
    images, labels = [], []
    route = parts[0][2]
    for image, label, _ in parts:
        padding = padding_for(label.shape, route, stages)
        images.append(torch.from_numpy(np.pad(image, ((0, 0), *padding))))
        labels.append(torch.from_numpy(np.pad(label, padding).astype(np.int64)))
    return View(name, torch.stack(images), torch.stack(labels), route.axis_depths)


def random_factors(random: np.random.Generator) -> tuple[float, float, float]:
    """Coarsening of each axis: thick slices along any axis in 2 of 3 cases, else isotropic."""
    if random.random() < 1 / 3:
        factor = float(np.exp(random.uniform(np.log(1.3), np.log(5.0))))
        return factor, factor, factor
    in_plane = 1.0 if random.random() < 0.7 else float(random.uniform(1.2, 2.2))
    factors = [in_plane] * 3
    factors[random.integers(3)] = max(float(np.exp(random.uniform(np.log(1.6), np.log(7.0)))), in_plane)
    return factors[0], factors[1], factors[2]


def training_step(
    samples: Sequence[Sample],
    transform: transforms.Compose | None,
    patch: Shape,
    key: tuple[int, int, int],
    settings: ViewSettings,
) -> list[View]:
    """Views of one batch: its own resolution, one or two halved ones, one or two degraded ones.

    Args:
        key: (seed, epoch, step); decides everything random.
    """
    random = np.random.default_rng(list(key))
    spacing = samples[0].spacing_mm
    patches = [augmented_patch(s, transform, patch, (*key, i)) for i, s in enumerate(samples)]
    views = [stack("own", [own_view(*p, spacing, settings) for p in patches], settings.stages)]
    depths = range(1, settings.deepest + 1)
    if settings.protocol == "published":
        chosen = list(depths)
    else:
        chosen = [int(d) for d in random.choice(list(depths), size=min(2, len(depths)), replace=False)]
    for depth in chosen:
        parts = [halved_view(*p, spacing, depth, settings) for p in patches]
        views.append(stack(f"1/{2**depth}", parts, settings.stages))
    if settings.protocol == "aligned":
        factors, thickness = random_factors(random), float(random.uniform(0.5, 1.0))
        degraded = [degraded_view(*p, spacing, factors, thickness, settings) for p in patches]
        views.append(stack("degraded", degraded, settings.stages))
    return views
