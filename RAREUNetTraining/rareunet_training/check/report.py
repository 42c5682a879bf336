"""The check of a data set and its result, as JSON too."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rareunet.bundle import Label
from rareunet.geometry import Shape, Triple
from rareunet_training.check import proposals
from rareunet_training.check.facts import (
    ERROR,
    WARNING,
    CaseFacts,
    CaseReading,
    FileStamp,
    Finding,
    Intensities,
    LabelVolume,
)
from rareunet_training.check.findings import Expectations, findings_of_all, judge
from rareunet_training.check.reading import read_case, stamps
from rareunet_training.data.cases import Case
from rareunet_training.setting_rules import MOST_LABELS

if TYPE_CHECKING:
    from rareunet_training.configuration import ModelConfig

FORMAT = 3
LABEL_ALONE = "a label map without a scan: add the scan, or name the two alike."

OnCase = Callable[[], object]


@dataclass(frozen=True)
class CheckReport:
    """What a data set holds and what is wrong with it. Triples are along the canonical axes (S, A, R).

    Attributes:
        cases: one for each case, in the order they were given.
        findings: all of them, errors first.
        reference_spacing_mm, deepest: of the model that the axis depths are for.
        proposed_reference_spacing_mm, proposed_patch: None if no scan could be read.
        proposed_channels, proposed_labels: empty if the model names its own; no labels if they are too many for one.
    """

    cases: tuple[CaseFacts, ...]
    findings: tuple[Finding, ...]
    reference_spacing_mm: Triple
    deepest: int
    proposed_reference_spacing_mm: Triple | None
    proposed_patch: Shape | None
    proposed_channels: tuple[str, ...]
    proposed_labels: tuple[Label, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == ERROR)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == WARNING)

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> CheckReport:
        """Reads what to_json wrote; ValueError for anything else."""
        try:
            content = json.loads(text)
            if content.pop("format") != FORMAT:
                raise ValueError(f"format {FORMAT} is needed.")
            content["cases"] = tuple(_case(case) for case in content["cases"])
            content["findings"] = tuple(Finding(**finding) for finding in content["findings"])
            labels = [{**label, "color": tuple(label["color"])} for label in content["proposed_labels"]]
            content["proposed_labels"] = tuple(Label(**label) for label in labels)
            return cls(**{name: _tuple(value) for name, value in content.items()})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"no report of a check ({type(error).__name__}: {error})") from None


def check_cases(
    cases: Sequence[Case],
    model: ModelConfig,
    on_case: OnCase = lambda: None,
    labels_alone: Sequence[str] = (),
    previous: CheckReport | None = None,
) -> CheckReport:
    """Reads every case, one at a time, and judges it by the model.

    Args:
        cases: at least one.
        model: what to judge by; empty channels or labels accept what the data have, and are proposed.
        on_case: called after each case.
        labels_alone: names of label maps that no case has, see layouts.labels_without_scan.
        previous: what was found before; only cases with a file that changed in size or time since are read again.
    """
    known = {case.name: case for case in previous.cases} if previous else {}
    readings = []
    for case in cases:
        readings.append(_unchanged(case, known.get(case.name)) or read_case(case))
        on_case()
    return _report(readings, Expectations.of(model), cases[0].channels, labels_alone)


def _unchanged(case: Case, reading: CaseReading | None) -> CaseReading | None:
    """The earlier reading, if its files are all as they were. One that failed may have lacked a package or memory."""
    if reading is None or reading.errors or any(stamp.mtime_ns < 0 for stamp in reading.files):
        return None
    return reading if reading.files == stamps(case) else None


def _report(
    readings: Sequence[CaseReading],
    expected: Expectations,
    columns: Sequence[str],
    labels_alone: Sequence[str],
) -> CheckReport:
    labels = () if expected.labels else proposals.propose_labels(readings)
    names = expected.labels or {label.value: label.name for label in labels}
    cases = tuple(judge(reading, expected, names) for reading in readings)
    reference = proposals.propose_reference_spacing(cases)
    return CheckReport(
        cases=cases,
        findings=(
            *findings_of_all(
                cases,
                expected,
                proposals.named_channels(readings, columns),
                proposals.named_labels(readings),
            ),
            *(Finding(WARNING, name, LABEL_ALONE) for name in labels_alone),
        ),
        reference_spacing_mm=expected.reference_spacing_mm,
        deepest=expected.deepest,
        proposed_reference_spacing_mm=reference,
        proposed_patch=proposals.propose_patch(cases, reference) if reference else None,
        proposed_channels=() if expected.channels else proposals.propose_channels(cases, columns),
        proposed_labels=labels if len(labels) <= MOST_LABELS else (),
    )


def _case(content: dict[str, Any]) -> CaseFacts:
    parts: Iterable[tuple[str, type]] = (
        ("files", FileStamp), ("intensities", Intensities), ("label_volumes", LabelVolume), ("findings", Finding),
    )  # fmt: skip
    built = {name: tuple(part(**item) for item in content[name]) for name, part in parts}
    return CaseFacts(**{name: _tuple(value) for name, value in (content | built).items()})


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
