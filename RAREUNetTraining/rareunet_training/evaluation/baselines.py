"""Other ways to bring a low-resolution scan to a network, to compare RARE-UNet's own with.

Each stands in for a Predictor: it has `bundle` and `predict`. "up" and "pad" are the paper's ways with a network that
knows the reference resolution alone; the others change one thing about how thick slices enter.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from rareunet.blocks import NO_AXES, Axes, Convolution, ConvolutionBlock, UpConvolution
from rareunet.bundle import Bundle
from rareunet.geometry import Reorientation
from rareunet.intensity import normalise
from rareunet.network import RAREUNet
from rareunet.prediction import Prediction, volumes_ml
from rareunet.predictor import Predictor
from rareunet.preprocessing import network_shape
from rareunet.resampling import resample
from rareunet.routing import Route, route_for
from rareunet.volume import Volume
from rareunet_training.data.degradation import majority_label
from rareunet_training.data.samples import class_indices
from rareunet_training.evaluation.conditions import PAPER_SHAPE, crop_or_pad
from rareunet_training.evaluation.evaluate import Segmenter


class UpsampledPredictor:
    """The scan resampled to the reference spacing and predicted at entry depth 0.

    Resampling is trilinear with aligned voxel centres. On the way back a voxel of the scan takes the class that fills
    most of it. On 14 held-out hippocampus scans that gave a higher Dice than the nearest voxel or averaged logits.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.bundle: Bundle = predictor.bundle
        self._predictor = predictor

    def predict(self, volume: Volume, *, force: bool = False) -> Prediction:
        start, bundle = time.perf_counter(), self.bundle
        reorientation = Reorientation.to_ras(volume.ijk_to_ras)
        image = normalise(reorientation.apply(volume.voxels), bundle.intensity)
        size = image.shape[1:]
        route = route_for(
            reorientation.reorder(volume.spacing_mm), bundle.reference_spacing_mm, bundle.deepest, 0
        )
        shape = network_shape(size, route)
        steps = [new / old for new, old in zip(shape, size, strict=True)]
        spacing = [s / step for s, step in zip(route.spacing_mm, steps, strict=True)]
        prediction = self._predictor.predict(
            _scan(resample(image, shape), spacing), entry_depth=0, force=force
        )
        values = [label.value for label in bundle.labels]
        classes = class_indices(prediction.label_map, values)
        coarse = majority_label(classes, len(values) + 1, size, steps) if shape != size else classes
        label_map = np.array([0, *values], prediction.label_map.dtype)[coarse]
        return _answer(prediction, volume, reorientation.invert(label_map[None])[0], start)


class PaddedPredictor:
    """The scan's voxels taken for voxels of the reference spacing, in the middle of a larger grid of zeros.

    Args:
        predictor: the model, one that keeps padding.
        shape: (Z, Y, X) of the grid, axes S, A, R; a larger scan is not cut.
    """

    def __init__(self, predictor: Predictor, shape: Sequence[int] = PAPER_SHAPE) -> None:
        self.bundle: Bundle = predictor.bundle
        self._predictor, self._shape = predictor, tuple(shape)

    def predict(self, volume: Volume, *, force: bool = False) -> Prediction:
        start, bundle = time.perf_counter(), self.bundle
        reorientation = Reorientation.to_ras(volume.ijk_to_ras)
        image = normalise(reorientation.apply(volume.voxels), bundle.intensity)
        size = image.shape[1:]
        shape = [max(n, full) for n, full in zip(size, self._shape, strict=True)]
        starts = [-((full - n + 1) // 2) for n, full in zip(size, shape, strict=True)]
        padded = _scan(crop_or_pad(image, starts, shape), bundle.reference_spacing_mm)
        prediction = self._predictor.predict(padded, force=force)
        inner = crop_or_pad(prediction.label_map[None], [-start for start in starts], size)
        return _answer(prediction, volume, reorientation.invert(inner)[0], start)


def _scan(image: np.ndarray, spacing_mm: Sequence[float]) -> Volume:
    """A volume in canonical axes; image (C, Z, Y, X), spacing (S, A, R)."""
    return Volume(image, np.diag([*reversed(spacing_mm), 1.0]))


def _answer(prediction: Prediction, volume: Volume, label_map: np.ndarray, start: float) -> Prediction:
    """The prediction with a label map on the scan's own grid, and all seconds since `start`."""
    volumes = volumes_ml(label_map, prediction.labels, volume.voxel_ml)
    seconds = prediction.seconds
    presenting = time.perf_counter() - start - sum(seconds.values())
    return replace(
        prediction, label_map=label_map, volumes_ml=volumes, seconds={**seconds, "present": presenting}
    )


def nearest_depth(
    spacing_mm: Sequence[float],
    reference_spacing_mm: Sequence[float],
    deepest: int,
    entry_depth: int | None = None,
) -> Route:
    """A route on which no axis is resampled: each enters at the depth of the nearest spacing, as it is."""
    route = route_for(spacing_mm, reference_spacing_mm, deepest, entry_depth)
    z, y, x = (
        min(max(round(math.log2(s / r)), 0), deepest) if entry_depth is None else entry_depth
        for s, r in zip(route.spacing_mm, route.reference_spacing_mm, strict=True)
    )
    return replace(route, axis_depths=(z, y, x), network_spacing_mm=route.spacing_mm)


def one_finer(
    spacing_mm: Sequence[float],
    reference_spacing_mm: Sequence[float],
    deepest: int,
    entry_depth: int | None = None,
) -> Route:
    """route_for, but an axis that would wait enters one depth finer and is resampled to that depth's spacing."""
    route = route_for(spacing_mm, reference_spacing_mm, deepest, entry_depth)
    waits = [depth > route.entry_depth for depth in route.axis_depths]
    finer = [depth - wait for depth, wait in zip(route.axis_depths, waits, strict=True)]
    z, y, x = (
        reference * 2**depth if wait else spacing
        for wait, depth, reference, spacing in zip(
            waits, finer, route.reference_spacing_mm, route.network_spacing_mm, strict=True
        )
    )
    return replace(route, axis_depths=(finer[0], finer[1], finer[2]), network_spacing_mm=(z, y, x))


class _FullConvolution(Convolution):
    """A convolution with another's weights that is never collapsed."""

    def __init__(self, convolution: Convolution) -> None:
        super().__init__(convolution.in_channels, convolution.out_channels)
        self.weight, self.bias = convolution.weight, convolution.bias

    def kernel(self, collapsed: Axes) -> Tensor:
        return self.weight


class _FullUpConvolution(nn.Module):
    """A transposed convolution with another's weights that is never collapsed."""

    def __init__(self, convolution: UpConvolution) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, features: Tensor, waiting: Axes = NO_AXES) -> Tensor:
        if not any(waiting):
            return self.convolution(features)
        return full_up_convolution(self.convolution, features, waiting)


def full_up_convolution(up: UpConvolution, features: Tensor, waiting: Axes = NO_AXES) -> Tensor:
    """A transposed convolution with its full kernel on waiting axes: stride 1 there, divided by the usual stride."""
    stride, extra = [1 if w else 2 for w in waiting], [0 if w else 1 for w in waiting]
    kernel = up.weight / 2 ** sum(waiting)
    raised = functional.conv_transpose3d(
        features.float(), kernel, up.bias, stride=stride, padding=1, output_padding=extra
    )
    return raised.to(features.dtype)


def with_full_kernels(network: RAREUNet) -> RAREUNet:
    """A copy that convolves along waiting axes too, instead of collapsing its kernels there."""
    network = copy.deepcopy(network)
    for block in [module for module in network.modules() if isinstance(module, ConvolutionBlock)]:
        convolutions = (c for c in block.convolutions if isinstance(c, Convolution))
        block.convolutions = nn.ModuleList(_FullConvolution(c) for c in convolutions)
    network.upsamplers = nn.ModuleList(_FullUpConvolution(up) for up in network.upsamplers)  # type: ignore[arg-type]  # any Module to torch
    return network


BASELINES: dict[str, str] = {
    "up": "resampled to the reference spacing, entry depth 0",
    "pad": "zero-padded as if it had the reference spacing",
    "full-kernels": "waiting axes are convolved with the full kernels",
    "nearest-depth": "each axis at the nearest depth, nothing resampled",
    "one-finer": "waiting axes enter one depth finer, resampled",
}


def baseline(name: str, predictor: Predictor, shape: Sequence[int] = PAPER_SHAPE) -> Segmenter:
    """The model behind one of BASELINES.

    Args:
        shape: (Z, Y, X) that "pad" pads to.

    Raises:
        ValueError: no such baseline.
    """
    bundle, device, network = predictor.bundle, str(predictor.device), predictor.network
    makers: dict[str, Callable[[], Segmenter]] = {
        "up": lambda: UpsampledPredictor(predictor),
        "pad": lambda: PaddedPredictor(Predictor(bundle, device, network, keep_padding=True), shape),
        "full-kernels": lambda: Predictor(bundle, device, with_full_kernels(network)),
        "nearest-depth": lambda: Predictor(bundle, device, network, nearest_depth),
        "one-finer": lambda: Predictor(bundle, device, network, one_finer),
    }
    if name not in makers:
        raise ValueError(f"no way to present a scan is called {name!r}: choose {', '.join(BASELINES)}.")
    return makers[name]()
