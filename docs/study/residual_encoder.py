"""Trains a network whose encoder has residual blocks: the fit command with another encoder.

    python docs/study/residual_encoder.py --output runs/residual --config FILE data.folder=PATH fit.epochs=20

Nothing else can load its bundle; the scores that the training ends with are what it is for.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn
from torch.nn import functional

from rareunet.architecture import Architecture
from rareunet.blocks import NO_AXES, Axes, ConvolutionBlock, initialise
from rareunet.network import RAREUNet
from rareunet_training.__main__ import main


class ResidualBlock(ConvolutionBlock):
    """A ConvolutionBlock whose input, brought to the same width, is added before the last activation."""

    def __init__(self, in_channels: int, out_channels: int, repeats: int) -> None:
        super().__init__(in_channels, out_channels, repeats)
        self.projection = nn.Conv3d(in_channels, out_channels, kernel_size=1, bias=False)
        self.projection_norm = nn.InstanceNorm3d(out_channels, affine=True)

    def forward(self, parts: list[Tensor], collapsed: Axes = NO_AXES) -> Tensor:
        (features,) = parts
        parts.clear()
        if not torch.is_grad_enabled():
            features = features.float()  # inference may store them as bfloat16
        shortcut = self.projection_norm(self.projection(features))
        last = len(self.convolutions) - 1
        for index, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            features = norm(convolution(features, collapsed))
            features = functional.leaky_relu(features + shortcut if index == last else features, 0.01)
        return features


plain = RAREUNet.__init__


def with_residual_encoder(self: RAREUNet, architecture: Architecture) -> None:
    plain(self, architecture)
    blocks = [
        ResidualBlock(b.convolutions[0].in_channels, b.convolutions[-1].out_channels, len(b.convolutions))
        for b in (*self.encoder, self.bottleneck)
    ]
    self.encoder, self.bottleneck = nn.ModuleList(blocks[:-1]), blocks[-1]
    self.apply(initialise)


if __name__ == "__main__":
    RAREUNet.__init__ = with_residual_encoder  # type: ignore[method-assign]
    sys.exit(main(["fit", *sys.argv[1:]]))
