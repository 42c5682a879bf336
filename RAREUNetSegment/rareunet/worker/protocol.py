"""What the panel and the worker process say to each other: one JSON object a line, one class a message.

    panel -> worker   Segment
    worker -> panel   Hello, then for each Segment any number of Progress and one Segmented or Failure

Voxels never go through the pipe: they lie as .npy files in the private folder that both know, named in the messages.
A change of a field, of a Route's or a Label's too, is a change of PROTOCOL_VERSION.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from rareunet.bundle import Label
from rareunet.geometry import RegionOfInterest
from rareunet.prediction import Prediction
from rareunet.routing import Route

PROTOCOL_VERSION = 6

Matrix = tuple[tuple[float, ...], ...]


class ProtocolError(ValueError):
    """A line is no message of this protocol."""


@dataclass(frozen=True)
class Segment:
    """Segment a scan.

    Attributes:
        job: number that the answers repeat.
        voxels_files: the scan's channels, each (1, Z, Y, X), files of the private folder.
        label_map_file: where to write the label map (Z, Y, X) on the first channel's grid, in the same folder.
        matrices: (4, 4) world matrix of each channel, i, j, k to RAS mm.
        model: a bundle's folder.
        device: as Predictor takes it.
        center_ras, size_mm, region_axes: the region of interest; None for the whole scan.
        entry_depth: None chooses by spacing.
        force: segment even where the field of view is too large.
        memory_gb, structures: as predict() takes them.
    """

    job: int
    voxels_files: tuple[str, ...]
    label_map_file: str
    matrices: tuple[Matrix, ...]
    model: str
    device: str
    center_ras: tuple[float, float, float] | None
    size_mm: tuple[float, float, float] | None
    region_axes: Matrix | None
    entry_depth: int | None
    force: bool
    memory_gb: float | None
    structures: tuple[str, ...] | None

    @property
    def region(self) -> RegionOfInterest | None:
        if self.center_ras is None or self.size_mm is None:
            return None
        axes = None if self.region_axes is None else np.array(self.region_axes)
        return RegionOfInterest(self.center_ras, self.size_mm, axes)


@dataclass(frozen=True)
class Hello:
    """The worker runs. `version` is the package's; `pid` its process number."""

    protocol: int
    version: str
    pid: int


@dataclass(frozen=True)
class Progress:
    """How far a job is; steps and fractions are those of Predictor.predict, preceded by the step "load"."""

    job: int
    step: str
    fraction: float


@dataclass(frozen=True)
class Segmented:
    """A job is done; the fields are those of Prediction that the panel shows, with the label map in a file."""

    job: int
    label_map_file: str
    route: dict[str, Any]
    device: str
    seconds: dict[str, float]
    volumes_ml: dict[str, float]
    certainty: float | None
    warnings: tuple[str, ...]
    model: dict[str, str]
    labels: tuple[dict[str, Any], ...]

    @classmethod
    def of(cls, job: int, label_map_file: str, prediction: Prediction) -> Segmented:
        return cls(
            job,
            label_map_file,
            asdict(prediction.route),
            prediction.device,
            prediction.seconds,
            prediction.volumes_ml,
            prediction.certainty,
            tuple(prediction.warnings),
            prediction.model,
            tuple(asdict(label) for label in prediction.labels),
        )

    def to_prediction(self, label_map: np.ndarray) -> Prediction:
        """The Prediction, without probabilities.

        Args:
            label_map: (Z, Y, X), what lies in the file.
        """
        route: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in self.route.items()}
        labels = (Label(**{**label, "color": tuple(label["color"])}) for label in self.labels)
        return Prediction(
            label_map,
            Route(**route),
            self.device,
            self.seconds,
            self.volumes_ml,
            list(self.warnings),
            self.model,
            tuple(labels),
            self.certainty,
        )


@dataclass(frozen=True)
class Failure:
    """A job could not be done.

    Attributes:
        job: its number.
        refused: the request was at fault (scan, region, model, device), the worker is as good as before.
        cause: what happened, a sentence.
        next_step: what the user can do, a sentence; '' where the cause says it.
        details: traceback and output, for a report.
    """

    job: int
    refused: bool
    cause: str
    next_step: str = ""
    details: str = ""


Message = Segment | Hello | Progress | Segmented | Failure
MESSAGES: dict[str, type[Message]] = {
    kind.__name__: kind for kind in (Segment, Hello, Progress, Segmented, Failure)
}
PLAIN_TYPES = {"int": (int,), "str": (str,), "float": (int, float), "bool": (bool,), "dict": (dict,)}


def encode(message: Message) -> bytes:
    """One line, newline included."""
    content = {"message": type(message).__name__, **asdict(message)}
    return json.dumps(content, ensure_ascii=True).encode("ascii") + b"\n"


def decode(line: bytes) -> Message:
    """The message of a line.

    Raises:
        ProtocolError: not JSON, no known message, a field too many, missing or of the wrong type.
    """
    try:
        content = json.loads(line)
        kind = MESSAGES[content.pop("message")]
        message = kind(**{name: _frozen(value) for name, value in content.items()})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ProtocolError(f"not a message: {line[:200]!r} ({type(error).__name__})") from None
    for attribute in fields(message):
        kind_of, *others = str(attribute.type).split(" | ")
        allowed = PLAIN_TYPES.get(kind_of.partition("[")[0])
        value = getattr(message, attribute.name)
        if value is None and others == ["None"]:
            continue
        if allowed and not (isinstance(value, allowed) and isinstance(value, bool) == (allowed == (bool,))):
            raise ProtocolError(f"{type(message).__name__}.{attribute.name} is {value!r}: {attribute.type}")
    return message


def _frozen(value: Any) -> Any:
    """Lists as tuples, so that a message that came is equal to the one that was sent."""
    return tuple(_frozen(part) for part in value) if isinstance(value, list) else value
