"""Other ways to present a scan: what reaches the network, and where the answer comes back."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from evaluation_helpers import ARCHITECTURE, VALUE, blob, blob_sample, make_bundle, threshold_predictor

from rareunet import Predictor, Volume
from rareunet.network import RAREUNet
from rareunet.routing import route_for
from rareunet_training.evaluation.baselines import (
    BASELINES,
    PaddedPredictor,
    UpsampledPredictor,
    baseline,
    nearest_depth,
    one_finer,
    with_full_kernels,
)
from rareunet_training.evaluation.conditions import coarser
from rareunet_training.evaluation.evaluate import evaluate

REFERENCE = (1.0, 1.0, 1.0)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return RAREUNet(ARCHITECTURE).eval()


def flipped_scan(spacing=2.0, shape=(16, 20, 18)):
    """A scan stored with x and y running to L and P, as scanners store it."""
    image = blob(shape, (7.3, 10.2, 8.6), 4.0)
    return Volume(image, np.diag([-spacing, -spacing, spacing, 1.0]), "flipped")


def test_upsampled_scan_enters_at_depth_0_with_the_reference_spacing():
    predictor, scan = threshold_predictor(), flipped_scan()
    prediction = UpsampledPredictor(predictor).predict(scan, force=True)
    assert predictor.network.seen == [((32, 48, 48), (0, 0, 0))]  # 32 x 40 x 36, padded for 4 poolings
    inside = scan.voxels[0] > 0.5
    assert set(np.unique(prediction.label_map)) == {0, VALUE}
    assert (
        2 * (inside & (prediction.label_map > 0)).sum() / (inside.sum() + (prediction.label_map > 0).sum())
        > 0.97
    )
    assert prediction.volumes_ml["Ball"] == pytest.approx((prediction.label_map > 0).sum() * 8 / 1000)


def test_scan_of_the_reference_spacing_needs_no_upsampling():
    scan = flipped_scan(spacing=1.0, shape=(24, 32, 32))
    plain = threshold_predictor().predict(scan, force=True)
    upsampled = UpsampledPredictor(threshold_predictor()).predict(scan, force=True)
    assert (upsampled.label_map == plain.label_map).all()


def test_padded_scan_is_taken_for_one_of_the_reference_spacing():
    predictor, scan = threshold_predictor(keep_padding=True), flipped_scan()
    scan.voxels[scan.voxels <= 0.5] *= 0.2  # so that normalising twice moves no voxel across a half
    prediction = PaddedPredictor(predictor, (32, 64, 32)).predict(scan, force=True)
    assert predictor.network.seen == [((32, 64, 32), (0, 0, 0))]
    assert ((prediction.label_map == VALUE) == (scan.voxels[0] > 0.5)).all()
    assert prediction.volumes_ml["Ball"] == pytest.approx((scan.voxels > 0.5).sum() * 8 / 1000)


def test_scan_larger_than_the_grid_is_padded_nowhere_and_cut_nowhere():
    predictor, scan = threshold_predictor(keep_padding=True), flipped_scan(shape=(48, 20, 48))
    prediction = PaddedPredictor(predictor, (32, 64, 32)).predict(scan, force=True)
    assert predictor.network.seen == [((48, 64, 48), (0, 0, 0))]
    assert prediction.label_map.shape == scan.shape


@pytest.mark.parametrize(
    ("spacing", "depths"),
    [((1.0, 1.0, 4.0), (0, 0, 2)), ((1.5, 3.0, 6.0), (1, 2, 3)), ((0.4, 20.0, 1.0), (0, 3, 0))],
)
def test_nearest_depth_resamples_nothing(spacing, depths):
    route = nearest_depth(spacing, REFERENCE, 3)
    assert route.axis_depths == depths
    assert route.resampled_axes == (False, False, False)


def test_axis_that_waits_enters_one_finer_and_is_resampled_there():
    route = one_finer((4.0, 1.0, 1.0), REFERENCE, 3)
    assert route.axis_depths == (1, 0, 0)
    assert route.network_spacing_mm == (2.0, 1.0, 1.0)
    assert one_finer((5.0, 2.0, 2.0), REFERENCE, 3).axis_depths == (1, 1, 1)


@pytest.mark.parametrize("mm", [0.5, 1, 2, 3, 4, 9])
def test_one_finer_leaves_isotropic_routes_alone(mm):
    assert one_finer((mm,) * 3, REFERENCE, 3) == route_for((mm,) * 3, REFERENCE, 3)


def test_full_kernels_change_the_waiting_axes_alone(network):
    full, before = with_full_kernels(network), network.state_dict()
    cube, slices = torch.rand(1, 1, 32, 32, 32), torch.rand(1, 1, 8, 32, 32)
    with torch.inference_mode():
        assert torch.equal(full(cube, (0, 0, 0)).logits, network(cube, (0, 0, 0)).logits)
        collapsed, not_collapsed = network(slices, (2, 0, 0)).logits, full(slices, (2, 0, 0)).logits
    assert collapsed.shape == not_collapsed.shape
    assert not torch.allclose(collapsed, not_collapsed)
    assert network.state_dict().keys() == before.keys()


@pytest.mark.parametrize("blocks", [1, 2])
def test_full_kernels_of_residual_blocks(blocks):
    torch.manual_seed(0)
    network = RAREUNet(replace(ARCHITECTURE, residual_blocks=blocks)).eval()
    slices = torch.rand(1, 1, 8, 32, 32)
    with torch.inference_mode():
        full, collapsed = (n(slices, (2, 0, 0)).logits for n in (with_full_kernels(network), network))
    assert not torch.allclose(full, collapsed)


def test_full_kernels_agree_with_collapsed_ones_within_equal_slices(network):
    """Far from the ends of a stack of equal slices both kernels see the same, for a first convolution."""
    full = with_full_kernels(network)
    stack = torch.rand(1, 1, 1, 16, 16).expand(1, 1, 7, 16, 16)
    waiting = (True, False, False)
    with torch.inference_mode():
        collapsed = network.encoder[0].convolutions[0](stack, waiting)
        whole = full.encoder[0].convolutions[0](stack, waiting)
    assert torch.allclose(collapsed[:, :, 1:-1], whole[:, :, 1:-1], atol=1e-5)
    assert not torch.allclose(collapsed[:, :, :1], whole[:, :, :1], atol=1e-3)


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_answers_on_the_scans_grid(name, network):
    segmenter = baseline(name, Predictor(make_bundle(), "cpu", network=network), (48, 56, 48))
    conditions = [coarser("4 mm", [4, 4, 4]), coarser("thick", [6, 1, 1])]
    scores = evaluate(segmenter, [blob_sample()], conditions)
    assert [score.spacing_mm for score in scores] == [(4, 4, 4), (6, 1, 1)]


def test_unknown_baseline_is_explained():
    with pytest.raises(ValueError, match="'down': choose up, pad"):
        baseline("down", threshold_predictor())
