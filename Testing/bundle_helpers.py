"""Tiny models of random weights, described and saved."""

from __future__ import annotations

from pathlib import Path

import torch

from rareunet.architecture import Architecture
from rareunet.bundle import Bundle, Label
from rareunet.intensity import IntensityRule
from rareunet.network import RAREUNet


def describe_tiny(architecture: Architecture, **changes: object) -> Bundle:
    """A bundle that has not been saved; changes replace what it says of itself."""
    content: dict = {
        "name": "tiny",
        "title": "Tiny",
        "description": "Random weights.",
        "version": "0.1.0",
        "license": "MIT",
        "architecture": architecture,
        "reference_spacing_mm": (1.0, 1.0, 1.0),
        "channels": tuple({"name": f"channel {i}"} for i in range(architecture.in_channels)),
        "labels": (Label(5, "five", (255, 0, 0)), Label(9, "nine", (0, 255, 0))),
        "intensity": IntensityRule(),
        "field_of_view_mm": {"smallest": (20.0, 20.0, 20.0), "largest": (48.0, 48.0, 48.0)},
    }
    return Bundle(**{**content, **changes})


def tiny_network(architecture: Architecture, seed: int = 1) -> RAREUNet:
    torch.manual_seed(seed)
    network = RAREUNet(architecture)
    with torch.no_grad():
        for head in network.heads:  # all classes are to occur
            head.bias.zero_()
            head.weight.mul_(5)
    return network.eval()


def save_tiny(folder: Path, architecture: Architecture, **changes: object) -> Bundle:
    return describe_tiny(architecture, **changes).save(folder, tiny_network(architecture))
