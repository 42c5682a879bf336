"""The network: the paper's size, every route, and why collapsed kernels stand for stacks of thin slices."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional

from rareunet.blocks import Convolution, ConvolutionBlock, UpConvolution, collapse_kernel, max_pool
from rareunet.network import Architecture, RAREUNet, waiting_axes

DEPTHS = [d for d in itertools.product(range(4), repeat=3) if max(d) - min(d) <= 2]


@pytest.fixture
def network(tiny_architecture) -> RAREUNet:
    torch.manual_seed(0)
    return RAREUNet(tiny_architecture).eval()


def image_for(depths: tuple[int, int, int], stages: int = 4, channels: int = 1) -> torch.Tensor:
    """The smallest image of a route that leaves two voxels at the bottleneck."""
    sizes = [2 ** (stages - d) for d in depths]
    return torch.rand(1, channels, 2 * sizes[0], sizes[1], sizes[2])


@pytest.mark.parametrize(("channels", "classes", "parameters"), [(1, 3, 32_734_604), (4, 4, 32_773_968)])
def test_paper_has_the_published_number_of_parameters(channels, classes, parameters):
    with torch.device("meta"):
        network = RAREUNet(Architecture.preset("paper", channels, classes))
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize("depths", DEPTHS)
def test_logits_lie_on_the_grid_of_the_input(network, depths):
    image = image_for(depths)
    walk = network(image, depths)
    assert walk.logits.shape == (1, 3, *image.shape[2:])
    assert sorted(walk.features) == list(range(min(depths), 4))
    assert torch.isfinite(walk.logits).all()


@pytest.mark.parametrize("depth", range(4))
def test_equal_axis_depths_use_no_collapsed_kernel(network, depth, monkeypatch):
    seen = []
    forward = Convolution.forward
    monkeypatch.setattr(
        Convolution,
        "forward",
        lambda self, x, collapsed: seen.append(collapsed) or forward(self, x, collapsed),
    )
    network(image_for((depth,) * 3), (depth,) * 3)
    assert seen
    assert set(seen) == {(False, False, False)}


def test_an_axis_waits_until_its_depth():
    assert waiting_axes((2, 0, 1), 0) == (True, False, True)
    assert waiting_axes((2, 0, 1), 1) == (True, False, False)
    assert waiting_axes((2, 0, 1), 2) == (False, False, False)


def test_pooling_spares_waiting_axes():
    assert max_pool(torch.zeros(1, 1, 4, 4, 4), (True, False, False)).shape == (1, 1, 4, 2, 2)


@pytest.mark.parametrize("axis", range(3))
def test_collapsed_convolution_is_the_full_one_inside_a_stack_of_equal_slices(axis):
    """Four thick slices, each written as five equal thin ones: in their middle the full kernel sees one value
    along the axis, so it acts by the sum of its taps."""
    torch.manual_seed(0)
    convolution = Convolution(2, 3)
    thick = torch.rand(1, 2, 4, 4, 4)
    thin = thick.repeat_interleave(5, dim=axis + 2)
    full = convolution(thin).index_select(axis + 2, torch.arange(2, 20, 5))
    collapsed = tuple(i == axis for i in range(3))
    torch.testing.assert_close(convolution(thick, collapsed), full)


def test_collapsing_sums_the_taps():
    kernel = torch.rand(2, 3, 3, 3, 3)
    assert collapse_kernel(kernel, (False, False, False)) is kernel
    summed = collapse_kernel(kernel, (True, False, True))
    assert summed.shape == (2, 3, 1, 3, 1)
    torch.testing.assert_close(summed[:, :, 0, :, 0], kernel.sum(dim=(2, 4)))


@pytest.mark.parametrize("axis", range(3))
def test_collapsed_up_convolution_is_the_mean_of_the_two_phases_inside_a_constant_stack(axis):
    torch.manual_seed(0)
    upsampler = UpConvolution(2, 3)
    thick = torch.rand(1, 2, *(1 if i == axis else 4 for i in range(3)))
    stack = upsampler(thick.repeat_interleave(5, dim=axis + 2))
    inside = stack.narrow(axis + 2, 4, 2).mean(dim=axis + 2, keepdim=True)
    waiting = tuple(i == axis for i in range(3))
    torch.testing.assert_close(upsampler(thick, waiting), inside)


def test_up_convolution_without_waiting_axes_is_the_plain_layer():
    upsampler, features = UpConvolution(2, 3), torch.rand(1, 2, 2, 3, 4)
    plain = functional.conv_transpose3d(
        features, upsampler.weight, upsampler.bias, stride=2, padding=1, output_padding=1
    )
    assert torch.equal(upsampler(features), plain)
    assert plain.shape == (1, 3, 4, 6, 8)


@pytest.mark.parametrize("gateways", [0, 1, 2])
def test_gateways_are_configurable(gateways):
    network = RAREUNet(Architecture(stages=3, filters=2, gateways=gateways)).eval()
    assert len(network.gateways) == gateways
    assert len(network.heads) == gateways + 1
    depths = (gateways,) * 3
    assert network(image_for(depths, 3), depths).logits.shape[1] == 2


def test_convolutions_per_block_are_configurable():
    architecture = Architecture(
        stages=2,
        filters=2,
        gateways=1,
        encoder_convolutions=3,
        gateway_convolutions=1,
        decoder_convolutions=2,
    )
    network = RAREUNet(architecture)
    assert len(network.encoder[0].convolutions) == 3
    assert len(network.gateways["1"].convolutions) == 1
    assert len(network.decoder[0].convolutions) == 2


def test_residual_blocks_spare_the_costly_stage():
    network = RAREUNet(Architecture(stages=2, filters=2, gateways=1, residual_blocks=2))
    stages = [*network.encoder, network.bottleneck]
    assert [len(stage.blocks) for stage in stages] == [1, 2, 2]
    widths = [[block.convolutions[0].in_channels for block in stage.blocks] for stage in stages]
    assert widths == [[1], [2, 4], [4, 8]]


def test_residual_block_adds_its_input():
    """With its own layers silenced, what is left is the activated shortcut."""
    block, features = ConvolutionBlock(2, 3, residual=True), torch.rand(1, 2, 4, 4, 4)
    torch.nn.init.zeros_(block.norms[-1].weight)
    expected = functional.leaky_relu(block.projection_norm(block.projection(features)), 0.01)
    torch.testing.assert_close(block([features]), expected)


def test_width_doubles_up_to_the_cap():
    assert [Architecture().width(k) for k in range(6)] == [32, 64, 128, 256, 320, 320]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": 3, "gateways": 3}, "3 gateways need more than 3 stages"),
        ({"gateways": -1}, "architecture.gateways is -1"),
        ({"filters": 0}, "architecture.filters is 0"),
        ({"stages": 2.5}, "architecture.stages is 2.5"),
        ({"residual_blocks": -1}, "architecture.residual_blocks is -1: a whole number of at least 0"),
        ({"dropout": 1.0}, "architecture.dropout is 1.0"),
    ],
)
def test_wrong_architecture_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Architecture(**changes)


def test_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="choose one of paper, default"):
        Architecture.preset("huge", 1, 2)


def test_walks_from_all_depths_reach_every_parameter(tiny_architecture):
    network = RAREUNet(tiny_architecture).train()
    routes = [(d, d, d) for d in range(4)]
    walks = [network(image_for(route), route) for route in routes]
    sum(walk.logits.square().mean() for walk in walks).backward()
    without = [name for name, p in network.named_parameters() if p.grad is None]
    assert without == []


def test_an_untrained_pass_is_repeatable_in_evaluation(network):
    image = image_for((0, 0, 0))
    assert torch.equal(network(image, (0, 0, 0)).logits, network(image, (0, 0, 0)).logits)


def test_blocks_leave_their_input_alone():
    block, features = ConvolutionBlock(1, 2), torch.rand(1, 1, 4, 4, 4)
    before = features.clone()
    block([features])
    assert torch.equal(features, before)


def test_tiny_grids_are_trained_in_float32_on_the_cpu():
    """PyTorch's bfloat16 weight gradient is unreliable there, see blocks.Convolution."""
    convolution = Convolution(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert convolution(torch.rand(1, 2, 2, 4, 2)).dtype == torch.float32
        assert convolution(torch.rand(1, 2, 4, 4, 4)).dtype == torch.bfloat16
        assert convolution.eval()(torch.rand(1, 2, 2, 4, 2)).dtype == torch.bfloat16
