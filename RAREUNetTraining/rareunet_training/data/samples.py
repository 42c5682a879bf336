"""Cases in memory: what a case becomes for training and scoring, and a cache of them that stays within a budget."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from torch.utils.data import get_worker_info

from rareunet.geometry import Reorientation, Shape, Triple, canonical_spacing
from rareunet.intensity import IntensityRule, normalise
from rareunet.wording import some
from rareunet_training.data.cases import MOST_NAMED, Case

FOREGROUND_VOXELS = 1000  # per structure: enough to place crops by, few enough to cost nothing


@dataclass(frozen=True)
class Sample:
    """A case in memory: image float32 (C, Z, Y, X) in [0, 1], classes uint8 (Z, Y, X), axes S, A, R.

    `ijk_to_ras` is the world matrix (4, 4) of this grid in the patient, `foreground` holds for each structure up to
    FOREGROUND_VOXELS of its voxels, int (N, 3).
    """

    name: str
    image: np.ndarray
    label: np.ndarray
    ijk_to_ras: np.ndarray
    foreground: tuple[np.ndarray, ...] = ()

    @property
    def spacing_mm(self) -> Triple:
        """Distance between voxel centres along (z, y, x), mm."""
        return canonical_spacing(self.ijk_to_ras)

    @property
    def bytes(self) -> int:
        return self.image.nbytes + self.label.nbytes + sum(f.nbytes for f in self.foreground)


@dataclass(frozen=True)
class SampleFacts:
    """What is known of a case before its voxels are read: shape (Z, Y, X) and spacing, axes S, A, R, and by how many
    degrees these are turned against the patient's."""

    name: str
    shape: Shape
    spacing_mm: Triple
    channels: int = 1
    tilt_degrees: float = 0.0

    @property
    def bytes(self) -> int:
        """Memory of the sample: float32 per channel and one byte of class."""
        return int(np.prod(self.shape)) * (4 * self.channels + 1)


def load_sample(case: Case, label_values: Sequence[int], rule: IntensityRule) -> Sample:
    """Reads a case into canonical axes; labels become class indices 1, 2, ... in the order of label_values.

    Raises:
        ValueError: unreadable, the label map lies on another grid, or a value is not in label_values.
    """
    scan, label = case.read()
    reorientation = Reorientation.to_ras(scan.ijk_to_ras)
    image = normalise(reorientation.apply(scan.voxels), rule)
    values = reorientation.apply(label.voxels)[0]
    unknown = sorted(set(np.unique(values).tolist()) - {0, *label_values})
    if unknown:
        raise ValueError(
            f"{case.name}: label values [{some([*map(str, unknown)])}] are not in the label set"
            f" [{some([*map(str, label_values)], MOST_NAMED)}]: correct the label map or add them to model.labels."
        )
    classes = class_indices(values, label_values)
    foreground = tuple(_some_voxels(classes == index) for index in range(1, len(label_values) + 1))
    matrix = reorientation.matrix(scan.ijk_to_ras, scan.shape)
    return Sample(case.name, image, classes, matrix, foreground)


def class_indices(label_map: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """Label values -> class indices 1, 2, ... in the order of `values`, uint8; other values become 0."""
    classes = np.zeros(label_map.shape, dtype=np.uint8)
    for index, value in enumerate(values, start=1):
        classes[label_map == value] = index
    return classes


class KeptSamples:
    """Samples in memory, by name, within one budget for all caches of a data set; the least recently used go first."""

    def __init__(self, budget_bytes: float) -> None:
        self._budget = budget_bytes
        self._samples: OrderedDict[str, Sample] = OrderedDict()

    @property
    def bytes(self) -> int:
        return sum(sample.bytes for sample in self._samples.values())

    def has_room_for(self, bytes_needed: float) -> bool:
        return self.bytes + bytes_needed <= self._budget

    def get(self, name: str, load: Callable[[str], Sample]) -> Sample:
        if name not in self._samples:
            sample = load(name)
            # A worker meets each case once in an epoch and ends with it: keeping it would cost memory and save nothing.
            if sample.bytes > self._budget or get_worker_info() is not None:
                return sample
            while not self.has_room_for(sample.bytes):
                self._samples.popitem(last=False)
            self._samples[name] = sample
        self._samples.move_to_end(name)
        return self._samples[name]


class SampleCache(Sequence[Sample]):
    """Samples that are read when first asked for and kept while they fit.

    Args:
        facts: of each case, in order.
        load: reads the sample of a name.
        kept: the samples in memory, shared with the other caches of the data set.
    """

    def __init__(
        self, facts: Sequence[SampleFacts], load: Callable[[str], Sample], kept: KeptSamples
    ) -> None:
        self.facts, self.kept, self._load = tuple(facts), kept, load

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> SampleCache:
        """Samples that are in memory already."""
        by_name = {sample.name: sample for sample in samples}
        facts = [SampleFacts(s.name, _shape(s.label), s.spacing_mm, len(s.image)) for s in samples]
        return cls(facts, by_name.__getitem__, KeptSamples(0))

    def __len__(self) -> int:
        return len(self.facts)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> SampleCache: ...
    def __getitem__(self, index: int | slice) -> Sample | SampleCache:
        if isinstance(index, slice):
            return SampleCache(self.facts[index], self._load, self.kept)
        return self.kept.get(self.facts[index].name, self._load)

    def fill(self) -> None:
        """Reads what fits. Workers begin each epoch with what is in memory then, and what they read goes with them."""
        for index, facts in enumerate(self.facts):
            if self.kept.has_room_for(facts.bytes):
                self[index]


def _some_voxels(mask: np.ndarray) -> np.ndarray:
    """Up to FOREGROUND_VOXELS voxels (N, 3) of a mask, evenly spread over it."""
    voxels = np.argwhere(mask)
    step = max(1, -(-len(voxels) // FOREGROUND_VOXELS))
    return voxels[::step].astype(np.int32)


def _shape(array: np.ndarray) -> Shape:
    z, y, x = array.shape
    return z, y, x
