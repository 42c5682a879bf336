"""The memory ladder: which rungs there are, which one is taken, and the way down when memory runs out.

No GPU takes part: a CUDA device that runs out of memory is one whose runs raise what PyTorch raises.
"""

from __future__ import annotations

import itertools
import logging

import numpy as np
import pytest
import torch

from rareunet import ladder as module
from rareunet import memory
from rareunet.architecture import Architecture
from rareunet.ladder import Ladder, Rung, is_out_of_memory, run_on_ladder
from rareunet.predictor import Predictor
from rareunet.routing import route_for

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SHAPE = (64, 96, 96)


def ladder_for(bundle, device=CPU, spacing=(1.0, 1.0, 1.0), shape=SHAPE) -> Ladder:
    return Ladder.of(bundle, shape, route_for(spacing), device)


@pytest.fixture(params=[True, False], ids=["bfloat16", "float32"])
def native(request, monkeypatch) -> bool:
    """Whether the processor computes in bfloat16."""
    monkeypatch.setattr(module, "computes_in_bfloat16", lambda: request.param)
    return request.param


@pytest.fixture
def bundle(make_bundle, monkeypatch):
    """Its features take more than its logits, and slabs little, so that tiles save memory as they do in earnest."""
    monkeypatch.setattr(memory, "SLAB_BYTES", 1000)
    architecture = Architecture(classes=3, stages=4, filters=8, max_filters=8)
    return make_bundle(
        architecture=architecture, field_of_view_mm={"smallest": (20.0,) * 3, "largest": (48.0, 48.0, 48.0)}
    )


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).random((1, *SHAPE), dtype=np.float32)


def run(bundle, image, ladder, limit=None, progress=lambda done: None):
    return run_on_ladder(bundle.load_network(), image, ladder, progress, limit)


@pytest.fixture
def failing_cuda(monkeypatch):
    """A CUDA device with memory enough by its own account whose first runs, as many as asked for, end without."""
    inner, left, seen = module._run, {"failures": 99}, []

    def run_or_fail(network, tensor, ladder, rung, progress):
        seen.append(rung)
        if rung.device == CPU:
            return inner(network, tensor, ladder, rung, progress)
        left["failures"] -= 1
        if left["failures"] >= 0:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return torch.zeros(3, *SHAPE)

    monkeypatch.setattr(module, "_run", run_or_fail)
    monkeypatch.setattr(module, "free_bytes", lambda device: 1e12)

    def fail(times: int) -> list[Rung]:
        left["failures"] = times
        return seen

    return fail


def test_cpu_goes_from_one_piece_to_ever_smaller_tiles(bundle, native):
    rungs = ladder_for(bundle).rungs
    assert rungs[0].tile == SHAPE
    assert rungs[0].tiles == 1
    types = [rung.dtype for rung in rungs]
    assert types[: 1 if native else 2] == ([torch.bfloat16] if native else [torch.float32, torch.bfloat16])
    assert set(types[1:]) == {torch.bfloat16}
    sizes = [np.prod(rung.tile) for rung in rungs]
    assert sizes == sorted(sizes, reverse=True)
    assert all(a.bytes > b.bytes for a, b in itertools.pairwise(r for r in rungs if r.tiles > 1))


def test_tiles_below_the_training_crops_come_last_and_say_so(bundle, native):
    small = [min(rung.tile) < 48 for rung in ladder_for(bundle).rungs]
    assert small == sorted(small)
    assert small == [rung.small for rung in ladder_for(bundle).rungs]
    assert [rung.tile for rung in ladder_for(bundle).rungs if not rung.small][-1] == (64, 48, 48)


def test_gpu_gives_way_to_the_cpu_before_tiles_get_too_small(bundle, native):
    rungs = ladder_for(bundle, CUDA).rungs
    devices = [rung.device.type for rung in rungs]
    assert devices == sorted(devices, reverse=True)
    assert not any(rung.small for rung in rungs if rung.device == CUDA)
    assert {rung.dtype for rung in rungs if rung.device == CUDA} == {torch.float16}
    assert [r for r in rungs if r.device == CPU] == list(ladder_for(bundle).rungs)


def test_thick_slices_are_tiled_by_millimetres(bundle):
    rungs = ladder_for(bundle, spacing=(4.0, 1.0, 1.0), shape=(64, 96, 96)).rungs
    assert rungs[0].tile == (64, 96, 96)
    assert next(rung for rung in rungs if rung.tiles > 1).tile == (32, 96, 96)  # 256 mm are the longest axis


def test_whole_scan_is_taken_where_it_fits(bundle, image):
    result = run(bundle, image, ladder_for(bundle))
    assert result.rung.tiles == 1
    assert result.notes == ()
    assert result.logits.shape == (3, *SHAPE)
    assert result.logits.dtype == np.float32


def test_little_memory_means_tiles_and_a_note(bundle, image, caplog):
    ladder, done = ladder_for(bundle), []
    wanted = [rung for rung in ladder.rungs if not rung.small][-1]
    caplog.set_level(logging.INFO, "rareunet")
    result = run(bundle, image, ladder, wanted.bytes, done.append)
    assert result.rung == wanted
    assert result.logits.shape == (3, *SHAPE)
    assert np.isfinite(result.logits).all()
    (note,) = result.notes
    assert "overlapping tiles of" in note
    assert "Tiles can change the result" in note
    assert note in caplog.messages
    assert done == [n / wanted.tiles for n in range(1, wanted.tiles + 1)]


def test_small_tiles_are_warned_of(bundle, image):
    lowest = ladder_for(bundle).rungs[-1]
    (note,) = run(bundle, image, ladder_for(bundle), lowest.bytes).notes
    assert "expect a poor result" in note


def test_no_memory_at_all_says_what_to_do(bundle, image):
    with pytest.raises(MemoryError, match=r"needs about .* GB and may use 0.0 GB.*Close other programs"):
        run(bundle, image, ladder_for(bundle), 0)


def test_running_out_on_cuda_leads_to_tiles_there(bundle, image, failing_cuda):
    seen = failing_cuda(1)
    result = run(bundle, image, ladder_for(bundle, CUDA))
    assert seen == list(ladder_for(bundle, CUDA).rungs[:2])
    assert result.rung.device == CUDA
    assert "in one piece on cuda (float16) the memory ran out" in result.notes[0]


def test_running_out_on_cuda_for_good_leads_to_the_cpu(bundle, image, failing_cuda):
    failing_cuda(99)
    ladder = ladder_for(bundle, CUDA)
    result = run(bundle, image, ladder)
    assert result.rung.device == CPU
    assert result.rung.tiles == 1
    assert len(result.notes) == sum(rung.device == CUDA for rung in ladder.rungs)
    expected = run(bundle, image, ladder_for(bundle)).logits
    np.testing.assert_array_equal(result.logits, expected)


def test_too_little_on_cuda_leads_to_the_cpu_at_once(bundle, image, failing_cuda, monkeypatch):
    seen = failing_cuda(0)
    monkeypatch.setattr(module, "free_bytes", lambda device: 1e12 if device == CPU else 1e3)
    result = run(bundle, image, ladder_for(bundle, CUDA))
    assert [rung.device for rung in seen] == [CPU]
    assert "segmented in one piece on cpu" in result.notes[0]


def test_running_out_on_the_cpu_leads_to_tiles(bundle, image, monkeypatch):
    inner = module._run

    def run_or_fail(network, tensor, ladder, rung, progress):
        if rung.tiles == 1:
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory"
            )
        return inner(network, tensor, ladder, rung, progress)

    monkeypatch.setattr(module, "_run", run_or_fail)
    result = run(bundle, image, ladder_for(bundle))
    assert result.rung.tiles > 1


def test_other_errors_are_not_taken_for_a_lack_of_memory(bundle, image, monkeypatch):
    def broken(*arguments):
        raise RuntimeError("a kernel failed")

    monkeypatch.setattr(module, "_run", broken)
    with pytest.raises(RuntimeError, match="a kernel failed"):
        run(bundle, image, ladder_for(bundle))


def test_real_refusals_of_pytorch_are_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 18.00 GB)"))
    assert not is_out_of_memory(RuntimeError("shape mismatch"))


def test_prediction_in_tiles_is_told_and_its_progress_is_by_tile(bundle, make_scan):
    scan = make_scan(SHAPE)
    whole = Predictor(bundle, "cpu").predict(scan)
    lowest = ladder_for(bundle).rungs[-1]
    steps = []
    tiled = Predictor(bundle, "cpu", memory_gb=lowest.bytes / 1e9).predict(
        scan, progress=lambda name, fraction: steps.append((name, fraction))
    )
    assert tiled.label_map.shape == whole.label_map.shape
    assert any("overlapping tiles" in warning for warning in tiled.warnings)
    assert not any("tiles" in warning for warning in whole.warnings)
    fractions = [fraction for name, fraction in steps if name == "network"]
    assert len(fractions) == lowest.tiles + 1
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(0.9)
