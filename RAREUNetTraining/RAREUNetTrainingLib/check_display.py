"""The result of a check in the panel: a row per case, those with problems first; or why it failed, with a report."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from RAREUNetTrainingLib.training_choice import TrainingChoice
from RAREUNetTrainingLib.training_report import check_report, copy_report
from RAREUNetTrainingLib.training_run import last_error

COLUMNS = ("Case", "Found", "Voxels", "Spacing (mm)", "Depths", "Axes")
ERROR_COLOR, WARNING_COLOR = "#c0392b", "#b9770e"
MOST_FINDINGS = 5
ROW_HEIGHT = 22


class CheckDisplay:
    """Shows a check in the panel's widgets.

    Args:
        ui: the panel's widgets by name.
    """

    def __init__(self, ui: Any) -> None:
        self._ui, self._report = ui, ""
        ui.copyCheckReportButton.connect("clicked()", lambda: copy_report(self._report))
        self.clear()

    def clear(self) -> None:
        """As before any check."""
        for widget in (self._ui.casesTable, self._ui.checkLabel, self._ui.copyCheckReportButton):
            widget.visible = False

    def show(self, report: Any, page: Path) -> None:
        """A rareunet_training CheckReport, and where it lies as a page."""
        self._ui.checkLabel.text = summary_html(report, page)
        fill_table(self._ui.casesTable, report)
        self._ui.checkLabel.visible = self._ui.casesTable.visible = True

    def show_failed(self, choice: TrainingChoice, output: str) -> None:
        """What was to be checked, and what the process printed."""
        cause = _text(last_error(output))
        self._ui.checkLabel.text = _("The check failed: {message}").format(message=cause)
        self._report = check_report(choice, output)
        self._ui.checkLabel.visible = self._ui.copyCheckReportButton.visible = True


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
