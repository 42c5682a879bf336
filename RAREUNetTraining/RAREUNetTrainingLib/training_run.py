"""A run as its output folder shows it: the panel can look at one that it did not start, or that outlived Slicer."""

from __future__ import annotations

import json
import os
import platform
import signal
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from rareunet.file_lock import is_locked
from rareunet_training.monitoring.history_file import Row, read_history
from rareunet_training.monitoring.progress import (
    CHECKPOINT_FILE,
    CONFIG_FILE,
    HISTORY_FILE,
    LOCK_FILE,
    PROGRESS_FILE,
    STOP_FILE,
    Progress,
)
from RAREUNetSegmentLib.choices import Device

LOG_FILE, PANEL_FILE = "log.txt", "panel.json"  # the panel's own: what the process writes, what was chosen
LOG_BYTES = 20_000
ENDED = ("finished", "stopped", "failed")


class TrainingRun:
    """The files of an output folder.

    Args:
        folder: may not exist yet.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def progress(self) -> Progress:
        """The last progress told; an empty one if there is none that can be read."""
        known = {field.name for field in fields(Progress)}
        content = self._content(PROGRESS_FILE)
        return Progress(**{name: value for name, value in content.items() if name in known})

    def is_running(self) -> bool:
        """Whether a run writes here; its lock tells, which goes with the process and works over a shared folder."""
        return is_locked(self.folder / LOCK_FILE)

    def can_be_killed(self) -> bool:
        """Whether a run writes here from this computer: on another its process number means nothing."""
        return self._process_number() > 0

    def has_checkpoint(self) -> bool:
        return (self.folder / CHECKPOINT_FILE).is_file()

    def is_configured(self) -> bool:
        """Whether it can go on with the settings in its folder."""
        return self.has_checkpoint() and (self.folder / CONFIG_FILE).is_file()

    def settings(self, by_panel: bool) -> dict[str, Any]:
        """Sections of the settings that were written last; {} where there are none.

        Args:
            by_panel: this panel started the run. Else its file may be of an earlier run, and the run's own counts.
        """
        names = (PANEL_FILE, CONFIG_FILE) if by_panel else (CONFIG_FILE,)
        files = [file for name in names if (file := self.folder / name).is_file()]
        files.sort(key=lambda file: file.stat().st_mtime)
        content = self._content(files[-1].name) if files else {}
        return {section: values for section, values in content.items() if isinstance(values, dict)}

    def device(self) -> str:
        """The device that the run's settings name; '' while there are none."""
        section = self._content(CONFIG_FILE).get("fit")
        return str(section.get("device", "")) if isinstance(section, dict) else ""

    def has_own_device(self) -> bool:
        """Whether it is one that the panel's list lacks, such as the second graphics card, cuda:1."""
        return self.device() not in ("", *(device.value for device in Device))

    def history(self) -> list[Row]:
        """Rows of history.csv by epoch; a row that can't be read is left out."""
        try:
            return [row for row in read_history(self.folder / HISTORY_FILE) if row]
        except OSError:
            return []

    def log(self) -> str:
        """The end of what the process wrote."""
        return end_of_file(self.folder / LOG_FILE)

    def ask_to_stop(self) -> None:
        """The process saves a checkpoint and ends."""
        (self.folder / STOP_FILE).touch()

    def seconds_since_stop(self) -> float | None:
        """How long ago it was asked to stop; None if it was not."""
        try:
            return time.time() - (self.folder / STOP_FILE).stat().st_mtime
        except OSError:
            return None

    def kill(self) -> None:
        """Ends the process at once; the last checkpoint stays."""
        # To the system, 0 and below name groups of processes: Slicer's own among them.
        if (number := self._process_number()) > 0:
            os.kill(number, getattr(signal, "SIGKILL", signal.SIGTERM))

    def _content(self, name: str) -> dict[str, Any]:
        """Of a file of JSON; {} where there is none that can be read."""
        try:
            content = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _process_number(self) -> int:
        """Of the run that writes here from this computer; 0 if there is none or it has not told it yet."""
        progress = self.progress()  # once: the file may change
        return progress.pid if self.is_running() and progress.host == platform.node() else 0


def end_of_file(path: Path) -> str:
    """The last lines of a text file, LOG_BYTES at most, '' if there is none; of a line that is rewritten (a bar), its
    last state."""
    try:
        with open(path, "rb") as file:
            if (size := os.path.getsize(path)) > LOG_BYTES:
                file.seek(size - LOG_BYTES)
                file.readline()  # the rest of a line: half a name would not be known as one
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))


def last_error(log: str) -> str:
    """The last line that says what went wrong, else the last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error:")]
    return (errors or lines or [_("it wrote nothing.")])[-1]
