"""Starts, watches and stops the training of an output folder, whoever started it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

from rareunet_training.monitoring.progress import duration
from RAREUNetTrainingLib import training_process
from RAREUNetTrainingLib.training_choice import TrainingChoice
from RAREUNetTrainingLib.training_run import (
    CONFIG_FILE,
    ENDED,
    LOG_FILE,
    PANEL_FILE,
    PROGRESS_FILE,
    STOP_FILE,
    Progress,
    TrainingRun,
    last_error,
)

PATIENCE_SECONDS = 60  # to save and stop; after that ending it at once is offered


@dataclass(frozen=True)
class RunStatus:
    """What the panel shows of a run.

    Attributes:
        running: a process trains.
        epochs: how many it is to have, 0 while unknown.
        device: that it was told to use, '' while unknown.
        hasOwnDevice: the panel can't choose that device, so Resume leaves it as it is.
        fraction: part of them that is done.
        text: where it stands, and what to do next.
        rows: rows of history.csv.
        bundle: folder of the finished model, '' before.
        canStart, canResume: from nothing, or from a checkpoint; both False for a finished run.
        isConfigured: it can go on with the settings in its folder, whatever is chosen.
        hasFailed: it ended by an error.
        isStopping, isSlowToStop: it was asked to stop, a moment or too long ago.
    """

    running: bool = False
    epochs: int = 0
    device: str = ""
    hasOwnDevice: bool = False
    fraction: float = 0.0
    text: str = ""
    rows: tuple[dict[str, float], ...] = ()
    bundle: str = ""
    canStart: bool = False
    canResume: bool = False
    isConfigured: bool = False
    hasFailed: bool = False
    isStopping: bool = False
    isSlowToStop: bool = False


class TrainingSession:
    """One output folder.

    Args:
        folder: may not exist yet.
    """

    def __init__(self, folder: str) -> None:
        self.folder, self.run = folder, TrainingRun(folder)
        self.process: training_process.LaunchedProcess | None = None
        self.choice: TrainingChoice | None = None  # that it was started with

    def start(self, choice: TrainingChoice) -> None:
        """Starts from nothing, or goes on from the checkpoint with the settings that are there.

        Raises:
            ValueError: the choice is not complete.
            OSError: the folder or the process can't be made.
        """
        if obstacle := obstacle_to_start(choice, self.status()):
            raise ValueError(obstacle)
        folder = self.run.folder
        folder.mkdir(parents=True, exist_ok=True)
        self.choice = choice
        config, overrides = self._configuration(choice)
        for name in (PROGRESS_FILE, STOP_FILE, LOG_FILE):  # or an earlier run's would be told as this one's
            (folder / name).unlink(missing_ok=True)
        command = training_process.train_command(config, folder, self.run.has_checkpoint(), overrides)
        self.process = training_process.start_process(command, folder / LOG_FILE)

    def _configuration(self, choice: TrainingChoice) -> tuple[Path, list[str]]:
        """The file that the process gets, and the settings that are put over it. ignored_fields tells of the rest."""
        if choice.config_file:
            labels = [f"data.labels={choice.labels_folder}"] if choice.labels_folder else []
            return Path(choice.config_file), [f"data.folder={choice.data_folder}", *labels]
        if self.run.is_configured():  # the model must stay what it is
            device = [] if self.run.has_own_device() else [f"fit.device={choice.device}"]
            return self.run.folder / CONFIG_FILE, [f"fit.epochs={choice.epochs}", *device]
        file = self.run.folder / PANEL_FILE
        file.write_text(json.dumps(choice.settings(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return file, []

    def stop(self) -> None:
        """Asks the process to save and end; asked again when that takes too long, ends it at once."""
        if self.status().isSlowToStop:
            self.run.kill()
            if self.process is not None:
                self.process.kill()
        else:
            self.run.ask_to_stop()

    def status(self) -> RunStatus:
        progress = self.run.progress()
        running = self._is_ours_running() or self.run.is_running()
        asked = self.run.seconds_since_stop() if running else None
        finished = progress.state == "finished" and not running
        failed = not running and self._has_failed(progress)
        checkpoint = self.run.has_checkpoint()
        return RunStatus(
            running=running,
            epochs=progress.epochs,
            device=self.run.device(),
            hasOwnDevice=self.run.has_own_device(),
            fraction=progress.fraction,
            text=_("Saving and stopping...")
            if asked is not None
            else self._describe(progress, running, failed),
            rows=tuple(self.run.history()),
            bundle=progress.bundle if finished and Path(progress.bundle).is_dir() else "",
            canStart=not (running or finished or checkpoint),
            canResume=checkpoint and not (running or finished),
            isConfigured=self.run.is_configured(),
            hasFailed=failed,
            isStopping=asked is not None,
            isSlowToStop=asked is not None and asked > PATIENCE_SECONDS and self._can_be_killed(),
        )

    def _can_be_killed(self) -> bool:
        return self._is_ours_running() or self.run.can_be_killed()

    def _is_ours_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def _has_failed(self, progress: Progress) -> bool:
        """Asked of a run that has ended: whether it told so, or ended without a word."""
        if progress.state in ("finished", "stopped"):
            return False
        return progress.state != "" or (self.process is not None and bool(self.process.poll()))

    def _describe(self, progress: Progress, running: bool, failed: bool) -> str:
        if running:
            return describe_running(progress)
        if progress.state == "finished":
            return _("Finished. The model lies in {folder}.").format(folder=progress.bundle)
        if progress.state == "stopped":
            return _("Stopped and saved after epoch {epoch} of {epochs}.").format(
                epoch=progress.epoch, epochs=progress.epochs
            )
        if progress.state == "failed":
            return _("The training failed: {message}").format(message=progress.message)
        if failed:
            return _("The training ended unexpectedly: {message}").format(message=last_error(self.run.log()))
        return ""


def obstacle_to_start(choice: TrainingChoice, status: RunStatus) -> str:
    """Why training can't start or go on, with the next step; '' if it can."""
    return "" if status.isConfigured and not choice.config_file else choice.obstacle()


def describe_running(progress: Progress) -> str:
    """Where a running training stands."""
    texts = {
        "checking": _("Checking the scans..."),
        "evaluating": _("Measuring the finished model..."),
        **dict.fromkeys(ENDED, _("Ending...")),
    }
    if progress.state != "training":
        return texts.get(progress.state, _("Starting..."))
    text = _("Epoch {epoch} of {epochs}").format(
        epoch=min(progress.epoch + 1, progress.epochs), epochs=progress.epochs
    )
    if progress.seconds_left >= 0 and math.isfinite(progress.seconds_left):
        text += _(", about {time} left").format(time=duration(progress.seconds_left))
    return text + ". " + _("It goes on when Slicer is closed.")
