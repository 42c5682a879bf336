"""What the panel has done beside the training, one at a time: the check of the scans, the installation of packages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rareunet.worker.folder import PrivateFolder, sweep
from RAREUNetTrainingLib import training_process
from RAREUNetTrainingLib.training_choice import TrainingChoice
from RAREUNetTrainingLib.training_run import LOG_FILE, end_of_file

CHECK, INSTALL = "check", "install"


class Tasks:
    """Runs a check or an installation. Its files lie in a private folder, until the next task or abandon().

    Args:
        parentFolder: where private folders are made; another Slicer may make its own there.
    """

    def __init__(self, parentFolder: str) -> None:
        self._parentFolder = parentFolder
        self._folder: PrivateFolder | None = None
        self.kind = ""  # of the task that runs; '' while none does
        self._process: training_process.LaunchedProcess | None = None
        self._onEnded: Callable[[int], None] | None = None
        sweep(parentFolder)

    @property
    def page(self) -> Path:
        """The HTML report of the last check."""
        return self._file("check.html")

    def check(self, choice: TrainingChoice, onEnded: Callable[[int], None]) -> None:
        """Raises ValueError where the scans are not chosen, OSError where no process starts."""
        if obstacle := choice.data_obstacle():
            raise ValueError(obstacle)
        overrides = () if choice.config_file else choice.check_overrides()
        self._renewFolder()
        reports = [self._file("check.json"), self.page]
        command = training_process.check_command(
            choice.data_folder, choice.labels_folder, choice.config_file, reports, overrides
        )
        self._start(CHECK, command, onEnded)

    def install(self, onEnded: Callable[[int], None]) -> None:
        """Raises OSError where no process starts."""
        self._renewFolder()
        self._start(INSTALL, training_process.install_command(), onEnded)

    def finish(self) -> None:
        """Calls onEnded once with the exit code of a task that has ended."""
        code = self._process.poll() if self._process else None
        if code is not None and self._onEnded is not None:
            onEnded, self.kind, self._process, self._onEnded = self._onEnded, "", None, None
            onEnded(code)

    def abandon(self) -> None:
        """Ends what runs, and removes the files of the last task."""
        if self._process is not None:
            self._process.kill()
        self.kind, self._process, self._onEnded = "", None, None
        if self._folder is not None:
            self._folder.remove()
            self._folder = None

    def report(self) -> Any:
        """The CheckReport of the last check; None if it wrote none that can be read."""
        from rareunet_training.check import read_report

        try:
            return read_report(self._file("check.json"))
        except (OSError, ValueError):
            return None

    def output(self) -> str:
        return end_of_file(self._file(LOG_FILE)) if self._folder is not None else ""

    def _start(self, kind: str, command: list[str], onEnded: Callable[[int], None]) -> None:
        self._process = training_process.start_process(command, self._file(LOG_FILE))
        self.kind, self._onEnded = kind, onEnded

    def _renewFolder(self) -> None:
        """A new one for each task: cleaning programs remove what lies in a temporary folder for days."""
        self.abandon()
        self._folder = PrivateFolder(self._parentFolder)

    def _file(self, name: str) -> Path:
        """A file of the last task."""
        assert self._folder is not None, "no task has been started"
        return self._folder.path / name
