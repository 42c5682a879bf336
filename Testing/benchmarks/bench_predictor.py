"""What a prediction costs: the network at each entry depth, and everything around it. Prints a table and checks limits.

Times are medians of several runs; compare the ratios, not the seconds of different machines.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import bench_memory
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from rareunet import Bundle, Predictor, Volume, read_volume
from rareunet.architecture import Architecture
from rareunet.bundle import Label
from rareunet.inference.memory import walk_bytes
from rareunet.intensity import IntensityRule
from rareunet.network import RAREUNet

SAMPLE = Path(__file__).parents[2] / "Resources" / "SampleData" / "hippocampus_050.nii.gz"


@dataclass(frozen=True)
class Speed:
    """Of one entry depth: the network's GFLOP and median seconds by way of running it, a matrix product's GFLOP/s."""

    gflop: float
    plain: float
    slabs: float
    bfloat16: float
    product: float

    @property
    def share(self) -> float:
        """Of the matrix product's speed that the network in float32 reaches."""
        return self.gflop / self.slabs / self.product


def gflop_of(architecture: Architecture, shape: tuple[int, int, int], depth: int) -> float:
    """Floating-point operations of the convolutions, counted on PyTorch's device without memory."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        RAREUNet(architecture)(torch.empty(1, architecture.in_channels, *shape), (depth, depth, depth))
    return counter.get_total_flops() / 1e9


def measure_speed(network: RAREUNet, shape: tuple[int, int, int], depth: int, runs: int) -> Speed:
    """Measured in turns, so that a busy moment of the machine meets all ways. `shape` is that of depth 0."""
    z, y, x = (n // 2**depth for n in shape)
    image, depths = torch.rand(1, network.architecture.in_channels, z, y, x), (depth, depth, depth)
    matrix = torch.rand(2048, 2048)

    def plain() -> None:
        with torch.enable_grad():  # no weight asks for a gradient: only the layers are those of training
            network(image, depths)

    ways = {
        "plain": plain,
        "slabs": lambda: network(image, depths, keep_features=False),
        "bfloat16": lambda: network(image, depths, keep_features=False, dtype=torch.bfloat16),
        "product": lambda: matrix @ matrix,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    network.requires_grad_(False)
    with torch.no_grad():
        for _ in range(runs + 1):
            for name, way in ways.items():
                start = time.perf_counter()
                way()
                seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(column[1:]) for name, column in seconds.items()}
    product = 2 * len(matrix) ** 3 / 1e9 / medians.pop("product")
    return Speed(gflop_of(network.architecture, (z, y, x), depth), **medians, product=product)


def peak_mb(architecture: Architecture, shape: tuple[int, int, int], depth: int, dtype: str) -> str:
    """What the network adds to a process at its peak, measured where the system tells it. `shape` is depth 0's."""
    size, depths = tuple(n // 2**depth for n in shape), (depth, depth, depth)
    if not sys.platform.startswith("linux"):
        bytes_per_value = getattr(torch, dtype).itemsize
        return f"about {walk_bytes(architecture, size, depths, bytes_per_value, in_slabs=True) / 1e6:.0f} MB"
    return f"{bench_memory.measure(architecture, size, depths, dtype)[1] * 1000:.0f} MB"


def print_depths(title: str, network: RAREUNet, shape: tuple[int, int, int], runs: int) -> list[Speed]:
    """Prints the network alone at each entry depth: "plain" are PyTorch's layers as in training, in float32; MB are
    the peaks of memory."""
    channels = network.architecture.in_channels
    print(
        f"\n{title}: network alone, {channels} x {' x '.join(map(str, shape))} (C x Z x Y x X) and its halvings"
    )
    speeds = [measure_speed(network, shape, depth, runs) for depth in range(4)]
    for depth, speed in enumerate(speeds):
        peaks = [peak_mb(network.architecture, shape, depth, dtype) for dtype in ("float32", "bfloat16")]
        print(
            f"  entry depth {depth}: {speed.gflop:6.1f} GFLOP; plain {speed.plain * 1000:7.1f} ms;"
            f" float32 {speed.slabs * 1000:7.1f} ms, {peaks[0]}, {speed.gflop / speed.slabs:4.0f} of"
            f" {speed.product:.0f} GFLOP/s ({speed.share:.0%}); bfloat16 {speed.bfloat16 * 1000:7.1f} ms,"
            f" {peaks[1]}; {speeds[0].slabs / speed.slabs:4.1f} x faster than depth 0",
            flush=True,
        )
    return speeds


def print_steps(title: str, predictor: Predictor, volume: Volume, runs: int) -> tuple[float, float]:
    """Prints a prediction's seconds per step; returns (network, all other steps)."""
    rows = [predictor.predict(volume, force=True).seconds for _ in range(runs + 1)][1:]
    steps = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    others = sum(s for name, s in steps.items() if name != "network")
    print(f"\n{title}: " + ", ".join(f"{name} {s * 1000:.1f} ms" for name, s in steps.items()))
    return steps["network"], others


def four_channel_predictor(folder: Path) -> Predictor:
    architecture = Architecture.preset("paper", 4, 4)
    labels = tuple(Label(i, f"Label {i}", (200, 80 * i, 0)) for i in (1, 2, 3))
    names = tuple({"name": name} for name in ("FLAIR", "T1", "T1Gd", "T2"))
    extent = {"smallest": (64.0, 64.0, 64.0), "largest": (128.0, 256.0, 256.0)}
    facts = ("bench", "Bench", "", "0.0.0", "MIT", architecture, (1.0, 1.0, 1.0))
    bundle = Bundle(*facts, names, labels, IntensityRule(), extent)
    return Predictor(bundle.save(folder / "bench", RAREUNet(architecture)), "cpu")


def import_seconds() -> float:
    """Median seconds that `import rareunet` adds to an interpreter's start; fails if it brings torch along."""
    code = (
        "import sys, time; t = time.perf_counter(); import rareunet; s = time.perf_counter() - t;"
        "assert 'torch' not in sys.modules; print(s)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(5)
    ]
    return statistics.median(float(run.stdout) for run in runs)


def main() -> int:
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    checks = {}
    shipped = Predictor(device="cpu")
    print_depths("shipped hippocampus model", shipped.network, (32, 64, 32), 7)
    network, others = print_steps("sample scan", shipped, read_volume(SAMPLE), 7)
    checks[f"sample scan: other steps {others:.3f} s <= 0.2 s"] = others <= 0.2
    with tempfile.TemporaryDirectory() as folder:
        paper = four_channel_predictor(Path(folder))
        speeds = print_depths('preset "paper"', paper.network, (64, 128, 128), 2)
        default = RAREUNet(Architecture.preset("default", 4, 4)).eval()
        lighter = print_depths('preset "default"', default, (64, 128, 128), 2)
        print(
            f'  that is {speeds[0].slabs / lighter[0].slabs:.1f} x faster than the preset "paper" at depth 0'
        )
        scan = Volume(
            np.random.default_rng(0).random((4, 64, 128, 128), dtype=np.float32), np.eye(4), "bench"
        )
        network, others = print_steps('preset "paper", 4 channels, 1 mm', paper, scan, 2)
    checks[f"4 x 64 x 128 x 128: other steps are {others / network:.0%} of the network <= 30 %"] = (
        others <= 0.3 * network
    )
    share = speeds[0].share
    checks[f'preset "paper", depth 0: {share:.0%} of the speed of a matrix product >= 80 %'] = share >= 0.8
    seconds = import_seconds()
    checks[f"import rareunet without torch: {seconds:.3f} s <= 0.3 s"] = seconds <= 0.3
    print()
    for text, passed in checks.items():
        print(f"{'ok  ' if passed else 'FAIL'} {text}")
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
