"""Small data sets of balls in noise, that a tiny network learns in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from turns import straight_world

from rareunet import Volume
from rareunet.volume_files import write_label_map, write_volume
from rareunet_training.configuration import TrainingConfig, read_config
from rareunet_training.data.samples import Sample, SampleCache
from rareunet_training.model import describe_bundle
from rareunet_training.training.distributed import Processes
from rareunet_training.training.trainer import Trainer

TOML = """
[data]
folder = "data"
fold = 0
validation_cases = 1

[model]
name = "balls"
title = "Balls"
channels = ["T1"]
network = {filters = 4, stages = 3, gateways = 2, max_filters = 16}

[[model.labels]]
value = 3
name = "Ball"
color = [200, 30, 30]

[fit]
patch = [16, 16, 16]
epochs = 2
validate_every = 2
device = "cpu"
"""


def ball(seed: int, size: int = 18) -> tuple[np.ndarray, np.ndarray]:
    """A scan (Z, Y, X) and a mask of the ball in it."""
    random = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*[np.arange(size)] * 3, indexing="ij")
    centre = random.uniform(size / 3, size * 0.6, 3)
    inside = (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 < 20
    return (100 * inside + random.normal(0, 10, inside.shape)).astype(np.float32), inside


def write_data_set(folder: Path, cases: int = 5) -> Path:
    """folder/data with imagesTr and labelsTr, and folder/balls.toml, which is returned."""
    for name in ("imagesTr", "labelsTr"):
        (folder / "data" / name).mkdir(parents=True)
    for case in range(cases):
        image, inside = ball(case)
        scan = Volume(image, np.eye(4))
        write_volume(folder / "data" / "imagesTr" / f"ball_{case:03d}.nii.gz", scan)
        label = (inside * 3).astype(np.uint8)
        write_label_map(folder / "data" / "labelsTr" / f"ball_{case:03d}.nii.gz", label, scan)
    path = folder / "balls.toml"
    path.write_text(TOML)
    return path


def samples(cases: int = 5, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> SampleCache:
    """The same balls in memory."""
    made = []
    for case in range(cases):
        image, inside = ball(case)
        image = (image - image.min()) / np.ptp(image)
        voxels = (np.argwhere(inside),)
        world = straight_world(spacing)
        made.append(Sample(f"ball_{case:03d}", image[None], inside.astype(np.uint8), world, voxels))
    return SampleCache.of(made)


def config_of_balls(*overrides: str) -> TrainingConfig:
    """The configuration of TOML above, without a folder."""
    words = ['model.labels=[{"value": 3, "name": "Ball", "color": [200, 30, 30]}]', 'model.channels=["T1"]']
    network = 'model.network={"filters": 4, "stages": 3, "gateways": 2, "max_filters": 16}'
    fit = ["fit.patch=[16, 16, 16]", "fit.epochs=2", "fit.validate_every=2", "fit.device=cpu"]
    return read_config(None, ["model.name=balls", *words, network, *fit, *overrides])


def make_trainer(
    folder: Path, *overrides: str, training: SampleCache | None = None, validation: SampleCache | None = None,
    processes: Processes | None = None, **callbacks: object,
) -> Trainer:  # fmt: skip
    """A trainer on the balls in memory; without validation unless some is given."""
    config = config_of_balls(*overrides)
    training = training or samples()
    validation = validation or training[:0]
    bundle = describe_bundle(config, training.facts)
    return Trainer(config, bundle, training, validation, folder, processes, **callbacks)  # type: ignore[arg-type]
