"""The commands of the panel, each a process of its own, so that Slicer stays free and a run outlives it.

What they write goes to a file instead of a pipe: nobody has to empty it, and it is there after a restart.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from RAREUNetSegmentLib.dependencies import python

MODULE_FOLDER = Path(__file__).parent.parent
TRAIN_SCRIPT = MODULE_FOLDER / "Scripts" / "train.py"


def train_command(config: Path, output: Path, resume: bool, overrides: Sequence[str] = ()) -> list[str]:
    command = [python(), str(TRAIN_SCRIPT), "--config", str(config), "--output", str(output)]
    return [*command, *(["--resume"] if resume else []), *overrides]


def check_command(
    data: str, labels: str, config: str, reports: Sequence[Path], overrides: Sequence[str]
) -> list[str]:
    command = [python(), "-m", "rareunet_training", "check", data]
    for option, value in (("--labels", labels), ("--config", config)):
        command += [option, value] if value else []
    for report in reports:
        command += ["--report", str(report)]
    return [*command, *overrides]


def install_command() -> list[str]:
    return [python(), str(TRAIN_SCRIPT), "--install"]


class LaunchedProcess(subprocess.Popen):
    """Is ended with all that it has started: Slicer's Python is a launcher, whose child does the work."""

    def kill(self) -> None:
        if self.poll() is not None:
            return
        if os.name == "nt":
            subprocess.run(["taskkill", "/T", "/F", "/PID", str(self.pid)], capture_output=True, check=False)
        else:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)  # start_process made it the leader of a group


def start_process(command: Sequence[str], log: Path) -> LaunchedProcess:
    """Starts a process that goes on when Slicer ends, its output appended to a file.

    Raises:
        OSError: the program or the file can't be used.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        options = {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
    with open(log, "ab") as file:
        return LaunchedProcess(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=_environment(),
            **options,
        )


def package_folders() -> list[str]:
    """Where rareunet and rareunet_training lie: one folder when installed, two in a source tree."""
    folders = (MODULE_FOLDER, MODULE_FOLDER.parent / "RAREUNetSegment")
    return [str(folder) for folder in folders if folder.is_dir()]


def _environment() -> dict[str, str]:
    known = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([*package_folders(), *([known] if known else [])])
    # PYTHONSAFEPATH: a user's torch.py where Slicer was started must not be taken for PyTorch (Python 3.11 on).
    ours = {"PYTHONPATH": path, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    return {**os.environ, **ours}
