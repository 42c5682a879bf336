"""What a prediction costs: the network at each entry depth, and everything around it. Prints a table and checks limits.

Times are medians of several runs; compare the ratios, not the seconds of different machines.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from rareunet import Bundle, Predictor, Volume, read_volume
from rareunet.architecture import Architecture
from rareunet.bundle import Label
from rareunet.network import RAREUNet
from rareunet.preprocessing import IntensityRule

SAMPLE = Path(__file__).parents[2] / "Resources" / "SampleData" / "hippocampus_050.nii.gz"


def network_seconds(
    network: RAREUNet, channels: int, shape: tuple[int, int, int], depth: int, runs: int
) -> float:
    """Median seconds of the network alone for a scan of `shape` at depth 0, entering at `depth`."""
    z, y, x = (n // 2**depth for n in shape)
    image = torch.rand(1, channels, z, y, x)
    seconds = []
    with torch.inference_mode():
        for _ in range(runs + 1):
            start = time.perf_counter()
            network.walk(image, (depth, depth, depth))
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def print_depths(
    title: str, network: RAREUNet, channels: int, shape: tuple[int, int, int], runs: int
) -> None:
    print(
        f"\n{title}: network alone, {channels} x {' x '.join(map(str, shape))} (C x Z x Y x X) and its halvings"
    )
    seconds = [network_seconds(network, channels, shape, depth, runs) for depth in range(4)]
    for depth, s in enumerate(seconds):
        print(f"  entry depth {depth}: {s * 1000:8.1f} ms, {seconds[0] / s:5.1f} x faster than depth 0")


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
    facts = ("bench", "Bench", "", "0.0.0", "MIT", asdict(architecture), (1.0, 1.0, 1.0))
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
    print_depths("shipped hippocampus model", shipped.network, 1, (32, 64, 32), 7)
    network, others = print_steps("sample scan", shipped, read_volume(SAMPLE), 7)
    checks[f"sample scan: other steps {others:.3f} s <= 0.2 s"] = others <= 0.2
    with tempfile.TemporaryDirectory() as folder:
        paper = four_channel_predictor(Path(folder))
        print_depths('preset "paper", 4 channels', paper.network, 4, (64, 128, 128), 2)
        scan = Volume(
            np.random.default_rng(0).random((4, 64, 128, 128), dtype=np.float32), np.eye(4), "bench"
        )
        network, others = print_steps('preset "paper", 4 channels, 1 mm', paper, scan, 2)
    checks[f"4 x 64 x 128 x 128: other steps are {others / network:.0%} of the network <= 30 %"] = (
        others <= 0.3 * network
    )
    seconds = import_seconds()
    checks[f"import rareunet without torch: {seconds:.3f} s <= 0.3 s"] = seconds <= 0.3
    print()
    for text, passed in checks.items():
        print(f"{'ok  ' if passed else 'FAIL'} {text}")
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
