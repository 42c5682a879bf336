"""What the panel has done beside the training, one at a time: the check of the scans, the installation of packages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from RAREUNetTrainingLib import training_process
from RAREUNetTrainingLib.training_choice import TrainingChoice
from RAREUNetTrainingLib.training_run import LOG_FILE, end_of_file

CHECK, INSTALL = "check", "install"


class Tasks:
    """Runs a check or an installation.

    Args:
        folder: for reports and logs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kind = ""  # of the task that runs; '' while none does
        self.log = folder / LOG_FILE
        self._process: training_process.LaunchedProcess | None = None
        self._onEnded: Callable[[int], None] | None = None

    @property
    def page(self) -> Path:
        """The HTML report of the last check."""
        return self.folder / "check.html"

    def check(self, choice: TrainingChoice, onEnded: Callable[[int], None]) -> None:
        """Raises ValueError where the scans are not chosen, OSError where no process starts."""
        if obstacle := choice.data_obstacle():
            raise ValueError(obstacle)
        reports = [self.folder / "check.json", self.page]
        for report in reports:
            report.unlink(missing_ok=True)
        overrides = () if choice.config_file else choice.check_overrides()
        command = training_process.check_command(
            choice.data_folder, choice.labels_folder, choice.config_file, reports, overrides
        )
        self._start(CHECK, command, onEnded)

    def install(self, onEnded: Callable[[int], None]) -> None:
        """Raises OSError where no process starts."""
        self._start(INSTALL, training_process.install_command(), onEnded)

    def finish(self) -> None:
        """Calls onEnded once with the exit code of a task that has ended."""
        code = self._process.poll() if self._process else None
        if code is not None and self._onEnded is not None:
            onEnded, self.kind, self._process, self._onEnded = self._onEnded, "", None, None
            onEnded(code)

    def abandon(self) -> None:
        """Ends what runs."""
        if self._process is not None:
            self._process.kill()
        self.kind, self._process, self._onEnded = "", None, None

    def report(self) -> Any:
        """The CheckReport of the last check; None if it wrote none that can be read."""
        from rareunet_training.check import read_report

        try:
            return read_report(self.folder / "check.json")
        except (OSError, ValueError):
            return None

    def output(self) -> str:
        return end_of_file(self.log)

    def _start(self, kind: str, command: list[str], onEnded: Callable[[int], None]) -> None:
        self.log.unlink(missing_ok=True)
        self._process = training_process.start_process(command, self.log)
        self.kind, self._onEnded = kind, onEnded
