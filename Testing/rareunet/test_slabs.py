"""Inference slab by slab: the same as PyTorch's layers, whatever the slabs."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from rareunet import slabs
from rareunet.network import Architecture, RAREUNet

ROUTES = [(0, 0, 0), (1, 1, 1), (3, 3, 3), (2, 0, 0), (0, 1, 3)]


@pytest.fixture(params=[1, 20_000, 8_000_000], ids=["one plane", "some planes", "all planes"])
def slab_bytes(request, monkeypatch):
    monkeypatch.setattr(slabs, "SLAB_BYTES", request.param)


@pytest.fixture(params=[True, False], ids=["oneDNN", "no oneDNN"])
def onednn(request, monkeypatch):
    if request.param and not torch.backends.mkldnn.is_available():
        pytest.skip("this PyTorch has no oneDNN")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: request.param)


@pytest.fixture(params=[0, 1, 2], ids=["plain", "residual", "two residual"])
def network(request) -> RAREUNet:
    torch.manual_seed(0)
    network = RAREUNet(
        Architecture(
            2, 3, stages=4, filters=4, max_filters=16, decoder_convolutions=2, residual_blocks=request.param
        )
    )
    for module in network.modules():  # as after training, when no two norms are the same
        if isinstance(module, torch.nn.InstanceNorm3d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    return network.eval()


@pytest.mark.parametrize("depths", ROUTES)
def test_inference_equals_the_layers_of_training(network, depths, slab_bytes, onednn):
    image = torch.rand(1, 2, *(2 * 2 ** (4 - depth) for depth in depths))
    expected = network(image, depths)
    with torch.inference_mode():
        found = network(image, depths)
    assert torch.isfinite(found.logits).all()
    torch.testing.assert_close(found.logits, expected.logits.detach(), atol=2e-4, rtol=1e-4)
    assert found.features.keys() == expected.features.keys()


def test_batches_are_taken_too(network, slab_bytes):
    images = torch.rand(2, 2, 32, 16, 16)
    with torch.inference_mode():
        together = network(images, (0, 0, 0)).logits
        for image, logits in zip(images, together, strict=True):
            alone = network(image[None], (0, 0, 0)).logits[0]
            torch.testing.assert_close(logits, alone, atol=2e-4, rtol=1e-4)


def test_features_are_freed_where_nobody_needs_them(network):
    with torch.inference_mode():
        assert network(torch.rand(1, 2, 32, 16, 16), (0, 0, 0), keep_features=False).features == {}


@pytest.mark.parametrize("native", [True, False])
def test_bfloat16_is_near_float32(network, native, slab_bytes, monkeypatch):
    monkeypatch.setattr(slabs, "computes_in_bfloat16", lambda: native)
    image = torch.rand(1, 2, 32, 32, 32)
    with torch.inference_mode():
        exact = network(image, (0, 0, 0)).logits
        walk = network(image, (0, 0, 0), dtype=torch.bfloat16)
    assert {features.dtype for features in walk.features.values()} == {torch.bfloat16}
    assert walk.logits.dtype == torch.float32
    assert 0 < (walk.logits - exact).square().mean().sqrt() < 0.05 * exact.std()


def test_parts_are_convolved_as_if_joined(slab_bytes, onednn):
    parts, kernel, bias = (
        [torch.rand(1, c, 6, 5, 7) for c in (3, 2)],
        torch.rand(4, 5, 3, 3, 3),
        torch.rand(4),
    )
    found, moments = slabs.convolve(parts, kernel, bias)
    expected = functional.conv3d(torch.cat(parts, dim=1), kernel, bias, padding=1)
    torch.testing.assert_close(found, expected)
    mean, variance = moments.mean_and_variance()
    torch.testing.assert_close(mean[0].float(), expected.mean(dim=(0, 2, 3, 4)))
    torch.testing.assert_close(variance[0].float(), expected.var(dim=(0, 2, 3, 4), unbiased=False))


@pytest.mark.parametrize("stride", [(2, 2, 2), (1, 2, 2), (2, 1, 2), (1, 1, 1)])
def test_up_convolution_is_the_plain_one(stride, slab_bytes, onednn):
    features, bias = torch.rand(1, 3, 5, 4, 6), torch.rand(2)
    kernel = torch.rand(3, 2, *(3 if s == 2 else 1 for s in stride))
    padding = [s - 1 for s in stride]
    expected = functional.conv_transpose3d(features, kernel, bias, stride, padding, padding)
    torch.testing.assert_close(slabs.up_convolve(features, kernel, bias, stride), expected)


@pytest.mark.parametrize("size", [(2, 2, 2), (1, 2, 2), (2, 1, 1)])
def test_pooling_is_the_plain_one(size, slab_bytes):
    features = torch.rand(1, 3, 6, 4, 8)
    assert torch.equal(slabs.max_pool(features, size), functional.max_pool3d(features, size, size))


def test_statistics_survive_a_mean_far_above_the_spread():
    """Naively, the mean of squares less the square of the mean has no correct digit left here in float32."""
    features = 10_000 + torch.randn(1, 1, 8, 32, 32, generator=torch.Generator().manual_seed(0))
    moments = slabs.Moments.about(features[:, :, :2])
    for start in range(0, 8, 2):
        moments.add(features[:, :, start : start + 2])
    _, variance = moments.mean_and_variance()
    assert variance.item() == pytest.approx(features.double().var(unbiased=False).item(), rel=1e-3)
