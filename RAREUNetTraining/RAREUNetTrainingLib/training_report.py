"""What to send to the developers when a training or a check failed: versions, machine, settings and the last lines of
the process, but no folder and no name of a scan."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import slicer
import slicer.util
from slicer.i18n import tr as _

from RAREUNetSegmentLib.run_report import about_computer
from RAREUNetTrainingLib.private_names import without_names
from RAREUNetTrainingLib.training_choice import TrainingChoice
from RAREUNetTrainingLib.training_run import last_error
from RAREUNetTrainingLib.training_session import TrainingSession

LINES_KEPT = 40


def training_report(session: TrainingSession) -> str:
    """The report of a training that failed."""
    settings = session.run.settings()
    named = [*settings.get("data", {}).values(), settings.get("model", {}).get("start_from")]
    private = [value for value in named if isinstance(value, str) and Path(value).is_absolute()]
    private += [session.folder, *(session.choice.paths() if session.choice else ())]
    return _report(session.status().text, settings, session.run.log(), private)


def check_report(choice: TrainingChoice, output: str) -> str:
    """The report of a check that failed.

    Args:
        choice: what was checked.
        output: what the process printed.
    """
    settings = {"check": "a configuration file" if choice.config_file else choice.check_overrides()}
    return _report(f"The check failed: {last_error(output)}", settings, output, choice.paths())


def copy_report(report: str) -> None:
    slicer.app.clipboard().setText(report)
    text = _("The report is on the clipboard: paste it where you ask for help.")
    slicer.util.showStatusMessage(text, 5000)


def _report(cause: str, settings: Mapping[str, Any], output: str, private: Iterable[str]) -> str:
    """Args:
    private: paths, which are replaced wherever they occur, with the names of the scans there.
    """
    lines = [
        f"What happened: {cause}",
        *(f"Settings, {section}: {_told(section, values)}" for section, values in settings.items()),
        "",
        *(output.splitlines()[-LINES_KEPT:] or ["(no output)"]),
    ]
    return "\n".join([*about_computer("monai"), without_names("\n".join(lines), private)])


def _told(section: str, values: Any) -> str:
    """Of the data the numbers alone: texts name folders and scans."""
    if section == "data":
        values = {name: value for name, value in values.items() if isinstance(value, int | float)}
    return json.dumps(values, ensure_ascii=False)
