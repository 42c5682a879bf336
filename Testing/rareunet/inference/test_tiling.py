"""Tiles: where they lie, how they add up, and that blending is the one of MONAI."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from rareunet.inference.tiling import (
    blend,
    blending_weights,
    count_tiles,
    smaller_tiles,
    tile_starts,
    tiles,
)
from rareunet.preprocessing import multiples_of


@pytest.mark.parametrize(
    ("size", "tile", "multiple", "starts"),
    [
        (96, 96, 16, [0]),
        (96, 64, 16, [0, 32]),
        (128, 64, 16, [0, 32, 64]),
        (112, 64, 16, [0, 16, 48]),
        (96, 32, 32, [0, 32, 64]),
    ],
)
def test_starts_by_hand(size, tile, multiple, starts):
    assert tile_starts(size, tile, multiple) == starts


@pytest.mark.parametrize(("tile", "multiple"), [(32, 16), (64, 16), (48, 8), (32, 32), (6, 1)])
def test_tiles_cover_the_axis_at_multiples(tile, multiple):
    for size in range(tile, 6 * tile, multiple):
        starts = tile_starts(size, tile, multiple)
        assert starts[0] == 0
        assert starts[-1] == size - tile
        assert all(start % multiple == 0 for start in starts)
        assert all(0 < b - a < tile or tile == multiple for a, b in itertools.pairwise(starts))
        total = np.zeros(size)
        for start, weights in zip(starts, blending_weights(size, tile, starts), strict=True):
            total[start : start + tile] += weights
        np.testing.assert_allclose(total, 1, atol=1e-6)


def test_count_is_the_number_of_tiles():
    arguments = ((64, 96, 32), (32, 64, 32), (16, 16, 16))
    assert count_tiles(*arguments) == len(tiles(*arguments)) == 3 * 2 * 1


def test_multiples_follow_the_axis_depths():
    assert multiples_of(4, (2, 0, 1)) == (4, 16, 8)


def test_tile_halves_where_it_reaches_furthest_and_keeps_its_least_size():
    found = smaller_tiles((32, 128, 96), (4, 16, 16), (4.0, 1.0, 1.0), (40.0, 60.0, 60.0))
    # 128 x 128 x 96 mm; y may not go below 60 mm, x would, and z ends at 16 voxels, 64 mm.
    assert found == [(32, 128, 96), (16, 128, 96), (16, 64, 96)]
    assert smaller_tiles(found[-1], (4, 16, 16), (4.0, 1.0, 1.0), (0, 0, 0))[-1] == (8, 32, 32)


def test_network_that_looks_at_single_voxels_gives_the_same_in_tiles():
    image = torch.rand(2, 24, 40, 32)
    done = []
    found = blend(image, (16, 16, 32), (8, 8, 8), lambda tile: torch.cat([tile, tile**2], dim=1), done.append)
    torch.testing.assert_close(found, torch.cat([image, image**2]))
    assert done == [n / 8 for n in range(1, 9)]


def test_one_tile_is_the_whole_answer():
    image = torch.rand(1, 8, 8, 8)
    assert torch.equal(
        blend(image, (8, 8, 8), (8, 8, 8), lambda tile: 2 * tile, lambda done: None), 2 * image
    )


def test_blending_is_that_of_monai():
    """MONAI's map of weights is the same Gaussian, held at 0.001 or more; by the Gaussian itself its answer is ours,
    also of a network whose answer depends on where in its tile a voxel lies."""
    from monai.data.utils import compute_importance_map
    from monai.inferers import sliding_window_inference

    size, tile = (32, 48, 32), (16, 32, 32)
    z, y, x = map(gaussian, tile)
    gaussian_map = torch.from_numpy(z[:, None, None] * y[:, None] * x).float()
    theirs = compute_importance_map(tile, mode="gaussian", sigma_scale=0.125)
    torch.testing.assert_close(theirs, gaussian_map.clamp(min=0.001), atol=1e-6, rtol=1e-5)
    ramp = torch.arange(16.0).reshape(1, 1, 16, 1, 1) + 10 * torch.arange(32.0).reshape(1, 1, 1, 32, 1)
    image = torch.rand(1, *size)
    found = blend(image, tile, (8, 16, 32), lambda part: part + ramp, lambda done: None)
    expected = sliding_window_inference(
        image[None], tile, 4, lambda part: part + ramp, overlap=0.5, roi_weight_map=gaussian_map[None, None]
    )[0]
    torch.testing.assert_close(found, expected, atol=1e-2, rtol=1e-4)
    assert expected.std() > 50


def gaussian(size: int) -> np.ndarray:
    """Standard deviation of an eighth of the size."""
    return np.exp(-(((np.arange(size) - (size - 1) / 2) / (size / 8)) ** 2) / 2)
