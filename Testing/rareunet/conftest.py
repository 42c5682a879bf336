"""Fixtures of the core's tests: a tiny model of random weights, and scans that can be worked out by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_helpers import save_tiny

from rareunet.architecture import Architecture
from rareunet.bundle import Bundle
from rareunet.volume import Volume


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks of a few filters run faster on one thread, above all where the cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tiny_architecture() -> Architecture:
    return Architecture(in_channels=1, classes=3, stages=4, filters=2, max_filters=8, gateways=3)


CARD = (
    {
        "condition": "2 mm",
        "spacing_mm": [2.0, 2.0, 2.0],
        "cases": 7,
        "dice_mean": 0.81,
        "dice_sd": 0.02,
        "volume_error_percent_mean": -9.4,
    },
)


@pytest.fixture
def make_bundle(tmp_path: Path, tiny_architecture: Architecture) -> Callable[..., Bundle]:
    """Saves a bundle of random weights; keyword arguments replace what it says of itself."""

    def make(
        folder: str = "tiny", architecture: Architecture = tiny_architecture, **changes: object
    ) -> Bundle:
        content = {"resolution_card": CARD, **changes}
        return save_tiny(tmp_path / "models" / folder, architecture, **content)

    return make


@pytest.fixture
def tiny_bundle(make_bundle: Callable[..., Bundle]) -> Bundle:
    return make_bundle()


@pytest.fixture
def make_scan() -> Callable[..., Volume]:
    """A smooth random scan; spacing (x, y, z), size (Z, Y, X)."""

    def make(
        shape: tuple[int, int, int] = (17, 21, 19),
        spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
        channels: int = 1,
        name: str = "scan",
    ) -> Volume:
        random = np.random.default_rng(3)
        coarse = random.normal(size=(channels, *(n // 4 + 2 for n in shape)))
        fine = coarse.repeat(4, 1).repeat(4, 2).repeat(4, 3)[:, : shape[0], : shape[1], : shape[2]]
        voxels = (100 * fine + random.normal(scale=10, size=fine.shape)).astype(np.float32)
        matrix = np.diag([*spacing, 1.0])
        matrix[:3, 3] = -10, 5, 3
        return Volume(voxels, matrix, name)

    return make
