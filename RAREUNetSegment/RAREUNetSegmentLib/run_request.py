"""What a run asks of the predictor, and the message that carries it to the worker."""

from __future__ import annotations

import contextlib
import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rareunet.geometry import RegionOfInterest, box_of_region
from rareunet.prediction import Prediction
from rareunet.volume import Volume
from rareunet.worker.protocol import Failure, Segment

LABEL_MAP_FILE = "label_map.npy"

OnProgress = Callable[[str, float], None]
OnAnswer = Callable[[Prediction], None]
OnFailure = Callable[[Failure], None]


@dataclass(frozen=True)
class Request:
    """What Predictor and its predict() take, see there, but for the scan.

    `channels`: its channels, each (1, Z, Y, X) on a grid of its own; the answer is on the first one's.
    """

    channels: tuple[Volume, ...]
    region: RegionOfInterest | None
    model: str
    device: str
    entry_depth: int | None
    force: bool
    memory_gb: float | None = None
    structures: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name, value, kinds, accepted in (
            ("model", self.model, str, "the name of a model or its folder, as a text"),
            ("device", self.device, str, "a text such as 'auto', 'cpu' or 'cuda'"),
            ("force", self.force, bool | np.bool_, "True or False"),
            ("memoryGb", self.memory_gb, numbers.Real | None, "a number of GB, 0 for most of what is free,"),
        ):
            if not isinstance(value, kinds):
                raise ValueError(f"{name} is {value!r}: {accepted} is needed.")

    @property
    def voxels(self) -> int:
        """How many of the first channel's voxels are to be segmented; all, where the region can't be used."""
        scan = self.channels[0]
        if self.region is not None:
            with contextlib.suppress(ValueError):
                box = box_of_region(self.region, scan.shape, scan.ijk_to_ras)
                return math.prod(part.stop - part.start for part in box)
        return math.prod(scan.shape)

    def message(self, job: int, model: str) -> Segment:
        """The message to the worker; the voxels of each channel go as one of its voxels_files.

        Args:
            job: number that the answers repeat.
            model: the bundle's folder.
        """
        region = self.region
        axes = None if region is None or region.axes is None else _rows(region.axes)
        return Segment(
            job=job,
            voxels_files=tuple(f"channel_{number}.npy" for number in range(len(self.channels))),
            label_map_file=LABEL_MAP_FILE,
            matrices=tuple(_rows(channel.ijk_to_ras) for channel in self.channels),
            model=model,
            device=self.device,
            center_ras=None if region is None else region.center_ras,
            size_mm=None if region is None else region.size_mm,
            region_axes=axes,
            entry_depth=self.entry_depth,
            force=bool(self.force),
            memory_gb=None if self.memory_gb is None else float(self.memory_gb),
            structures=self.structures,
        )


@dataclass(frozen=True)
class Job:
    """A request on its way, and who is to be told of it; `warm`: the worker had said hello before."""

    request: Request
    message: Segment
    warm: bool
    on_progress: OnProgress
    on_answer: OnAnswer
    on_failure: OnFailure


def _rows(matrix: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(value) for value in row) for row in matrix)
