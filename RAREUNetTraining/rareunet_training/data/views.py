"""Views: the same patch at one resolution after another, each brought to the network as inference would bring it.

Arrays are (C, Z, Y, X) and (Z, Y, X), axes S, A, R.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from rareunet.intensity import IntensityRule, normalise
from rareunet.preprocessing import network_shape, padding_for
from rareunet.resampling import resample
from rareunet.routing import AxisDepths, Route, route_for
from rareunet_training.data.degradation import corner_label, degrade, halve, majority_label

Part = tuple[np.ndarray, np.ndarray, Route]


@dataclass(frozen=True)
class View:
    """One resolution of a batch: images (B, C, Z, Y, X) float32, labels (B, Z, Y, X) int64, the route's depths.

    Views of one step that have the same patch number show the same part of each scan, in the same augmentation.
    """

    name: str
    patch: int
    images: Tensor
    labels: Tensor
    axis_depths: AxisDepths

    def to(self, device: torch.device) -> View:
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


@dataclass(frozen=True)
class ViewSettings:
    """What a view is made with; `reference_spacing_mm` is (S, A, R), `rule` the intensities'."""

    reference_spacing_mm: tuple[float, float, float]
    stages: int
    deepest: int
    classes: int
    rule: IntensityRule
    protocol: str = "aligned"


def own_view(image: np.ndarray, label: np.ndarray, spacing: Sequence[float], s: ViewSettings) -> Part:
    """The patch at its own spacing."""
    return _on_network_grid(image, label, route_for(spacing, s.reference_spacing_mm, s.deepest), s)


def halved_view(
    image: np.ndarray, label: np.ndarray, spacing: Sequence[float], depth: int, s: ViewSettings
) -> Part:
    """The patch halved `depth` times along each axis."""
    route = route_for([v * 2**depth for v in spacing], s.reference_spacing_mm, s.deepest)
    if s.protocol == "published":
        return normalise(halve(image, depth), s.rule), corner_label(label, depth), route
    whole = tuple(
        slice(0, n // 2**depth * 2**depth) for n in label.shape
    )  # no coarse voxel is of fewer fine ones
    return _on_network_grid(halve(image[(slice(None), *whole)], depth), label[whole], route, s)


def degraded_view(
    image: np.ndarray,
    label: np.ndarray,
    spacing: Sequence[float],
    factors: Sequence[float],
    thickness: float,
    s: ViewSettings,
) -> Part:
    """The patch as a scanner with coarser voxels would give it: `factors` times its spacing along each axis."""
    coarse, steps = _coarser(image, factors, thickness)
    spacing = [v * step for v, step in zip(spacing, steps, strict=True)]
    return _on_network_grid(coarse, label, route_for(spacing, s.reference_spacing_mm, s.deepest), s)


def restored_view(
    image: np.ndarray, label: np.ndarray, spacing: Sequence[float], factors: Sequence[float], s: ViewSettings
) -> Part:
    """A coarser scan brought back to the patch's own grid by resampling: what networks without gateways are given."""
    coarse, _ = _coarser(image, factors, 1.0)
    return own_view(resample(normalise(coarse, s.rule), image.shape[1:]), label, spacing, s)


def padded_view(
    image: np.ndarray, label: np.ndarray, spacing: Sequence[float], depth: int, s: ViewSettings
) -> Part:
    """A halved scan in the middle of the patch's grid, zeros around it, as if its voxels were fine ones."""
    small, small_label, _ = halved_view(image, label, spacing, depth, s)
    pads = [((n - m + 1) // 2, (n - m) // 2) for n, m in zip(label.shape, small_label.shape, strict=True)]
    return own_view(np.pad(small, ((0, 0), *pads)), np.pad(small_label, pads), spacing, s)


def stack(name: str, patch: int, parts: Sequence[Part], stages: int) -> View:
    """Puts the same view of several scans into one batch, padded to what the poolings need."""
    images, labels = [], []
    route = parts[0][2]
    for image, label, _ in parts:
        padding = padding_for(label.shape, route, stages)
        images.append(torch.from_numpy(np.pad(image, ((0, 0), *padding))))
        labels.append(torch.from_numpy(np.pad(label, padding).astype(np.int64)))
    return View(name, patch, torch.stack(images), torch.stack(labels), route.axis_depths)


def _coarser(image: np.ndarray, factors: Sequence[float], thickness: float) -> tuple[np.ndarray, list[float]]:
    """The image with about `factors` times fewer voxels along each axis, and the exact steps."""
    sizes = [max(1, round(n / factor)) for n, factor in zip(image.shape[1:], factors, strict=True)]
    steps = [n / size for n, size in zip(image.shape[1:], sizes, strict=True)]
    return degrade(image, sizes, steps, thickness), steps


def _on_network_grid(image: np.ndarray, label: np.ndarray, route: Route, s: ViewSettings) -> Part:
    """Normalises and resamples as inference does; the label goes from its fine grid to the network's voxels."""
    sizes = network_shape(image.shape[1:], route)
    image = resample(normalise(image, s.rule), sizes)
    if sizes == label.shape:
        return image, label, route
    steps = [n / size for n, size in zip(label.shape, sizes, strict=True)]
    return image, majority_label(label, s.classes, sizes, steps), route
