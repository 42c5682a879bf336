"""A report in few words: what the terminal's table, the HTML page, the panel and `fit` show of it."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from rareunet.wording import some, times
from rareunet_training.check.facts import ERROR, WARNING, CaseFacts, Finding
from rareunet_training.check.report import CheckReport


@dataclass(frozen=True)
class Group:
    """The cases that have one and the same finding."""

    severity: str
    message: str
    cases: tuple[str, ...]

    @property
    def who(self) -> str:
        """The first few cases by name; 'all cases together' for a finding of the whole data set."""
        return "all cases together" if self.cases == ("",) else some(self.cases)


@dataclass(frozen=True)
class Structure:
    """One structure over all cases: in how many it occurs, and its volume there, ml."""

    name: str
    cases: int
    smallest_ml: float
    median_ml: float
    largest_ml: float


@dataclass(frozen=True)
class Row:
    """A case in words; sizes, spacings and depths along R, A, S, as scanners print them.

    `intensities` has a text for each channel, `volumes` the ml of each structure or '-', in the order of structures().
    """

    name: str
    size: str
    spacing: str
    depths: str
    orientation: str
    intensities: tuple[str, ...]
    volumes: tuple[str, ...]
    errors: int
    warnings: int

    @property
    def found(self) -> str:
        """How many errors and warnings, '' for none."""
        counts = ((self.errors, "error"), (self.warnings, "warning"))
        return ", ".join(f"{n} {what}{'' if n == 1 else 's'}" for n, what in counts if n)


def group(findings: Iterable[Finding]) -> list[Group]:
    """Findings of the same words together, in the order they come."""
    cases: dict[tuple[str, str], list[str]] = {}
    for finding in findings:
        cases.setdefault((finding.severity, finding.message), []).append(finding.case)
    return [Group(severity, message, tuple(names)) for (severity, message), names in cases.items()]


def structures(cases: Iterable[CaseFacts]) -> list[Structure]:
    """What the label maps hold, over all cases."""
    volumes: dict[str, list[float]] = {}
    for case in cases:
        for name, ml in case.volumes_ml.items():
            volumes.setdefault(name, []).append(ml)
    return [
        Structure(name, len(found), min(found), float(np.median(found)), max(found))
        for name, found in volumes.items()
    ]


def routes(cases: Iterable[CaseFacts]) -> list[tuple[str, int]]:
    """Depths along R, A, S, and how many cases have them; the most frequent first."""
    counts = Counter(_depths(case) for case in cases if case.axis_depths is not None)
    return counts.most_common()


def rows(report: CheckReport) -> list[Row]:
    """A row for each case, those with errors first, then those with warnings, else in their order."""
    found = Counter((finding.case, finding.severity) for finding in report.findings)
    names = [structure.name for structure in structures(report.cases)]
    made = [_row(case, names, found[case.name, ERROR], found[case.name, WARNING]) for case in report.cases]
    return sorted(made, key=lambda row: (row.errors == 0, row.warnings == 0))


def headline(report: CheckReport) -> str:
    """One line: how many cases, errors and warnings."""
    return (
        f"{len(report.cases)} case{_s(report.cases)}: {len(report.errors)} error{_s(report.errors)},"
        f" {len(report.warnings)} warning{_s(report.warnings)}"
    )


def proposals(report: CheckReport) -> list[str]:
    """Settings that the data suggest, each as "section.name=value" of the command line, in its quotes."""
    lines = []
    if report.proposed_reference_spacing_mm and report.proposed_patch:
        spacing = list(report.proposed_reference_spacing_mm)
        lines += [f"model.reference_spacing_mm={spacing}", f"fit.patch={list(report.proposed_patch)}"]
    if report.proposed_channels:
        lines.append(f"model.channels={list(report.proposed_channels)}")
    if report.proposed_labels:
        labels = [{"value": x.value, "name": x.name, "color": list(x.color)} for x in report.proposed_labels]
        lines.append(f"model.labels={labels}")
    # Not all by shlex: a Windows shell knows no single quotes. But names may hold what another shell would carry out.
    return [shlex.quote(line) if re.search(r"[$`\\]", line) else _in_double_quotes(line) for line in lines]


def _in_double_quotes(line: str) -> str:
    return '"' + line.replace('"', r"\"") + '"'  # Python quotes "Meckel's cave" by "


def along_ras(values: Sequence[float]) -> str:
    """Values along S, A, R -> "R x A x S"."""
    return times(reversed(values), ".4g")


def _row(case: CaseFacts, structure_names: Sequence[str], errors: int, warnings: int) -> Row:
    channels = f"{case.channels} of " if case.channels > 1 else ""
    return Row(
        name=case.name,
        size=channels + along_ras(case.shape) if case.shape else "",
        spacing=along_ras(case.spacing_mm) if case.spacing_mm else "",
        depths=_depths(case) if case.axis_depths is not None else "",
        orientation=case.orientation,
        intensities=tuple(_range(i.smallest, i.median, i.largest) for i in case.intensities),
        volumes=tuple(f"{ml:.3g}" if (ml := case.volumes_ml.get(name)) else "-" for name in structure_names),
        errors=errors,
        warnings=warnings,
    )


def _depths(case: CaseFacts) -> str:
    return " ".join(str(depth) for depth in reversed(case.axis_depths or ()))


def _range(smallest: float | None, median: float | None, largest: float | None) -> str:
    if smallest is None or median is None or largest is None:
        return "no number"
    return f"{smallest:.4g} / {median:.4g} / {largest:.4g}"


def _s(things: Sequence[object]) -> str:
    return "" if len(things) == 1 else "s"
