"""The multi-resolution loss on cases that can be worked out by hand."""

import math

import pytest
import torch

from rareunet.network import Architecture, RAREUNet, Walk
from rareunet_training.configuration import LossConfig
from rareunet_training.data.views import View
from rareunet_training.training.loss import (
    consistency_loss,
    consistency_sums,
    segmentation_loss,
    segmentation_sums,
    total_loss,
)


def certain_logits(labels: torch.Tensor, classes: int) -> torch.Tensor:
    return 40.0 * torch.nn.functional.one_hot(labels, classes).movedim(-1, 1).float()


def test_perfect_prediction_costs_nothing():
    labels = torch.randint(0, 3, (2, 4, 4, 4))
    assert segmentation_loss(
        segmentation_sums(certain_logits(labels, 3), labels), 0.5
    ).item() == pytest.approx(0, abs=1e-5)


def test_uniform_prediction_costs_log_of_classes():
    labels = torch.randint(0, 3, (1, 4, 4, 4))
    loss = segmentation_loss(segmentation_sums(torch.zeros(1, 3, 4, 4, 4), labels), alpha=1.0)
    assert loss.item() == pytest.approx(math.log(3), rel=1e-5)


def test_class_absent_everywhere_costs_no_dice():
    labels = torch.zeros(1, 4, 4, 4, dtype=torch.int64)
    sums = segmentation_sums(certain_logits(labels, 2), labels)
    assert segmentation_loss(sums, alpha=0.0).item() == pytest.approx(0, abs=1e-5)


def test_consistency_compares_at_the_stage_where_all_axes_have_caught_up():
    full = Walk(torch.zeros(1), {0: torch.zeros(1, 2, 8, 8, 8), 2: torch.ones(1, 2, 2, 2, 2)})
    thick = Walk(torch.zeros(1), {0: torch.zeros(1, 2, 2, 8, 8), 2: torch.full((1, 2, 2, 2, 2), 3.0)})
    assert consistency_loss(consistency_sums([full, thick], [(0, 0, 0), (2, 0, 0)])).item() == pytest.approx(
        4.0
    )


def test_consistency_target_gets_no_gradient():
    network = RAREUNet(Architecture(filters=2, stages=3, gateways=2, classes=2, dropout=0.0))
    image = torch.rand(1, 1, 16, 16, 16)
    walks = [network(image, (0, 0, 0)), network(image[..., ::2, ::2, ::2], (1, 1, 1))]
    consistency_loss(consistency_sums(walks, [(0, 0, 0), (1, 1, 1)])).backward()
    assert network.gateways["1"].convolutions[0].weight.grad.abs().sum() > 0
    assert network.encoder[1].convolutions[0].weight.grad is None


def test_views_of_other_grids_are_left_out_of_the_consistency():
    full = Walk(torch.zeros(1), {1: torch.zeros(1, 2, 4, 4, 4)})
    other = Walk(torch.zeros(1), {1: torch.ones(1, 2, 3, 3, 3)})
    assert consistency_loss(consistency_sums([full, other], [(0, 0, 0), (1, 1, 1)])).item() == 0


def test_loss_of_a_batch_is_that_of_its_parts_added_up():
    """What two processes hold of a batch of three; the weight of 0 silences a case that is only repeated."""
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 3, 4, 4, 4), torch.randint(0, 3, (3, 4, 4, 4))
    features = torch.randn(3, 2, 2, 2, 2), torch.randn(3, 2, 2, 2, 2)

    def loss(part, weight=1.0, others=()):
        walks = [Walk(logits[part], {1: features[0][part]}), Walk(logits[part], {1: features[1][part]})]
        views = [View(n, 0, None, labels[part], (d,) * 3) for n, d in (("own", 0), ("1/2", 1))]
        sent = []

        def reduce(sums):
            sent.append(sums)
            return sums + sum(others)

        return total_loss(walks, views, LossConfig(), weight, reduce), sent[0]

    whole, _ = loss(slice(0, 3))
    _, of_second = loss(slice(2, 3))
    _, of_third = loss(slice(0, 1), weight=0.0)
    shared, _ = loss(slice(0, 2), others=(of_second, of_third))
    assert shared.total.item() == pytest.approx(whole.total.item(), rel=1e-5)
    assert shared.parts == pytest.approx(whole.parts, rel=1e-5)


def test_dice_is_the_mean_over_the_structures():
    """Three classes, equal probabilities; half of 8 voxels are class 1, the others background."""
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]).view(1, 2, 2, 2)
    sums = segmentation_sums(torch.zeros(1, 3, 2, 2, 2), labels)
    dice = [
        (2 * 4 / 3 + 1) / (8 / 3 + 4 + 1),
        1 / (8 / 3 + 1),
    ]  # overlap and size of each, and one voxel more
    assert segmentation_loss(sums, alpha=0.0).item() == pytest.approx(1 - sum(dice) / 2)


def test_total_is_the_mean_over_views_and_the_weighted_consistency():
    """The first view is undecided, the others perfect; features are 2 and 6 away, and one view can't be compared."""
    labels = torch.ones(1, 2, 2, 2, dtype=torch.int64)
    logits = [torch.zeros(1, 2, 2, 2, 2), *[certain_logits(labels, 2)] * 3]
    features = [
        {1: torch.zeros(1, 1, 2, 2, 2), 2: torch.zeros(1, 1, 1, 1, 1)},
        {1: torch.full((1, 1, 2, 2, 2), 2.0)},
        {2: torch.full((1, 1, 1, 1, 1), 6.0)},
        {1: torch.ones(1, 1, 3, 3, 3)},
    ]
    views = [View(f"1/{2**d}", 0, None, labels, (d,) * 3) for d in (0, 1, 2, 1)]
    walks = [Walk(*pair) for pair in zip(logits, features, strict=True)]
    undecided = 0.25 * math.log(2) + 0.75 * (1 - (2 * 4 + 1) / (4 + 8 + 1))
    loss = total_loss(walks, views, LossConfig(alpha=0.25, consistency=0.5))
    assert loss.parts["consistency"] == pytest.approx((2**2 + 6**2) / 2)
    assert loss.total.item() == pytest.approx(undecided / 4 + 0.5 * 20)
    assert loss.parts["1/1"] == pytest.approx(undecided)
    without = total_loss(walks, views, LossConfig(alpha=0.25, consistency=0.0))
    assert without.total.item() == pytest.approx(undecided / 4)
    assert "consistency" not in without.parts


def test_another_patch_counts_as_a_view_of_its_own_but_has_no_features_to_agree_with():
    labels = torch.ones(1, 2, 2, 2, dtype=torch.int64)
    undecided, certain = torch.zeros(1, 2, 2, 2, 2), certain_logits(labels, 2)
    walks = [
        Walk(logits, {2: torch.full((1, 1, 1, 1, 1), f)})
        for logits, f in ((certain, 0.0), (certain, 2.0), (undecided, 9.0))
    ]
    views = [
        View(n, patch, None, labels, (d,) * 3)
        for n, patch, d in (("own", 0, 0), ("1/4", 0, 2), ("1/4", 1, 2))
    ]
    loss = total_loss(walks, views, LossConfig(alpha=1.0, consistency=0.5))
    assert loss.parts == pytest.approx({"own": 0.0, "1/4": math.log(2) / 2, "consistency": 2**2}, abs=1e-6)
    assert loss.total.item() == pytest.approx(math.log(2) / 3 + 0.5 * 2**2, abs=1e-6)


def test_view_of_weight_3_counts_three_times():
    labels = torch.ones(1, 2, 2, 2, dtype=torch.int64)
    walks = [Walk(logits, {}) for logits in (certain_logits(labels, 2), torch.zeros(1, 2, 2, 2, 2))]
    views = [View(n, 0, None, labels, (d,) * 3) for n, d in (("own", 0), ("1/4", 2))]
    loss = total_loss(walks, views, LossConfig(alpha=1.0, consistency=0.0, weights={"1/4": 3}))
    assert loss.total.item() == pytest.approx(0.75 * math.log(2), abs=1e-6)
    assert loss.parts == pytest.approx({"own": 0.0, "1/4": math.log(2)}, abs=1e-6)


def test_sums_over_voxels_do_not_overflow_in_half_precision():
    """48^3 voxels of log(2) and a squared distance of 300^2 are both beyond float16's 65504."""
    labels = torch.zeros(1, 48, 48, 48, dtype=torch.int64)
    sums = segmentation_sums(torch.zeros(1, 2, 48, 48, 48, dtype=torch.float16), labels)
    assert sums[0].item() == pytest.approx(48**3 * math.log(2), rel=1e-5)
    first, second = (
        Walk(torch.zeros(1), {1: torch.full((1, 1, 1, 1, 1), value, dtype=torch.float16)})
        for value in (0.0, 300.0)
    )
    assert consistency_loss(consistency_sums([first, second], [(0, 0, 0), (1, 1, 1)])).item() == 300**2
