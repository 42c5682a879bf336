"""scores.json: everything an evaluation found, and of which model on which data, so that it can be compared later."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rareunet.geometry import Shape
from rareunet.whole_files import write_whole
from rareunet_training.data.samples import Sample
from rareunet_training.evaluation.conditions import PAPER_SHAPE
from rareunet_training.evaluation.metrics import Agreement
from rareunet_training.evaluation.scores import Score

FORMAT = 1


@dataclass(frozen=True)
class ScoreSet:
    """An evaluation.

    Attributes:
        name: what tables call the model.
        model: its name, version, SHA-256 and number ("parameters") of the weights, and how scans were presented to it;
            empty for another tool.
        protocol: which conditions.
        shape: (Z, Y, X), axes S, A, R, of the crop at the paper's scales, in voxels of the scan's grid.
        data: where the cases come from, for a person.
        labels: names of the structures.
        references: a hash of each case's label map, by name; two sets are paired only where these agree.
        scores: of each case and condition.
    """

    name: str
    model: Mapping[str, str | int]
    protocol: str
    shape: Shape
    data: str
    labels: tuple[str, ...]
    references: dict[str, str]
    scores: tuple[Score, ...]


def reference_hash(sample: Sample) -> str:
    """Hash of a case's label map and spacing."""
    digest = hashlib.blake2b(np.ascontiguousarray(sample.label).tobytes(), digest_size=8)
    digest.update(repr((sample.label.shape, [round(s, 3) for s in sample.spacing_mm])).encode())
    return digest.hexdigest()


def write_scores(scores: ScoreSet, path: Path) -> None:
    """Writes scores.json: NaN as null, an infinite volume error as "inf"."""
    text = json.dumps(
        {"format": FORMAT, **plain(asdict(scores))}, indent=1, ensure_ascii=False, allow_nan=False
    )
    write_whole(path, text + "\n")


def read_scores(path: Path) -> ScoreSet:
    """Reads scores.json; one that does not tell its crop was made on the paper's, one that does not tell of memory
    had enough, and one without certainties has none.

    Raises:
        ValueError: unreadable, or not what write_scores writes.
    """
    advice = f"{path} is not a scores.json of the evaluate command: run evaluate again with --output."
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format") != FORMAT:
            raise ValueError(advice)
        scores = tuple(_score(row) for row in content.pop("scores"))
        labels = tuple(content.pop("labels"))
        z, y, x = map(int, content.pop("shape", PAPER_SHAPE))
        return ScoreSet(**content, shape=(z, y, x), labels=labels, scores=scores)
    except OSError as error:
        raise ValueError(f"{path} can't be read ({error.strerror}).") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(advice) from None


def _score(row: Mapping[str, Any]) -> Score:
    z, y, x = row["spacing_mm"]
    return Score(
        case=str(row["case"]),
        condition=str(row["condition"]),
        spacing_mm=(float(z), float(y), float(x)),
        dice=tuple(map(_number, row["dice"])),
        seconds=_number(row["seconds"]),
        on_scan=tuple(map(_agreement, row["on_scan"])),
        in_world=tuple(map(_agreement, row["in_world"])),
        stepped_down=bool(row.get("stepped_down", False)),
        certainty=_number(row.get("certainty")),
    )


def _agreement(row: Mapping[str, Any]) -> Agreement:
    return Agreement(**{name: _number(value) for name, value in row.items()})


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def plain(value: Any) -> Any:
    """JSON has no NaN and no infinity; nine decimals are enough."""
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 9) if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value
