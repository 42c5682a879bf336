"""What to send to the developers when a training or a check failed: versions, machine, settings and the last lines of
the process, but no folder and no name of a scan, as far as they can be told from other words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import slicer
import slicer.util
from slicer.i18n import tr as _

from rareunet_training.configuration import read_config
from rareunet_training.data.cases import read_folds
from RAREUNetSegmentLib.run_report import about_computer
from RAREUNetTrainingLib.private_names import without_names, without_paths
from RAREUNetTrainingLib.training_choice import TrainingChoice
from RAREUNetTrainingLib.training_run import last_error
from RAREUNetTrainingLib.training_session import TrainingSession

LINES_KEPT = 40
# Of a traceback the lines that no scan's name stands in, and of the error its type alone.
FRAME = re.compile(r'Traceback \(most recent call last\):|  File "[^"\n]+", line \d+(?:, in [\w.<>]+)?')
ERROR_TYPE = re.compile(r"([A-Za-z_][\w.]*(?:Error|Exception|Warning|Interrupt))(?::.*)?")


def training_report(session: TrainingSession) -> str:
    """The report of a training that failed."""
    choice = session.choice
    known = session.run.settings(by_panel=choice is not None)
    settings = _read(choice) if choice and choice.config_file else known
    if settings or choice:
        return _report(session.status().text, settings, session.run.log(), choice, session.folder)
    # Nothing tells where its scans are, so that any word may be the name of one.
    cause = _(
        "left out with what was printed, but for a traceback, since the settings of this run are not known."
    )
    return _report(cause, {}, "\n".join(_of_traceback(session.run.log())), None, session.folder)


def check_report(choice: TrainingChoice, output: str) -> str:
    """The report of a check that failed.

    Args:
        choice: what was checked.
        output: what the process printed.
    """
    settings = _read(choice) if choice.config_file else {"check": choice.check_overrides()}
    return _report(f"The check failed: {last_error(output)}", settings, output, choice)


def copy_report(report: str) -> None:
    slicer.app.clipboard().setText(report)
    text = _("The report is on the clipboard: look it over, then paste it where you ask for help.")
    slicer.util.showStatusMessage(text, 5000)


def _of_traceback(output: str) -> Iterator[str]:
    for line in output.splitlines():
        if FRAME.fullmatch(line):
            yield line
        elif error := ERROR_TYPE.fullmatch(line):
            yield error[1]


def _report(
    cause: str, settings: Mapping[str, Any], output: str, choice: TrainingChoice | None, *others: str
) -> str:
    """Args:
    settings: by section.
    choice: what the process was started with, if it is known.
    others: further paths to leave out.
    """
    lines = [
        f"What happened: {cause}",
        *(f"Settings, {section}: {_told(section, values)}" for section, values in settings.items()),
        "",
        *(output.splitlines()[-LINES_KEPT:] or ["(no output)"]),
    ]
    data, begins_with = settings.get("data", {}), settings.get("model", {}).get("start_from", "")
    scans = [data.get("folder", ""), data.get("labels", "")]
    paths = [*others, data.get("folds", "")]
    if choice:
        scans += [choice.data_folder, choice.labels_folder]
        paths.append(choice.config_file)
    if Path(begins_with).is_absolute():  # else it is the name of a model that comes with RAREUNet
        paths.append(begins_with)
    names = [*data.get("exclude", []), *_in_folds(data.get("folds", ""))]
    told = without_paths(without_names("\n".join(lines), scans, paths, names))
    return "\n".join([_("Look it over before you send it."), *about_computer("monai"), told])


def _in_folds(file: str) -> list[str]:
    """The names in a file of folds; none where it can't be read, which the process then says itself."""
    try:
        return [name for fold in read_folds(file) for name in fold] if file else []
    except (OSError, ValueError):
        return []


def _read(choice: TrainingChoice) -> dict[str, Any]:
    """The settings of the configuration file; {} where it can't be read, which the process then says itself."""
    try:
        return read_config(choice.config_file).to_dict()
    except ValueError:
        return {}


def _told(section: str, values: Any) -> str:
    """Of the data the numbers alone: texts name folders and scans."""
    if section == "data":
        values = {name: value for name, value in values.items() if isinstance(value, int | float)}
    return json.dumps(values, ensure_ascii=False)
