"""Small data sets with a fault each, for the tests of the check."""

import numpy as np

from rareunet import Volume
from rareunet.volume_files import write_volume
from rareunet_training import check
from rareunet_training.configuration import ModelConfig
from rareunet_training.data.cases import find_cases

SHAPE = (6, 7, 8)  # Z, Y, X
MODEL = ModelConfig(labels=[{"value": 1, "name": "Ball"}, {"value": 3, "name": "Rim"}])


def scan_of(seed=0, shape=SHAPE, spacing=(1, 1, 1), channels=1):
    """A random scan with spacing (x, y, z), mm."""
    voxels = np.random.default_rng(seed).normal(100, 20, (channels, *shape)).astype(np.float32)
    return Volume(voxels, np.diag([*spacing, 1.0]))


def label_of(scan, *values):
    """A label map with one voxel of each value."""
    label = np.zeros(scan.shape, np.int16)
    label.flat[5 : 5 + len(values)] = values
    return Volume(label, scan.ijk_to_ras)


class DataSet:
    """A folder that is filled case by case."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("images", "labels"):
            (folder / name).mkdir()

    def add(self, name, scan=None, label=None, extension=".nii.gz"):
        scan = scan_of(len(list((self.folder / "images").iterdir()))) if scan is None else scan
        write_volume(self.folder / "images" / f"{name}{extension}", scan)
        write_volume(
            self.folder / "labels" / f"{name}.nii.gz", label_of(scan, 1, 3) if label is None else label
        )

    def check(self, model=MODEL):
        return check.check_cases(find_cases(self.folder), model)


def only(report):
    """The one finding of a report."""
    assert len(report.findings) == 1, report.findings
    return report.findings[0]
