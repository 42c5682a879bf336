"""What is known of a case: what its files hold, and what that means to the model that is to be trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from rareunet.bundle_format import LARGEST_LABEL
from rareunet.geometry import Shape, Triple

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Finding:
    """Something a user should know; an error stops the training, a warning does not.

    Attributes:
        severity: ERROR or WARNING.
        case: name of the case, '' for the whole data set.
        message: what was found, what is accepted and what to do.
    """

    severity: str
    case: str
    message: str


@dataclass(frozen=True)
class FileStamp:
    """A file as it was when it was read; mtime_ns -1 for what may change without showing it (folders, raw data)."""

    path: str
    bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class Intensities:
    """One channel: range and median of its finite voxels (None if there are none), number of the others."""

    smallest: float | None
    median: float | None
    largest: float | None
    not_finite: int


@dataclass(frozen=True)
class LabelVolume:
    """How much of a label value a label map holds, ml, and what its header calls it, '' where it doesn't."""

    value: int
    ml: float
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class CaseReading:
    """What the files of a case hold, whatever the model. Triples are along the canonical axes (S, A, R).

    Attributes:
        shape, spacing_mm, orientation: of the scan; orientation is where its stored axes i, j, k run, such as "RAS".
        tilt_degrees: by which the scan's axes are turned against the patient's.
        intensities: one for each channel.
        label_volumes: the label values that occur, without the background.
        voxel_hash: of the scan's size and voxels in canonical axes.
        errors, warnings: what reading found.
        Where the scan could not be read, what is told of it is None, 0, '' or empty; the label map's can be there.
    """

    name: str
    files: tuple[FileStamp, ...] = ()
    shape: Shape | None = None
    channels: int = 0
    spacing_mm: Triple | None = None
    orientation: str = ""
    tilt_degrees: float = 0.0
    intensities: tuple[Intensities, ...] = ()
    label_volumes: tuple[LabelVolume, ...] = ()
    voxel_hash: str = ""
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CaseFacts(CaseReading):
    """A reading and what it means to a model.

    Attributes:
        axis_depths: depth (S, A, R) at which each axis enters; None if the scan could not be read.
        volumes_ml: volume of each structure by name.
        findings: everything found, what reading found included.
    """

    axis_depths: Shape | None = None
    volumes_ml: dict[str, float] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


def usual_channels(cases: Iterable[CaseReading]) -> int:
    """The number of channels that most of the cases have which could be read; 0 without any."""
    counts = Counter(case.channels for case in cases if case.channels)
    return counts.most_common(1)[0][0] if counts else 0


def label_values(cases: Iterable[CaseReading]) -> list[int]:
    """The values of the label maps that a structure can have, in order."""
    found = {volume.value for case in cases for volume in case.label_volumes}
    return sorted(value for value in found if 0 < value <= LARGEST_LABEL)
