"""What a data set of 10, 100 and 1,000 cases costs before the first training step: processor seconds (other programs'
load does not count in them) and memory of `check`, of `fit` until its first step, and of the same with the check's
result at hand. Prints a table and checks that the cost of a case stays flat; compare the ratios, not the seconds of
different machines."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "Resources" / "SampleData"
NAMES = ("hippocampus_050", "hippocampus_230")
CASES = (10, 100, 1000)
STEPS = ("check", "fit", "fit, checked before")
LARGEST_GROWTH = 2.0  # of the seconds a case costs, from 100 to 1,000 cases
LARGEST_MB_PER_CASE = 0.05  # beyond the first 10 cases; each of them has 0.6 MB of voxels
SETTINGS = (
    "model.channels=['T1']",
    "model.labels=[{'value': 1, 'name': 'A', 'color': [1, 2, 3]}, {'value': 2, 'name': 'B', 'color': [4, 5, 6]}]",
    "model.network={'filters': 4}",
    "fit.device=cpu",
    "data.cache_gb=0.1",
)


def make_cases(folder: Path, number: int) -> None:
    """Adds cases to a folder until it has so many: the sample scans, each with other noise."""
    from rareunet import Volume, read_volume
    from rareunet.volume_files import write_label_map, write_volume

    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(exist_ok=True)
    pairs = [
        (read_volume(SAMPLES / f"{n}.nii.gz"), read_volume(SAMPLES / f"{n}-label.nii.gz")) for n in NAMES
    ]
    for index in range(len(list((folder / "labelsTr").iterdir())), number):
        scan, label = pairs[index % len(pairs)]
        noise = np.random.default_rng(index).integers(0, 20, scan.voxels.shape)
        noisy = Volume((scan.voxels + noise).astype(np.float32), scan.ijk_to_ras)
        write_volume(folder / "imagesTr" / f"case_{index:04d}.nii.gz", noisy)
        write_label_map(folder / "labelsTr" / f"case_{index:04d}.nii.gz", label.voxels[0], scan)


def measure(step: str, folder: str, output: str) -> None:
    """Runs one step in this process; prints its seconds and the memory it took beyond the imports, MB, as JSON."""
    import resource

    import torch

    from rareunet_training.configuration import read_config
    from rareunet_training.training.fitting import fit
    from rareunet_training.training.loading import load_data  # noqa: F401  (imported now, not in the time that is measured)
    from rareunet_training.training.trainer import TrainingStopped

    torch.set_num_threads(1)
    config = read_config(None, [f"data.folder={folder}", *SETTINGS])
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    if step == "check":
        check(folder, config.model, Path(output))
        seconds = time.process_time() - start
    else:
        ends: list[float] = []
        try:
            fit(
                config,
                Path(output),
                step != "fit",
                should_stop=lambda: ends.append(time.process_time()) is None,
            )
        except TrainingStopped:
            seconds = ends[0] - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"seconds": seconds, "mb": peak / (2**20 if sys.platform == "darwin" else 2**10)}))


def check(folder: str, model: object, output: Path) -> None:
    from rareunet_training.check import check_cases, write_report
    from rareunet_training.data.cases import find_cases

    report = check_cases(find_cases(folder), model)  # type: ignore[arg-type]
    for name in ("check.json", "check.html"):
        write_report(report, output / name)


def run(step: str, folder: Path, output: Path) -> dict[str, float]:
    """Measures a step in a process of its own."""
    command = [sys.executable, __file__, step, str(folder), str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{step} failed:\n{done.stderr}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> int:
    costs: dict[tuple[str, int], dict[str, float]] = {}
    print(f"{'cases':>6}  {'step':<20}{'seconds':>9}{'ms per case':>13}{'peak MB beyond imports':>24}")
    with tempfile.TemporaryDirectory() as temporary:
        for number in CASES:
            folder, output = Path(temporary) / "data", Path(temporary) / f"run_{number}"
            folder.mkdir(exist_ok=True)
            make_cases(folder, number)
            for step in STEPS:
                cost = costs[step, number] = run(
                    step, folder, Path(f"{output}_check") if step == "check" else output
                )
                per_case = 1000 * cost["seconds"] / number
                print(
                    f"{number:>6}  {step:<20}{cost['seconds']:>9.2f}{per_case:>13.1f}{cost['mb']:>24.0f}",
                    flush=True,
                )
    return judge(lambda step, number, what: costs[step, number][what])


def judge(cost: Callable[[str, int, str], float]) -> int:
    """Prints whether the limits hold; the exit code."""
    few, middle, many = CASES
    code = 0
    print()
    for step in STEPS:
        growth = (cost(step, many, "seconds") / many) / (cost(step, middle, "seconds") / middle)
        memory = (cost(step, many, "mb") - cost(step, few, "mb")) / (many - few)
        passed = growth <= LARGEST_GROWTH and memory <= LARGEST_MB_PER_CASE
        print(
            f"{'ok  ' if passed else 'FAIL'} {step}: a case costs {growth:.2f} of the seconds at {many} cases that it"
            f" costs at {middle} (limit {LARGEST_GROWTH}), and {memory:.3f} MB (limit {LARGEST_MB_PER_CASE})"
        )
        code |= not passed
    return code


if __name__ == "__main__":
    sys.exit(main() if len(sys.argv) == 1 else measure(*sys.argv[1:]))
