"""What a run asks of the predictor, and the message that carries it to the worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rareunet.geometry import RegionOfInterest
from rareunet.volume import Volume
from rareunet.worker_protocol import Failure, Segment

VOXELS_FILE, LABEL_MAP_FILE = "voxels.npy", "label_map.npy"

OnProgress = Callable[[str, float], None]
OnAnswer = Callable[[Any, Any], None]
OnFailure = Callable[[Failure], None]


@dataclass(frozen=True)
class Request:
    """What Predictor and its predict() take; see there."""

    volume: Volume
    region: RegionOfInterest | None
    model: str
    device: str
    entry_depth: int | None
    force: bool
    memory_gb: float | None = None

    def message(self, job: int, model: str) -> Segment:
        """The message to the worker; the scan's voxels go as VOXELS_FILE.

        Args:
            job: number that the answers repeat.
            model: the bundle's folder.
        """
        region = self.region
        axes = None if region is None or region.axes is None else _rows(region.axes)
        return Segment(
            job=job,
            voxels_file=VOXELS_FILE,
            label_map_file=LABEL_MAP_FILE,
            ijk_to_ras=_rows(self.volume.ijk_to_ras),
            notes=self.volume.notes,
            model=model,
            device=self.device,
            center_ras=None if region is None else region.center_ras,
            size_mm=None if region is None else region.size_mm,
            region_axes=axes,
            entry_depth=self.entry_depth,
            force=self.force,
            memory_gb=self.memory_gb,
        )


@dataclass(frozen=True)
class Job:
    """A request on its way, and who is to be told of it; `shape` is the scan's (Z, Y, X)."""

    message: Segment
    shape: tuple[int, int, int]
    on_progress: OnProgress
    on_answer: OnAnswer
    on_failure: OnFailure


def _rows(matrix: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(value) for value in row) for row in matrix)
