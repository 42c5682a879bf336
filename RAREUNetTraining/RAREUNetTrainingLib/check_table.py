"""The result of a check in the panel: a row per case, those with problems first."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

COLUMNS = ("Case", "Found", "Voxels", "Spacing (mm)", "Depths", "Axes")
ERROR_COLOR, WARNING_COLOR = "#c0392b", "#b9770e"
MOST_FINDINGS = 5
ROW_HEIGHT = 22


def fill_table(table: Any, report: Any) -> None:
    """Puts a row for each case of a rareunet_training CheckReport into a QTableWidget."""
    from rareunet_training.check.summary import rows

    messages: dict[str, list[str]] = {}
    for finding in report.findings:
        messages.setdefault(finding.case, []).append(finding.message)
    cases = rows(report)
    table.setColumnCount(len(COLUMNS))
    table.setHorizontalHeaderLabels([_(title) for title in COLUMNS])
    table.verticalHeader().setVisible(False)
    table.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
    table.setRowCount(len(cases))
    for number, case in enumerate(cases):
        cells = (case.name, case.found, case.size, case.spacing, case.depths, case.orientation)
        for column, text in enumerate(cells):
            item = qt.QTableWidgetItem(text)
            item.setToolTip("\n".join(messages.get(case.name, [])))
            if case.errors or case.warnings:
                item.setForeground(qt.QBrush(qt.QColor(ERROR_COLOR if case.errors else WARNING_COLOR)))
            table.setItem(number, column, item)
    table.resizeColumnsToContents()


def summary_html(report: Any, page: Path) -> str:
    """How many errors and warnings, the first of them, and a link to the whole report."""
    from rareunet_training.check.summary import group, headline

    lines = [f"<b>{_text(headline(report))}</b>"]
    groups = group(report.findings)
    for found in groups[:MOST_FINDINGS]:
        color = ERROR_COLOR if found.severity == "error" else WARNING_COLOR
        lines.append(f'<font color="{color}">{_text(found.who)}: {_text(found.message)}</font>')
    if len(groups) > MOST_FINDINGS:
        lines.append(_("... and {number} more.").format(number=len(groups) - MOST_FINDINGS))
    link = f'<a href="{page.as_uri()}">{_("Open report")}</a>'
    return "<br>".join([*lines, link])


def _text(sentence: str) -> str:
    return html.escape(sentence, quote=False)
