"""Building blocks of the network. B batch, C channels, Z Y X axes.

Every convolution here can run collapsed along an axis: its kernel summed over the taps of that axis
(3x3x3 -> 1x3x3). A thick slice stands for a stack of equal thin slices, and well inside such a stack the
summed kernel gives what the full kernel would give.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from rareunet import slabs

Axes = tuple[bool, bool, bool]  # one flag for each of z, y, x
NO_AXES: Axes = (False, False, False)


def collapse_kernel(kernel: Tensor, collapsed: Axes) -> Tensor:
    """Sums a kernel (Cout, Cin, 3, 3, 3) over the taps of the collapsed axes, kept with size 1."""
    axes = [axis + 2 for axis in range(3) if collapsed[axis]]
    return kernel.sum(dim=axes, keepdim=True) if axes else kernel


class Convolution(nn.Conv3d):
    """Convolution of odd kernel size that keeps the grid. (B, Cin, Z, Y, X) -> (B, Cout, Z, Y, X)."""

    def __init__(self, in_channels: int, out_channels: int, size: int = 3, *, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, kernel_size=size, padding=size // 2, bias=bias)

    def kernel(self, collapsed: Axes) -> Tensor:
        """(Cout, Cin, kz, ky, kx), of size 1 along the collapsed axes."""
        return collapse_kernel(self.weight, collapsed)

    def forward(self, features: Tensor, collapsed: Axes = NO_AXES) -> Tensor:
        kernel = self.kernel(collapsed)
        z, y, x = (size // 2 for size in kernel.shape[2:])
        if self.training and features.device.type == "cpu" and min(features.shape[2:]) <= 2:
            # On such grids the bfloat16 weight gradient of PyTorch's CPU backend (seen in 2.13) reads memory that
            # was never set and now and then holds NaN; float32 costs nothing here.
            with torch.autocast("cpu", enabled=False):
                return functional.conv3d(features.float(), kernel, self.bias, padding=(z, y, x))
        return functional.conv3d(features, kernel, self.bias, padding=(z, y, x))


class UpConvolution(nn.ConvTranspose3d):
    """Transposed convolution that doubles every axis but the waiting ones.

    A waiting axis keeps its size: each of its voxels stands for 2 output voxels of the full kernel, whose
    mean over the two phases is the sum of the taps over the stride.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=3, stride=2, padding=1, output_padding=1)

    def forward(self, features: Tensor, waiting: Axes = NO_AXES) -> Tensor:  # type: ignore[override]
        kernel = collapse_kernel(self.weight, waiting) / 2 ** sum(waiting)
        stride = _factors(waiting)
        if _in_slabs(features):
            return slabs.up_convolve(features, kernel, self.bias, stride)
        padding = [s - 1 for s in stride]
        return functional.conv_transpose3d(
            features, kernel, self.bias, stride=stride, padding=padding, output_padding=padding
        )


class ConvolutionBlock(nn.Module):
    """`repeats` x (convolution, instance norm, leaky ReLU). (B, Cin, Z, Y, X) -> (B, Cout, Z, Y, X).

    A residual block adds its input, brought to the same width by a 1x1x1 convolution and normalised, before the last
    activation (He et al. 2016, with instance norm).
    """

    def __init__(
        self, in_channels: int, out_channels: int, repeats: int = 2, *, residual: bool = False
    ) -> None:
        super().__init__()
        widths = [in_channels] + [out_channels] * repeats
        self.convolutions = nn.ModuleList(
            Convolution(i, o) for i, o in zip(widths[:-1], widths[1:], strict=True)
        )
        self.norms = nn.ModuleList(nn.InstanceNorm3d(out_channels, affine=True) for _ in range(repeats))
        self.projection = Convolution(in_channels, out_channels, 1, bias=False) if residual else None
        self.projection_norm = nn.InstanceNorm3d(out_channels, affine=True) if residual else None

    def forward(self, parts: list[Tensor], collapsed: Axes = NO_AXES) -> Tensor:
        """Takes over the parts, which are joined along their channels: the list is emptied, to free them early."""
        if _in_slabs(parts[0]):
            return self._slab_by_slab(parts, collapsed)
        entering = features = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        parts.clear()
        for layer, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True), 1):
            features = norm(convolution(features, collapsed))
            if layer == len(self.convolutions) and self.projection and self.projection_norm:
                features = features + self.projection_norm(self.projection(entering))
            features = functional.leaky_relu(features, 0.01, inplace=True)
        return features

    def _slab_by_slab(self, parts: list[Tensor], collapsed: Axes) -> Tensor:
        entering = list(parts) if self.projection else []
        layers: Iterable[tuple[Convolution, nn.InstanceNorm3d]]
        layers = zip(self.convolutions, self.norms, strict=True)  # type: ignore[arg-type]  # any Module to torch
        for layer, (convolution, norm) in enumerate(layers, 1):
            features, moments = slabs.convolve(parts, convolution.kernel(collapsed), convolution.bias)
            parts[:] = [features]
            normed = [slabs.Normed(features, moments, norm)]
            del features
            if layer == len(self.convolutions) and self.projection and self.projection_norm:
                projected = slabs.convolve(entering, self.projection.weight, None)
                normed.append(slabs.Normed(*projected, self.projection_norm))
            slabs.activate(normed)
        return parts.pop()


class ResidualStage(nn.Module):
    """Residual blocks, one after the other. (B, Cin, Z, Y, X) -> (B, Cout, Z, Y, X)."""

    def __init__(self, in_channels: int, out_channels: int, repeats: int, blocks: int) -> None:
        super().__init__()
        inputs = [in_channels] + [out_channels] * (blocks - 1)
        self.blocks = nn.ModuleList(ConvolutionBlock(i, out_channels, repeats, residual=True) for i in inputs)

    def forward(self, parts: list[Tensor], collapsed: Axes = NO_AXES) -> Tensor:
        """As ConvolutionBlock.forward."""
        for block in self.blocks:
            parts.append(block(parts, collapsed))
        return parts.pop()


def encoder_stage(
    in_channels: int, out_channels: int, repeats: int, residual_blocks: int
) -> ConvolutionBlock | ResidualStage:
    """A stage of that many residual blocks; a plain block for none."""
    if residual_blocks:
        return ResidualStage(in_channels, out_channels, repeats, residual_blocks)
    return ConvolutionBlock(in_channels, out_channels, repeats)


class Head(nn.Conv3d):
    """1x1x1 convolution to logits. (B, C, Z, Y, X) -> (B, K, Z, Y, X)."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(channels, classes, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        if _in_slabs(features):
            return slabs.classify(features, self.weight, self.bias)
        return super().forward(features)


def max_pool(features: Tensor, waiting: Axes) -> Tensor:
    """Halves every axis but the waiting ones."""
    size = _factors(waiting)
    if _in_slabs(features):
        return slabs.max_pool(features, size)
    return functional.max_pool3d(features, kernel_size=size, stride=size)


def _factors(waiting: Axes) -> tuple[int, int, int]:
    """By how much each axis is pooled or upsampled."""
    z, y, x = (1 if w else 2 for w in waiting)
    return z, y, x


def _in_slabs(features: Tensor) -> bool:
    """Inference on the CPU goes slab by slab, see slabs.py."""
    return features.device.type == "cpu" and not torch.is_grad_enabled()


def initialise(module: nn.Module) -> None:
    """He initialisation, which suits the leaky ReLU; for use with nn.Module.apply."""
    if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(module.weight, a=0.01)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
