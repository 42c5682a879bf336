"""The estimate of memory: counted by hand where that is possible, refused where it cannot fit."""

from dataclasses import replace

import pytest
import torch
from training_helpers import config_of_balls, samples

from rareunet.architecture import Architecture
from rareunet.network import RAREUNet
from rareunet_training.data.samples import SampleFacts
from rareunet_training.model import describe_bundle
from rareunet_training.training import memory
from rareunet_training.training.memory import (
    AUGMENTATION_BYTES,
    COPIES_OF_WEIGHTS,
    GB,
    OVERHEAD,
    MemoryEstimate,
    _network_bytes,
    estimate_memory,
    out_of_memory_told,
)

CPU = torch.device("cpu")


def estimate(*overrides, facts=None, processes=1):
    config = config_of_balls(*overrides)
    facts = facts or samples(2).facts
    return estimate_memory(config, describe_bundle(config, facts), facts, CPU, processes)


def test_weights_are_counted_exactly():
    network = RAREUNet(Architecture(classes=2, filters=4, stages=3, gateways=2, max_filters=16))
    weights = sum(p.numel() for p in network.parameters()) * 4
    assert estimate(
        'model.network={"filters": 4, "stages": 3, "gateways": 2, "max_filters": 16, "decoder_convolutions": 1}'
    ).model == (COPIES_OF_WEIGHTS * weights)


def test_kept_activations_equal_what_the_cpu_keeps():
    """The count on the device without memory against a real forward call."""
    architecture = Architecture(classes=2, filters=4, stages=3, gateways=2, max_filters=16)
    views = [((2, 1, 16, 16, 16), (0, 0, 0)), ((2, 1, 4, 8, 8), (2, 1, 1))]
    _, counted = _network_bytes(architecture, views)
    network, kept = RAREUNet(architecture), {}

    def keep(tensor):
        if not isinstance(tensor, torch.nn.Parameter):
            kept[tensor.untyped_storage().data_ptr()] = (tensor, tensor.untyped_storage().nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        walks = [network(torch.rand(shape), depths) for shape, depths in views]
    assert walks
    assert counted == pytest.approx(sum(size for _, size in kept.values()), rel=0.3)


def test_larger_patches_and_batches_need_more_and_half_precision_less():
    base = estimate().step
    assert estimate("fit.patch=[32, 16, 16]").step > 1.5 * base
    assert estimate("fit.batch_size=4").step == pytest.approx(2 * base, rel=0.1)
    assert estimate("fit.precision=bfloat16").step == pytest.approx(base / 2)
    assert estimate("fit.batch_size=4", processes=2).step == pytest.approx(base, rel=0.1)


def test_scans_beyond_the_cache_are_told():
    facts = [SampleFacts(f"case {i}", (500, 500, 500), (1.0,) * 3) for i in range(10)]  # 0.625 GB each
    within, beyond = estimate("data.cache_gb=10.0", facts=facts), estimate("data.cache_gb=2.0", facts=facts)
    assert within.scans == pytest.approx(6.25 * GB)
    assert "cache_gb" not in within.describe()
    assert beyond.scans == pytest.approx(2 * GB)
    assert "another 4.2 GB of scans, beyond data.cache_gb, are read again in each epoch" in beyond.describe()


def test_run_that_cannot_fit_is_refused_with_what_to_lower():
    fits = MemoryEstimate(1 * GB, 2 * GB, 0.5 * GB, 0.5 * GB, 0, 5 * GB, 5 * GB, "cpu")
    fits.check()
    lower = "set fit.precision=bfloat16, lower fit.patch, fit.wide_patch, fit.batch_size, fit.coarse_patches or data"
    with pytest.raises(ValueError, match=rf"needs about 4\.6 GB on cpu, but 4\.5 GB are free: {lower}"):
        replace(fits, free=4.5 * GB).check()
    on_gpu = replace(fits, device="cuda", free=3.5 * GB)
    on_gpu.check()
    with pytest.raises(MemoryError, match="the scans and patches of them need 1.6 GB of main memory"):
        replace(on_gpu, free_main=1 * GB).check()


def test_patches_of_a_finer_scan_take_more_memory_while_they_are_augmented():
    facts = [SampleFacts("coarse", (64, 64, 64), (1.0,) * 3), SampleFacts("fine", (60, 60, 60), (0.1,) * 3)]
    settings = ("fit.patch=[32,32,32]", "fit.wide_patch=[]")
    coarse, both = estimate(*settings, facts=facts[:1]), estimate(*settings, facts=facts)
    assert coarse.patches == pytest.approx(AUGMENTATION_BYTES * 32**3)
    assert both.patches == pytest.approx(AUGMENTATION_BYTES * 320**3)
    assert both.on_device - coarse.on_device > 19 * GB


def test_memory_that_a_library_wraps_is_told():
    wrapped = RuntimeError("applying transform <OneOf object>")
    wrapped.__cause__ = MemoryError()
    with pytest.raises(MemoryError, match="training ran out of memory"), out_of_memory_told():
        raise wrapped


@pytest.mark.parametrize(
    ("method", "views"),
    [
        # own, halves, two patches' quarters and eighths (resampled to the deepest), and 1.5 mm resampled to 1
        ("rare", [(16, 0), (8, 1), *[(4, 2)] * 4, (16, 0)]),
        ("unet", [(16, 0), (16, 0)]),
    ],
)
def test_step_holds_the_views_of_the_method(method, views):
    config = config_of_balls(f"fit.method={method}")
    architecture = describe_bundle(config, samples(2).facts).architecture
    shapes = [((2, 1, size, size, size), (depth,) * 3) for size, depth in views]
    _, counted = _network_bytes(architecture, shapes)
    assert estimate(f"fit.method={method}").step == pytest.approx(OVERHEAD * counted)


def test_step_is_that_of_the_finest_scans_padded_to_what_the_poolings_need():
    fine, coarse = (SampleFacts("a", (18, 18, 18), (mm,) * 3) for mm in (1.0, 2.0))
    base = estimate(facts=[fine]).step
    assert estimate(facts=[coarse, fine]).step == base
    assert estimate(facts=[coarse]).step < 0.7 * base
    assert estimate("fit.patch=[23, 24, 23]").step == estimate("fit.patch=[24, 24, 24]").step


def test_processes_of_a_machine_share_its_memory_and_its_cache(monkeypatch):
    """A batch of 3 leaves 2 for one of two processes."""
    monkeypatch.setattr(memory, "free_bytes", lambda device: 8 * GB)
    alone, shared = estimate(), estimate(processes=2)
    assert (alone.free, alone.free_main, shared.free) == (8 * GB, 8 * GB, 4 * GB)
    assert shared.scans == alone.scans / 2
    assert estimate("fit.batch_size=3", processes=2).step == estimate("fit.batch_size=2").step


@pytest.mark.parametrize(("start", "copies"), [("fork", 1), ("spawn", 4)])
def test_workers_hold_copies_of_the_samples_where_they_are_not_forked(monkeypatch, start, copies):
    alone = estimate()
    monkeypatch.setattr(memory.multiprocessing, "get_start_method", lambda: start)
    assert estimate("fit.workers=3").scans == copies * alone.scans
