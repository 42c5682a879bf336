"""What is needed and what is free: the estimate against what PyTorch allocates, and each system's own account."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from rareunet import slabs
from rareunet.inference import free_memory, memory
from rareunet.inference.free_memory import free_bytes
from rareunet.inference.memory import walk_bytes
from rareunet.network import Architecture, RAREUNet

CPU = torch.device("cpu")
ARCHITECTURES = {
    "paper": Architecture(2, 3, stages=4, filters=8, max_filters=32),
    "default": Architecture(1, 3, stages=4, filters=8, max_filters=64, decoder_convolutions=2),
    "residual": Architecture(
        1, 3, stages=4, filters=8, max_filters=64, encoder_convolutions=1, residual_blocks=1
    ),
    "residual, deeper": Architecture(1, 3, stages=4, filters=8, max_filters=64, residual_blocks=2),
}


def measured_peak(network: RAREUNet, shape, depths, **options) -> float:
    """Largest sum of what PyTorch has allocated and not yet freed during a walk."""
    image = torch.rand(1, network.architecture.in_channels, *shape)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        network(image, depths, keep_features=False, **options)
    alive = peak = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            alive += event.nbytes()
            peak = max(peak, alive)
    return float(peak)


@pytest.mark.parametrize("preset", ARCHITECTURES)
@pytest.mark.parametrize("depths", [(0, 0, 0), (1, 1, 1), (2, 0, 0), (1, 0, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_estimate_is_near_the_peak_of_inference(preset, depths, dtype, monkeypatch):
    # Small slabs, because the images of a quick test are small.
    for module in (slabs, memory):
        monkeypatch.setattr(module, "SLAB_BYTES", 50_000)
    network = RAREUNet(ARCHITECTURES[preset]).eval().requires_grad_(False)
    shape = [64 // 2**depth for depth in depths]
    with torch.inference_mode():
        peak = measured_peak(network, shape, depths, dtype=dtype)
    estimate = walk_bytes(network.architecture, shape, depths, dtype.itemsize, in_slabs=True)
    assert estimate == pytest.approx(peak, rel=0.25)


def test_whole_layers_on_a_gpu_by_hand():
    """The peak is joining the decoder's inputs at depth 0: both, and both again as one."""
    architecture = Architecture(1, 2, stages=1, filters=4, gateways=0)
    layer = 4 * 8 * 8 * 8 * 2
    assert walk_bytes(architecture, (8, 8, 8), (0, 0, 0), 2, in_slabs=False) == 4 * layer
    slab_by_slab = (
        walk_bytes(architecture, (8, 8, 8), (0, 0, 0), 2, in_slabs=True)
        - memory.SLABS_ALIVE * memory.SLAB_BYTES
    )
    assert slab_by_slab == 3 * layer


def test_shortcut_is_one_more_layer_on_a_gpu():
    """The peak is the bottleneck, as large as stage 0 where two axes wait: skip, input, two layers and the shortcut;
    where a block follows another, what enters it too."""
    layer = 4 * 8 * 8 * 8 * 2
    for blocks, layers in ((1, 3), (2, 4)):
        architecture = Architecture(1, 2, stages=1, filters=4, gateways=0, residual_blocks=blocks)
        needed = walk_bytes(architecture, (8, 8, 8), (1, 1, 0), 2, in_slabs=False)
        assert needed == (1 + 0.5 + layers) * layer


def test_a_slab_is_one_plane_at_least(monkeypatch):
    architecture = Architecture(1, 2, stages=1, filters=4, gateways=0)
    monkeypatch.setattr(memory, "SLAB_BYTES", 0)
    layer = 4 * 8 * 16 * 16 * 2
    plane = 4 * 16 * 16 * 4  # as float32, which a slab becomes in between
    needed = walk_bytes(architecture, (8, 16, 16), (0, 0, 0), 2, in_slabs=True)
    assert needed == 3 * layer + memory.SLABS_ALIVE * plane


def test_deeper_entries_and_waiting_axes_need_less():
    paper = Architecture.preset("paper", 4, 4)
    needs = [walk_bytes(paper, [128 // 2**d] * 3, (d,) * 3, in_slabs=True) for d in range(4)]
    assert needs == sorted(needs, reverse=True)
    assert walk_bytes(paper, (32, 128, 128), (2, 0, 0), in_slabs=True) < needs[0] / 2


def test_large_scan_of_the_paper_needs_little_more_than_its_largest_layer():
    needed = walk_bytes(Architecture.preset("paper", 4, 4), (128, 256, 256), (0, 0, 0), in_slabs=True)
    input_and_output = 3 * 32 * 128 * 256 * 256 * 4
    assert needed < 1.2 * input_and_output


def test_this_system_says_what_is_free():
    assert 1e7 < free_bytes(CPU) < 1e14


@pytest.fixture
def linux(tmp_path, monkeypatch):
    """A Linux system of files; returns a function that writes one."""

    def write(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(free_memory, "SYSTEM_MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(free_memory, "PROCESS_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(free_memory, "GROUP_FOLDER", tmp_path / "groups")
    write("meminfo", "MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable:    8000 kB\n")
    return write


def test_linux_says_what_is_available(linux):
    assert free_bytes(CPU) == 8000 * 1024


def test_container_of_version_2_limits_it(linux):
    linux("cgroup", "0::/shop/box\n")
    linux("groups/shop/box/memory.max", "5000000\n")
    linux("groups/shop/box/memory.current", "3000000\n")
    linux("groups/shop/box/memory.stat", "anon 1\ninactive_file 400000\n")
    assert free_bytes(CPU) == 2_400_000


def test_limit_of_a_group_above_binds_too(linux):
    """As SLURM has it: the limit is the job's, the process is in a group of its task."""
    linux("cgroup", "0::/slurm/job_7/step_0/task_0\n")
    for group, limit in (("job_7", "4000000"), ("job_7/step_0", "max"), ("job_7/step_0/task_0", "max")):
        linux(f"groups/slurm/{group}/memory.max", f"{limit}\n")
        linux(f"groups/slurm/{group}/memory.current", "1000000\n")
        linux(f"groups/slurm/{group}/memory.stat", "inactive_file 0\n")
    assert free_bytes(CPU) == 3_000_000


def test_container_without_a_limit_changes_nothing(linux):
    linux("cgroup", "0::/\n")
    linux("groups/memory.max", "max\n")
    linux("groups/memory.current", "3000000\n")
    linux("groups/memory.stat", "inactive_file 0\n")
    assert free_bytes(CPU) == 8000 * 1024


def test_container_of_version_1_limits_it(linux):
    linux("cgroup", "5:cpu,cpuacct:/a\n4:memory:/a\n0::/a\n")
    linux("groups/memory/memory.limit_in_bytes", "1000000\n")
    linux("groups/memory/memory.usage_in_bytes", "900000\n")
    linux("groups/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 50000\n")
    assert free_bytes(CPU) == 150_000


def test_macos_counts_pages_that_give_way(monkeypatch):
    text = (
        "Mach Virtual Memory Statistics: (page size of 16384 bytes)\n"
        "Pages free:                     100.\nPages active:                   999.\n"
        "Pages inactive:                  20.\nPages speculative:                3.\nPages purgeable:   4.\n"
    )
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(free_memory.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=text))
    assert free_bytes(CPU) == 127 * 16384


def test_windows_is_asked_through_its_api(monkeypatch):
    def answer(reference):
        reference._obj.available = 123_456
        return 1

    kernel = SimpleNamespace(kernel32=SimpleNamespace(GlobalMemoryStatusEx=answer))
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(free_memory.ctypes, "windll", kernel, raising=False)
    assert free_bytes(CPU) == 123_456


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32", "haiku"])
def test_system_that_says_nothing_has_no_known_limit(platform, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(free_memory, "SYSTEM_MEMORY", tmp_path / "nothing")
    monkeypatch.setattr(free_memory.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout="?"))
    monkeypatch.delattr(free_memory.ctypes, "windll", raising=False)
    assert free_bytes(CPU) == float("inf")


def test_free_memory_of_a_gpu_includes_what_pytorch_keeps_unused(monkeypatch):
    """A device without its number is the current one; before PyTorch 2.5 mem_get_info asks for the number."""
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000 * device.index, 9000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 500)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 200)
    assert free_bytes(torch.device("cuda")) == 1300
    assert free_bytes(torch.device("cuda:3")) == 3300
