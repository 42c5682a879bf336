"""Widens a model of plain blocks without changing what it computes, so that training on shows what width is worth.

    python docs/study/wider.py MODEL --filters 24 --output runs/wider

Channels are doubled at random, and what reads a channel shares its weight among the copies, unequally, so that they can
part (Net2WiderNet: Chen, Goodfellow, Shlens 2016).
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from rareunet.bundle import Bundle
from rareunet.network import RAREUNet

Copies = tuple[Tensor, int]  # for each new channel the old one that it copies, and the number of old ones


class Widening:
    """New weights from old ones.

    Args:
        old: the network to widen.
        filters: width of stage 0 of the wider one.
    """

    def __init__(self, old: RAREUNet, filters: int) -> None:
        self.random = torch.Generator().manual_seed(0)
        self.old, self.weights = old.state_dict(), dict[str, Tensor]()
        self.architecture = replace(old.architecture, filters=filters)
        a, b = old.architecture, self.architecture
        self.widths = [(a.width(stage), b.width(stage)) for stage in range(a.stages + 1)]
        if a.residual_blocks or any(not few <= many <= 2 * few for few, many in self.widths):
            raise ValueError("plain blocks and up to twice the filters are needed.")

    def network(self) -> RAREUNet:
        """The wider network."""
        a = self.architecture
        image: Copies = (torch.arange(a.in_channels), a.in_channels)
        skips = [self.copies(stage) for stage in range(a.stages + 1)]
        entering = image
        for stage in range(a.stages):
            self.block(f"encoder.{stage}", entering, skips[stage], stage, a.encoder_convolutions)
            entering = skips[stage]
        self.block("bottleneck", entering, skips[a.stages], a.stages, a.encoder_convolutions)
        for depth in range(1, a.gateways + 1):
            self.block(f"gateways.{depth}", image, skips[depth], depth, a.gateway_convolutions)
        entering = skips[a.stages]
        for stage in reversed(range(a.stages)):
            coming_up, leaving, width = self.copies(stage), self.copies(stage), self.widths[stage][0]
            self.convolution(f"upsamplers.{stage}", entering, coming_up, transposed=True)
            joined = (torch.cat([coming_up[0], skips[stage][0] + width]), 2 * width)
            self.block(f"decoder.{stage}", joined, leaving, stage, a.decoder_convolutions)
            entering = leaving
            if stage <= a.gateways:
                self.convolution(f"heads.{stage}", entering, (torch.arange(a.classes), a.classes))
        network = RAREUNet(a)
        network.load_state_dict(self.weights)
        return network.eval()

    def copies(self, stage: int) -> Copies:
        """Every channel of a stage, then as many of them again as the wider one has more."""
        few, many = self.widths[stage]
        return torch.cat([torch.arange(few), torch.randperm(few, generator=self.random)[: many - few]]), few

    def block(self, name: str, entering: Copies, leaving: Copies, stage: int, repeats: int) -> None:
        for layer in range(repeats):
            made = leaving if layer == repeats - 1 else self.copies(stage)
            self.convolution(f"{name}.convolutions.{layer}", entering, made)
            for part in ("weight", "bias"):
                norm = f"{name}.norms.{layer}.{part}"
                self.weights[norm] = self.old[norm][made[0]]
            entering = made

    def convolution(self, name: str, entering: Copies, made: Copies, transposed: bool = False) -> None:
        kernel = self.old[f"{name}.weight"]
        kernel = kernel.transpose(0, 1) if transposed else kernel
        shares = self.shares(entering, len(made[0]))
        kernel = kernel[made[0]][:, entering[0]] * shares[:, :, None, None, None]
        self.weights[f"{name}.weight"] = (kernel.transpose(0, 1) if transposed else kernel).contiguous()
        self.weights[f"{name}.bias"] = self.old[f"{name}.bias"][made[0]]

    def shares(self, entering: Copies, outputs: int) -> Tensor:
        """(outputs, new channels): of an old channel's weight, what each copy gets; 1 for one without copies."""
        channels, few = entering
        drawn = 0.7 + 0.6 * torch.rand(outputs, len(channels), generator=self.random)
        return drawn / torch.zeros(outputs, few).index_add(1, channels, drawn)[:, channels]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="name of an installed model or a bundle's folder")
    parser.add_argument("--filters", type=int, required=True, help="width of the finest stage")
    parser.add_argument("--output", type=Path, required=True, help="folder of the new bundle")
    arguments = parser.parse_args()
    bundle = Bundle.load(arguments.model)
    try:
        network = Widening(bundle.load_network(), arguments.filters).network()
    except ValueError as error:
        sys.exit(f"error: {error}")
    wider = replace(bundle, architecture=network.architecture, resolution_card=(), folder=None)
    print(wider.save(arguments.output, network).folder)
