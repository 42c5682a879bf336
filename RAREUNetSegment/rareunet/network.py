"""RARE-UNet: one 3D U-Net that a scan enters at the depth of its own resolution.

Legend: B batch, C channels, K classes, Z Y X axes; d entry depth; k stage (0 is the finest, `stages` is the
bottleneck); a (z, y, x) axis depths. Source: Albertsen, Bjørnstrup, Mehdipour Ghazi, RARE-UNet (2025);
per-axis depths and collapsed kernels are this project's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from rareunet.architecture import Architecture
from rareunet.blocks import (
    Axes,
    ConvolutionBlock,
    Head,
    UpConvolution,
    encoder_stage,
    initialise,
    max_pool,
)
from rareunet.routing import AxisDepths


@dataclass
class Walk:
    """What one image left behind: logits (B, K, Z, Y, X) on its own grid, and each stage's features by stage."""

    logits: Tensor
    features: dict[int, Tensor]


def waiting_axes(axis_depths: Sequence[int], stage: int) -> Axes:
    """Axes that are coarser than `stage` and so are not pooled, upsampled or convolved along there."""
    z, y, x = (depth > stage for depth in axis_depths)
    return z, y, x


class RAREUNet(nn.Module):
    """The network. One walk serves all routes: with equal axis depths it is the paper's network."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = a = architecture
        widths = [a.width(stage) for stage in range(a.stages + 1)]
        inputs = [a.in_channels, *widths]
        *encoder, self.bottleneck = (
            encoder_stage(inputs[k], widths[k], a.encoder_convolutions, a.residual_blocks_of(k))
            for k in range(a.stages + 1)
        )
        self.encoder = nn.ModuleList(encoder)
        self.gateways = nn.ModuleDict(
            {
                str(d): ConvolutionBlock(a.in_channels, widths[d], a.gateway_convolutions)
                for d in range(1, a.gateways + 1)
            }
        )
        self.upsamplers = nn.ModuleList(UpConvolution(widths[k + 1], widths[k]) for k in range(a.stages))
        self.decoder = nn.ModuleList(
            ConvolutionBlock(2 * widths[k], widths[k], a.decoder_convolutions) for k in range(a.stages)
        )
        self.heads = nn.ModuleList(Head(widths[d], a.classes) for d in range(a.gateways + 1))
        self.apply(initialise)

    def forward(
        self,
        image: Tensor,
        axis_depths: AxisDepths,
        keep_features: bool = True,
        dtype: torch.dtype = torch.float32,
    ) -> Walk:
        """The one walk: an image from its entry depth down to the bottleneck and back up to that depth.

        Args:
            image: (B, C, Z, Y, X); axis i must be a multiple of 2^(stages - axis_depths[i]).
            axis_depths: depth of each axis (z, y, x); the smallest is the entry depth.
            keep_features: keep the encoder's features; without them each is freed once the decoder has used it.
            dtype: of the features on the CPU without gradients, see slabs.py: torch.float32 or torch.bfloat16.
        """
        a = self.architecture
        entry_depth = min(axis_depths)
        features: dict[int, Tensor] = {}
        current = image.to(dtype)
        for stage in range(entry_depth, a.stages):
            waiting = waiting_axes(axis_depths, stage)
            entering_deep = stage == entry_depth and entry_depth > 0
            block = self.gateways[str(stage)] if entering_deep else self.encoder[stage]
            features[stage] = current = block([current], waiting)
            current = self._drop(max_pool(current, waiting))
        current = self.bottleneck([current])
        for stage in reversed(range(entry_depth, a.stages)):
            waiting = waiting_axes(axis_depths, stage)
            current = self.upsamplers[stage](current, waiting)
            parts = [current, features[stage] if keep_features else features.pop(stage)]
            del current
            current = self._drop(self.decoder[stage](parts, waiting))
        return Walk(self.heads[entry_depth](current), features)

    def _drop(self, features: Tensor) -> Tensor:
        return functional.dropout3d(features, self.architecture.dropout, self.training)
