"""What a training step costs: samples per second, the share spent outside the network, and the peak of memory beside
its estimate. Prints a table and checks limits; compare the ratios, not the seconds of different machines."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
STEPS, STEPS_OF_LARGE_PATCHES = 24, 5
LARGEST_SHARE_OUTSIDE = 0.15
LARGEST_ERROR_OF_ESTIMATE = 0.25
RUNS = {
    "hippocampus (1 x 32 x 64 x 32, default network)": ["fit.patch=[32, 64, 32]"],
    "hippocampus, bfloat16": ["fit.patch=[32, 64, 32]", "fit.precision=bfloat16"],
    "larger patch (1 x 64 x 96 x 64)": ["fit.patch=[64, 96, 64]"],
}


def measure(*overrides: str) -> None:
    """Trains some steps on the test scans in this process and prints one line."""
    import resource

    import torch

    from rareunet_training.configuration import read_config
    from rareunet_training.data.dataset import StepDataset
    from rareunet_training.model import describe_bundle
    from rareunet_training.training.loading import load_data
    from rareunet_training.training.memory import BASE_BYTES, GB, estimate_memory
    from rareunet_training.training.trainer import Trainer

    words = [f"data.folder={ROOT / 'Testing' / 'data' / 'hippocampus'}", "data.exclude=[]", "data.folds=''"]
    config = read_config(
        ROOT / "RAREUNetTraining" / "Scripts" / "hippocampus.toml",
        [
            *words,
            "data.fold=-1",
            "fit.device=cpu",
            "fit.precision=float32",
            f"fit.epochs={STEPS}",
            *overrides,
        ],
    )
    training, validation = load_data(config)
    bundle = describe_bundle(config, training.facts)
    estimate = estimate_memory(config, bundle, training.facts, torch.device("cpu"))
    count = STEPS if max(config.fit.patch) <= 64 else STEPS_OF_LARGE_PATCHES
    trainer = Trainer(config, bundle, training, validation, Path("nowhere"))
    steps = StepDataset(training, config.fit, config.augmentation, trainer.settings, 0)
    for index in range(2):  # files are read and the backend is warm before the clock starts
        trainer._optimise(steps[index], 1e-4)
    whole = outside = 0.0
    for index in range(count):
        start = time.perf_counter()
        step = steps[index % len(steps)]
        outside += time.perf_counter() - start
        trainer._optimise(step, 1e-4)
        whole += time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    expected = estimate.on_device
    speed = count * config.fit.batch_size / whole
    print(
        f"{speed:6.2f} samples/s  {outside / whole:5.1%} outside the network  peak {peak / GB:.2f} GB, estimated"
        f" {expected / GB:.2f} GB (of which Python and libraries {BASE_BYTES / GB:.1f})"
    )
    if outside / whole > LARGEST_SHARE_OUTSIDE:
        sys.exit(f"more than {LARGEST_SHARE_OUTSIDE:.0%} of the time is spent outside the network")
    if abs(expected - peak) > LARGEST_ERROR_OF_ESTIMATE * peak:
        sys.exit(f"the estimate of memory is off by more than {LARGEST_ERROR_OF_ESTIMATE:.0%}")


def main() -> int:
    """Each line in a process of its own, because a peak of memory never falls."""
    if len(sys.argv) > 1:
        measure(*sys.argv[1:])
        return 0
    failed = 0
    for name, overrides in RUNS.items():
        print(f"{name:<50}", end="", flush=True)
        failed |= subprocess.run([sys.executable, __file__, *overrides]).returncode
    return int(failed != 0)


if __name__ == "__main__":
    sys.exit(main())
