"""Report of a batch: one record per scan, as JSON or CSV, written whole or not at all."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rareunet.geometry import canonical_spacing
from rareunet.routing import AXIS_NAMES
from rareunet.whole_files import check_report_path, write_whole

if TYPE_CHECKING:
    from rareunet.prediction import Prediction
    from rareunet.volume import Volume

FORMATS = (".json", ".csv")
DONE, FAILED, NOT_RUN = "done", "failed", "not run"


@dataclass
class CaseReport:
    """What happened to one scan. The axes x, y, z run to R, A, S, however the scan is stored.

    Attributes:
        case: name of the scan.
        input: file or files it came from.
        output: label map that was written, '' if none was.
        status: DONE, FAILED or NOT_RUN.
        reason: why it is not done, '' if it is.
        roi: the region of interest as --roi takes it, '' for the whole scan.
        structures: those that were asked for; none stands for all.
        entry_depth: the depth that was asked for, or "auto".
        route: the way through the network, for a person.
        resampled_axes: names of the axes that were resampled.
        certainty: how sure the model is, 0 to 1; None where it found nothing.
    """

    case: str
    input: list[str]
    output: str = ""
    status: str = NOT_RUN
    reason: str = ""
    roi: str = ""
    structures: list[str] = field(default_factory=list)
    entry_depth: str = "auto"
    spacing_mm: dict[str, float] = field(default_factory=dict)
    route: str = ""
    axis_depths: dict[str, int] = field(default_factory=dict)
    resampled_axes: list[str] = field(default_factory=list)
    device: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    volumes_ml: dict[str, float] = field(default_factory=dict)
    certainty: float | None = None
    warnings: list[str] = field(default_factory=list)
    model: dict[str, str] = field(default_factory=dict)

    def fill(self, prediction: Prediction, volume: Volume) -> None:
        """Takes over the scan's spacing and what the prediction says about itself."""
        route = prediction.route  # of the straight grid, where the scan was turned
        self.spacing_mm = {a: round(s, 6) for a, s in _by_axis(canonical_spacing(volume.ijk_to_ras)).items()}
        self.route = route.describe()
        self.axis_depths = _by_axis(route.axis_depths)
        self.resampled_axes = [a for a, resampled in _by_axis(route.resampled_axes).items() if resampled]
        self.device = prediction.device
        self.seconds = {step: round(s, 4) for step, s in prediction.seconds.items()}
        self.volumes_ml = {name: round(ml, 6) for name, ml in prediction.volumes_ml.items()}
        self.certainty = None if prediction.certainty is None else round(prediction.certainty, 4)
        self.warnings = list(prediction.warnings)
        self.model = dict(prediction.model)


def write_report(path: Path, cases: Sequence[CaseReport]) -> None:
    """Writes JSON or CSV by the path's extension; an older report stays until the new one is whole."""
    check_report_path(path, FORMATS)
    rows = [asdict(case) for case in cases]
    if path.suffix.lower() == ".json":
        text = json.dumps({"cases": rows}, indent=2, ensure_ascii=False) + "\n"
    else:
        text = _csv([_flat(row) for row in rows])
    write_whole(path, text)


def _by_axis(zyx: Sequence[Any]) -> dict[str, Any]:
    """Values in the order (z, y, x) by axis name, x first."""
    return dict(reversed(list(zip(AXIS_NAMES, zyx, strict=True))))


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """One value per column: {"seconds": {"network": 1}} -> {"seconds.network": 1}; lists become text."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{inner}": inner_value for inner, inner_value in value.items()}
        else:
            flat[key] = " | ".join(map(str, value)) if isinstance(value, list) else value
    return flat


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    columns = columns or list(CaseReport.__dataclass_fields__)
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
