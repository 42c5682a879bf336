"""The network's layers without gradients on the CPU, slab by slab along z. B batch, C channels, Z Y X axes.

A layer takes no memory beyond its input and output, and a slab is still in the processor's cache when its
statistics are taken or it is normalised. Features have the channels as their fastest axis (channels_last_3d),
which PyTorch's convolutions take as it is; the usual order they copy twice. They are float32 or bfloat16, which
halves their memory; statistics and normalisation are float32 in any case.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from rareunet.device import computes_in_bfloat16

FORMAT = torch.channels_last_3d
PerAxis = tuple[int, int, int]  # (Z, Y, X)
# Output of one slab in float32. Small ones make threads wait for each other often; larger ones leave the cache, and
# glibc asks the system for each block of 32 MB and more anew.
SLAB_BYTES = 16_000_000
# Below this many output voxels oneDNN's preparation of the kernel costs more than the convolution.
FEWEST_VOXELS = 64


@dataclass
class Moments:
    """Sums over the voxels of (B, C, ...) slabs, about a pivot near the mean so that float32 loses nothing."""

    pivot: Tensor
    total: Tensor
    squares: Tensor
    voxels: int = 0

    @classmethod
    def about(cls, slab: Tensor) -> Moments:
        zeros = torch.zeros(slab.shape[:2], dtype=torch.float64)
        return cls(slab.mean(dim=(2, 3, 4), keepdim=True, dtype=torch.float32), zeros, zeros.clone())

    def add(self, slab: Tensor) -> None:
        difference = slab.float() - self.pivot
        self.total += difference.sum(dim=(2, 3, 4))
        self.squares += difference.mul_(difference).sum(dim=(2, 3, 4))
        self.voxels += slab[0, 0].numel()

    def mean_and_variance(self) -> tuple[Tensor, Tensor]:
        """Both float64 (B, C)."""
        mean = self.total / self.voxels
        variance = (self.squares / self.voxels - mean.square()).clamp_(min=0)
        return mean + self.pivot.flatten(1), variance


def convolve(parts: Sequence[Tensor], kernel: Tensor, bias: Tensor | None) -> tuple[Tensor, Moments]:
    """Convolves the parts as if they were concatenated along their channels, keeping the size.

    Args:
        parts: (B, Ci, Z, Y, X) each.
        kernel: (Cout, sum of Ci, kz, ky, kx) of odd sizes.

    Returns:
        (B, Cout, Z, Y, X), and its moments.
    """
    batch, _, *size = parts[0].shape
    result = torch.empty((batch, len(kernel), *size), dtype=parts[0].dtype, memory_format=FORMAT)
    kernels = kernel.split([part.shape[1] for part in parts], dim=1)
    moments = None
    for planes in _slabs(result):
        slab = _convolve_slab(parts[0], planes, kernels[0], bias)
        for part, part_kernel in zip(parts[1:], kernels[1:], strict=True):
            slab += _convolve_slab(part, planes, part_kernel, None)
        moments = moments or Moments.about(slab)
        moments.add(slab)
        result[:, :, planes] = slab
    assert moments is not None
    return result, moments


@dataclass
class Normed:
    """A layer (B, C, Z, Y, X) before its instance norm."""

    features: Tensor
    moments: Moments
    norm: nn.InstanceNorm3d

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """The norm as a factor and a summand, both (B, C, 1, 1, 1)."""
        mean, variance = self.moments.mean_and_variance()
        scale = self.norm.weight / (variance + self.norm.eps).sqrt()
        shift = self.norm.bias - mean * scale
        return scale.float()[:, :, None, None, None], shift.float()[:, :, None, None, None]


def activate(layers: Sequence[Normed]) -> None:
    """Instance norm of each layer, their sum, and leaky ReLU, written into the first layer's features."""
    scales, shifts = zip(*(layer.scale_and_shift() for layer in layers), strict=True)
    shift = torch.stack(shifts).sum(dim=0)
    result = layers[0].features
    for planes in _slabs(result):
        slab = result[:, :, planes]
        values = slab.float()  # the slab itself if it is float32
        torch.addcmul(shift, values, scales[0], out=values)
        for layer, scale in zip(layers[1:], scales[1:], strict=True):
            values.addcmul_(layer.features[:, :, planes].float(), scale)
        functional.leaky_relu_(values, 0.01)
        if values is not slab:
            slab.copy_(values)


def up_convolve(features: Tensor, kernel: Tensor, bias: Tensor | None, stride: PerAxis) -> Tensor:
    """Transposed convolution that multiplies each axis by its stride, 1 or 2 (kernel size 1 or 3 there)."""
    batch, _, *size = features.shape
    larger = [n * s for n, s in zip(size, stride, strict=True)]
    result = torch.empty((batch, kernel.shape[1], *larger), dtype=features.dtype, memory_format=FORMAT)
    padding, step = (stride[0] - 1, stride[1] - 1, stride[2] - 1), stride[0]
    for planes in _slabs(result, step):
        # An odd output plane needs the next input plane too, which the last one lacks.
        first, after = planes.start // step, planes.stop // step
        extra = padding if after == size[0] else (0, padding[1], padding[2])
        slab = features[:, :, first : after + step - 1]
        raised = _up_convolve3d(slab, kernel, bias, stride, padding, extra)
        result[:, :, planes] = raised[:, :, : planes.stop - planes.start]
    return result


def classify(features: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """1x1x1 convolution to logits (B, K, Z, Y, X), float32, in the usual order of axes."""
    result = torch.empty((len(features), len(kernel), *features.shape[2:]))
    for planes in _slabs(features):
        result[:, :, planes] = _convolve3d(features[:, :, planes].float(), kernel, bias, (0, 0, 0))
    return result


def max_pool(features: Tensor, size: PerAxis) -> Tensor:
    """Takes the largest of each box of `size` voxels, 1 or 2 along each axis."""
    smaller = [n // s for n, s in zip(features.shape[2:], size, strict=True)]
    result = torch.empty((*features.shape[:2], *smaller), dtype=features.dtype, memory_format=FORMAT)
    for planes in _slabs(features, size[0]):
        pooled = functional.max_pool3d(features[:, :, planes], size, size)
        result[:, :, planes.start // size[0] : planes.stop // size[0]] = pooled
    return result


def _slabs(features: Tensor, step: int = 1) -> Iterator[slice]:
    """Ranges of planes, multiples of `step`, that cover features (B, C, Z, Y, X)."""
    total = features.shape[2]
    plane = 4 * features.numel() // total  # as float32, which a slab becomes in between
    planes = max(1, SLAB_BYTES // (plane * step)) * step
    for start in range(0, total, planes):
        yield slice(start, min(start + planes, total))


def _convolve_slab(part: Tensor, planes: slice, kernel: Tensor, bias: Tensor | None) -> Tensor:
    halo, y, x = (n // 2 for n in kernel.shape[2:])
    total = part.shape[2]
    if planes.stop - planes.start == total:
        return _convolve3d(part, kernel, bias, (halo, y, x))
    slab = part[:, :, max(planes.start - halo, 0) : planes.stop + halo]
    missing = (max(halo - planes.start, 0), max(planes.stop + halo - total, 0))
    if any(missing):
        slab = functional.pad(slab, (0, 0, 0, 0, *missing))
    return _convolve3d(slab, kernel, bias, (0, y, x))


def _convolve3d(features: Tensor, kernel: Tensor, bias: Tensor | None, padding: PerAxis) -> Tensor:
    """conv3d by oneDNN. PyTorch's own rule leaves x out of the size, and so sends small grids to a slow kernel."""
    features, kernel, bias = _computable(features, kernel, bias)
    if torch.backends.mkldnn.is_available() and features[0, 0].numel() >= FEWEST_VOXELS:
        return torch.mkldnn_convolution(features, kernel, bias, padding, (1, 1, 1), (1, 1, 1), 1)
    return functional.conv3d(features, kernel, bias, padding=padding)


def _up_convolve3d(
    features: Tensor, kernel: Tensor, bias: Tensor | None, stride: PerAxis, padding: PerAxis, extra: PerAxis
) -> Tensor:
    """conv_transpose3d by oneDNN, for the same reason; in bfloat16 it takes three times as long as in float32."""
    features = features.to(torch.float32, memory_format=FORMAT)
    if torch.backends.mkldnn.is_available() and features[0, 0].numel() >= FEWEST_VOXELS:
        return torch.ops.mkldnn._convolution_transpose_pointwise(
            features,
            kernel,
            bias,
            padding,
            extra,
            stride,
            (1, 1, 1),
            1,
            "none",
            [],
            "",
        )
    return functional.conv_transpose3d(features, kernel, bias, stride, padding, extra)


def _computable(
    features: Tensor, kernel: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """In the layout of the fast kernels, and in float32 where the processor does not compute with bfloat16."""
    dtype = features.dtype if computes_in_bfloat16() else torch.float32
    features = features.to(dtype, memory_format=FORMAT)
    return features, kernel.to(dtype), None if bias is None else bias.to(dtype)
