"""The memory ladder: which rungs there are, which one is taken, and the way down when memory runs out.

No GPU takes part: a CUDA device that runs out of memory is one whose runs raise what PyTorch raises.
"""

from __future__ import annotations

import itertools
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rareunet.architecture import Architecture
from rareunet.errors import MemoryLadderError, is_out_of_memory
from rareunet.inference import ladder as module
from rareunet.inference import memory
from rareunet.inference.ladder import Ladder, Rung, run_on_ladder
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


def test_tiles_on_the_cpu_need_the_logits_of_the_whole_scan_too(bundle):
    rungs = ladder_for(bundle).rungs
    for rung in (rungs[0], rungs[-1]):
        walk = memory.walk_bytes(
            bundle.architecture, rung.tile, (0, 0, 0), rung.dtype.itemsize, in_slabs=True
        )
        whole = 4 * 3 * np.prod(SHAPE) if rung.tiles > 1 else 0
        assert rung.bytes == walk + whole


def test_pieces_on_a_gpu_need_the_image_there_and_half_the_features(bundle):
    rung = ladder_for(bundle, CUDA).rungs[0]
    walk = memory.walk_bytes(bundle.architecture, SHAPE, (0, 0, 0), 2, in_slabs=False)
    assert rung.bytes == walk + 4 * np.prod(SHAPE)


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
    assert (
        f": {ladder.rungs[0].describe()} it needs about" in note
    )  # not what the rung above would have needed
    assert "Tiles can change the result" in note
    assert note in caplog.messages
    assert done == [n / wanted.tiles for n in range(1, wanted.tiles + 1)]


def test_small_tiles_are_warned_of(bundle, image):
    lowest = ladder_for(bundle).rungs[-1]
    (note,) = run(bundle, image, ladder_for(bundle), lowest.bytes).notes
    assert "expect a poor result" in note


def test_no_memory_at_all_says_what_to_do(bundle, image):
    with pytest.raises(MemoryLadderError, match=r"needs about .* GB and may use 0 GB.*allow more memory"):
        run(bundle, image, ladder_for(bundle), 0)


def test_steps_say_what_to_do(bundle, image, monkeypatch):
    ladder = ladder_for(bundle)
    wanted = next(rung for rung in ladder.rungs if rung.tiles > 1)
    (note,) = run(bundle, image, ladder, wanted.bytes).notes
    assert note.endswith("To avoid this, allow more memory or place a smaller region of interest.")
    monkeypatch.setattr(module, "free_bytes", lambda device: wanted.bytes / 0.8)
    (note,) = run(bundle, image, ladder).notes
    assert note.endswith("To avoid this, close other programs or place a smaller region of interest.")


def test_what_is_not_free_cannot_be_allowed(bundle, image, monkeypatch):
    ladder = ladder_for(bundle)
    wanted = next(rung for rung in ladder.rungs if rung.tiles > 1)
    monkeypatch.setattr(module, "free_bytes", lambda device: wanted.bytes)
    result = run(bundle, image, ladder, 1e15)
    assert result.rung == wanted
    assert result.notes[0].endswith(
        "To avoid this, close other programs or place a smaller region of interest."
    )


def test_running_out_below_the_limit_does_not_ask_for_a_higher_one(bundle, image, monkeypatch):
    def run_out(*arguments):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")

    monkeypatch.setattr(module, "_run", run_out)
    monkeypatch.setattr(module, "free_bytes", lambda device: 1e16)
    with pytest.raises(MemoryLadderError, match="the memory ran out.*close other programs"):
        run(bundle, image, ladder_for(bundle), 1e15)


def test_a_fifth_of_what_is_free_is_left_to_others(bundle, image, monkeypatch):
    ladder = ladder_for(bundle)
    for spare, same in ((1.01, True), (0.99, False)):
        monkeypatch.setattr(
            module, "free_bytes", lambda device, spare=spare: spare * ladder.rungs[0].bytes / 0.8
        )
        assert (run(bundle, image, ladder).rung == ladder.rungs[0]) == same


def test_running_out_on_cuda_leads_to_tiles_there(bundle, image, failing_cuda, monkeypatch):
    emptied = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(True))
    seen = failing_cuda(1)
    result = run(bundle, image, ladder_for(bundle, CUDA))
    assert seen == list(ladder_for(bundle, CUDA).rungs[:2])
    assert result.rung.device == CUDA
    assert emptied == [True]  # else what the whole piece left would lie beside the tiles
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


class FullDevice(torch.nn.Parameter):
    """Weights on a device without room for a copy of them."""

    def __deepcopy__(self, memo):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")


def test_a_copy_of_the_network_goes_to_the_cpu_from_a_full_gpu(bundle, image):
    ladder, network = ladder_for(bundle, CUDA), bundle.load_network()
    rung = next(rung for rung in ladder.rungs if rung.device == CPU)
    expected = module._run(network, torch.from_numpy(image), ladder, rung, lambda done: None)
    for part in network.modules():
        for name, weights in part.named_parameters(recurse=False):
            setattr(part, name, FullDevice(weights.detach().clone()))
    logits = module._run(network, torch.from_numpy(image), ladder, rung, lambda done: None)
    torch.testing.assert_close(logits, expected, rtol=0, atol=0)
    assert all(
        isinstance(weights, FullDevice) for weights in network.parameters()
    )  # the next scan finds it as it was


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
    assert is_out_of_memory(torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert is_out_of_memory(RuntimeError("CUDA error: out of memory"))
    assert is_out_of_memory(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"))
    assert is_out_of_memory(RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 18.00 GB)"))
    assert not is_out_of_memory(RuntimeError("shape mismatch"))


class HalfPrecision:
    """Takes the place of a network on a GPU; in half precision its answer for large values is beyond float16."""

    def __init__(self):
        self.half = []

    def __call__(self, tile, depths, keep_features):
        assert not keep_features
        assert torch.is_inference_mode_enabled()
        self.half.append(torch.is_autocast_enabled("cpu"))
        factor = 1e6 if tile.max() > 1 else 1.0
        logits = factor * tile
        return SimpleNamespace(logits=logits.half() if self.half[-1] else logits)


@pytest.mark.parametrize(
    ("largest", "dtype", "half"),
    [(1, torch.float16, [True]), (2, torch.float16, [True, False]), (2, torch.float32, [False])],
)
def test_half_precision_on_a_gpu_and_the_way_back(monkeypatch, largest, dtype, half):
    """The GPU is the CPU here, and the CPU another device, so that the way of a GPU is gone."""
    monkeypatch.setattr(module, "CPU", torch.device("meta"))
    network, image = HalfPrecision(), torch.full((1, 16, 16, 16), float(largest))
    rung = Rung(CPU, dtype, (16, 16, 16), 1, small=False, bytes=0)
    logits = module._run(network, image, Ladder((rung,), (0, 0, 0), (16, 16, 16)), rung, lambda done: None)
    assert network.half == half
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()


def test_memory_must_be_more_than_none(bundle, make_scan):
    for memory_gb in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="allow more than 0"):
            Predictor(bundle, "cpu").predict(make_scan(), memory_gb=memory_gb)


def test_prediction_in_tiles_is_told_and_its_progress_is_by_tile(bundle, make_scan):
    scan = make_scan(SHAPE)
    whole = Predictor(bundle, "cpu").predict(scan)
    lowest = ladder_for(bundle).rungs[-1]
    steps = []
    tiled = Predictor(bundle, "cpu").predict(
        scan, memory_gb=lowest.bytes / 1e9, progress=lambda name, fraction: steps.append((name, fraction))
    )
    assert tiled.label_map.shape == whole.label_map.shape
    assert any("overlapping tiles" in warning for warning in tiled.warnings)
    assert not any("tiles" in warning for warning in whole.warnings)
    fractions = [fraction for name, fraction in steps if name == "network"]
    assert len(fractions) == lowest.tiles + 1
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(0.9)
