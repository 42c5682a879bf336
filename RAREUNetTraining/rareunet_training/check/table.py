"""A report on the terminal."""

from __future__ import annotations

import textwrap

from rareunet_training.check.report import CheckReport
from rareunet_training.check.summary import (
    Row,
    along_ras,
    group,
    headline,
    proposals,
    routes,
    rows,
    structures,
)

ROWS_SHOWN = 30
GROUPS_SHOWN = 20
WIDTH = 110
TITLES = ("case", "voxels", "spacing (mm)", "depths", "axes", "min / median / max", "volumes (ml)", "found")
WIDEST = 44  # of a column


def to_text(report: CheckReport) -> str:
    """A table of the cases, those with findings first, then the findings and what the data suggest."""
    return "\n".join([*_table(rows(report)), "", *_findings(report), *_data(report), "", *_proposals(report)])


def _table(cases: list[Row]) -> list[str]:
    cells = [list(TITLES), *(_cells(row) for row in cases[:ROWS_SHOWN])]
    widths = [max(len(row[column]) for row in cells) for column in range(len(TITLES))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
    more = len(cases) - ROWS_SHOWN
    return [*lines, *([f"... and {more} more case{'' if more == 1 else 's'}"] if more > 0 else [])]


def _cells(row: Row) -> list[str]:
    intensities, volumes = "; ".join(row.intensities), "  ".join(row.volumes)
    cells = (row.name, row.size, row.spacing, row.depths, row.orientation, intensities, volumes, row.found)
    return [cell if len(cell) <= WIDEST else f"{cell[: WIDEST - 4]} ..." for cell in cells]


def _findings(report: CheckReport) -> list[str]:
    groups = group(report.findings)
    lines = [headline(report)]
    for found in groups[:GROUPS_SHOWN]:
        lines += textwrap.wrap(
            f"{found.severity}: {found.who}: {found.message}", WIDTH, initial_indent="  ", subsequent_indent="    ",
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
    more = len(groups) - GROUPS_SHOWN
    return lines + ([f"  ... and {more} more findings; a report (--report) has them all"] if more > 0 else [])


def _data(report: CheckReport) -> list[str]:
    lines = [
        f"{s.name}: in {s.cases} of {len(report.cases)} cases, {s.smallest_ml:.3g} / {s.median_ml:.3g} /"
        f" {s.largest_ml:.3g} ml (min / median / max)"
        for s in structures(report.cases)
    ]
    lines = ["structures, in the order of the volumes:", *(f"  {line}" for line in lines)] if lines else []
    counts = ", ".join(f"{depths} ({count})" for depths, count in routes(report.cases))
    if counts:
        reference = along_ras(report.reference_spacing_mm)
        lines.append(f"depths along R, A, S for the reference spacing {reference} mm (cases): {counts}")
    return lines


def _proposals(report: CheckReport) -> list[str]:
    lines = proposals(report)
    return ["the data suggest:", *(f"  {line}" for line in lines)] if lines else []
