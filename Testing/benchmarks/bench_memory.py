"""Peak memory of the network by route and size, beside the estimate that the memory ladder goes by. Linux only.

    python Testing/benchmarks/bench_memory.py [--large]

Each row is a process of its own. "least" is what the input and output of the largest layer take, in the type of the
features; "rise" is what the walk adds to the process (glibc has given back before what it kept of a small first walk),
"whole process" includes Python, PyTorch, weights and image.
--large adds 4 x 128 x 256 x 256 with the preset "paper" (about 3.4 GB, minutes), and the command `segment` on a file of
400 x 512 x 512 voxels of 0.4 mm, in one piece and in tiles, which must stay within 8 GB.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import SimpleITK
import torch

from rareunet.architecture import Architecture
from rareunet.inference.memory import walk_bytes
from rareunet.network import RAREUNet

# preset, channels, (z, y, x) of the image, axis depths
ROUTES = (
    ("paper", 4, (64, 128, 128), (0, 0, 0)),
    ("paper", 4, (32, 128, 128), (1, 0, 0)),
    ("paper", 4, (64, 96, 96), (1, 1, 1)),
    ("default", 4, (64, 128, 128), (0, 0, 0)),
    ("default", 1, (128, 160, 160), (0, 0, 0)),
    ("default", 1, (96, 128, 128), (1, 1, 1)),
)
LARGE = ("paper", 4, (128, 256, 256), (0, 0, 0))
TOLERANCE = 0.25
LARGE_SCAN = (400, 512, 512)
LARGE_SCAN_MM = 0.4
LARGE_SCAN_LIMIT_GB = 8


def memory(kind: str) -> float:
    """GB of this process: VmRSS now, VmHWM at its peak since it was last reset."""
    status = Path("/proc/self/status").read_text()
    return float(re.search(rf"^{kind}:\s+(\d+) kB", status, re.MULTILINE)[1]) * 1024 / 1e9


def give_back() -> None:
    """Has the C library give back what it keeps of freed memory; only glibc keeps and can give."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def measure(
    architecture: Architecture, shape: tuple, depths: tuple, dtype: str
) -> tuple[float, float, float]:
    """Seconds, rise and whole process in GB of a walk, in a process of its own. Linux only."""
    words = [json.dumps(asdict(architecture)), *shape, *depths, dtype]
    command = [sys.executable, __file__, "--one", *map(str, words)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    seconds, rise, whole = map(float, output.split())
    return seconds, rise, whole


def walk_once(architecture: str, *numbers: str) -> None:
    """What `measure` runs; prints what it returns."""
    *sizes, dtype = numbers
    z, y, x, *depths = map(int, sizes)
    torch.manual_seed(0)
    network = RAREUNet(Architecture(**json.loads(architecture))).eval()
    image = torch.rand(1, network.architecture.in_channels, z, y, x)
    options = {"keep_features": False, "dtype": getattr(torch, dtype)}
    with torch.inference_mode():
        network(image[..., :64, :64, :64], tuple(depths), **options)
        give_back()
        before = memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        start = time.perf_counter()
        network(image, tuple(depths), **options)
        print(time.perf_counter() - start, memory("VmHWM") - before, memory("VmHWM"))


def compare(preset: str, channels: int, shape: tuple, depths: tuple, dtype: str) -> bool:
    """Prints a row; whether the estimate is near enough."""
    architecture, size = Architecture.preset(preset, channels, 4), getattr(torch, dtype).itemsize
    seconds, rise, whole = measure(architecture, shape, depths, dtype)
    estimate = walk_bytes(architecture, shape, depths, size, in_slabs=True) / 1e9
    z, y, x = shape
    least = 3 * architecture.width(min(depths)) * z * y * x * size / 1e9
    within = abs(estimate / rise - 1) <= TOLERANCE
    print(
        f"{'ok  ' if within else 'FAIL'} {preset} {channels} x {z} x {y} x {x}, depths {depths}, {dtype}:"
        f" {seconds:.1f} s, rise {rise:.2f} GB (estimated {estimate:.2f}, {estimate / rise - 1:+.0%}),"
        f" whole process {whole:.2f} GB; least {least:.2f} GB: x {rise / least:.2f}, x {whole / least:.2f}",
        flush=True,
    )
    return within


def segment_large_scan(memory_gb: str) -> bool:
    """Prints what `segment` takes for a file of LARGE_SCAN; whether it succeeds within the limit."""
    with tempfile.TemporaryDirectory() as folder:
        scan, output = Path(folder) / "scan.nii", Path(folder) / "out"
        voxels = np.random.default_rng(0).integers(0, 256, LARGE_SCAN, dtype=np.int16)
        image = SimpleITK.GetImageFromArray(voxels)
        image.SetSpacing([LARGE_SCAN_MM] * 3)
        SimpleITK.WriteImage(image, str(scan))
        words = [
            "segment",
            str(scan),
            "--output",
            str(output),
            "--force",
            "--device",
            "cpu",
            "--memory",
            memory_gb,
        ]
        start = time.perf_counter()
        command = [sys.executable, "-m", "rareunet", *words]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            printed = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds, peak = time.perf_counter() - start, usage.ru_maxrss * 1024 / 1e9
        good = process.returncode == 0 and peak <= LARGE_SCAN_LIMIT_GB and any(output.iterdir())
    tiles = re.search(r"in (\d+) overlapping tiles of ([\dx ]+) voxels", printed)
    how = f"{tiles[1]} tiles of {tiles[2]}" if tiles else "one piece"
    print(
        f"{'ok  ' if good else 'FAIL'} segment, {' x '.join(map(str, LARGE_SCAN))} voxels of {LARGE_SCAN_MM} mm,"
        f" --memory {memory_gb}: {how}, {seconds:.0f} s, whole process {peak:.2f} GB (limit {LARGE_SCAN_LIMIT_GB})",
        flush=True,
    )
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not sys.platform.startswith("linux"):
        print("peak memory is read from /proc, which this system lacks: nothing measured.")
        return 0
    if arguments.one:
        walk_once(*arguments.one)
        return 0
    rows = (*ROUTES, LARGE) if arguments.large else ROUTES
    good = [compare(*row, dtype) for row in rows for dtype in ("float32", "bfloat16")]
    if arguments.large:
        good += [segment_large_scan(memory_gb) for memory_gb in ("4", "0.5")]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
