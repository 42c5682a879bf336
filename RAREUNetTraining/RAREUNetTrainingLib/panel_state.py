"""What of the panel is visible, enabled and said in each state of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slicer.i18n import tr as _

from RAREUNetTrainingLib.ignored_fields import ignored_fields
from RAREUNetTrainingLib.training_choice import TrainingChoice
from RAREUNetTrainingLib.training_session import RunStatus, obstacle_to_start
from RAREUNetTrainingLib.training_tasks import CHECK, INSTALL

# The widgets of each field of TrainingChoice, by their names.
WIDGETS = {
    "data_folder": ("dataFolderLabel", "dataFolderEdit"),
    "labels_folder": ("labelsFolderLabel", "labelsFolderEdit"),
    "model_name": ("nameLabel", "nameEdit"),
    "structures": ("structuresTable", "addStructureButton", "removeStructureButton"),
    "output_folder": ("outputFolderLabel", "outputFolderEdit"),
    "epochs": ("epochsLabel", "epochsSpinBox"),
    "device": ("deviceLabel", "deviceComboBox"),
    "reference_spacing_mm": ("spacingLabel", "spacingEdit"),
    "patch": ("patchLabel", "patchEdit"),
    "batch_size": ("batchSizeLabel", "batchSizeSpinBox"),
    "precision": ("precisionLabel", "precisionComboBox"),
    "patience": ("patienceLabel", "patienceSpinBox"),
    "channels": ("channelsLabel", "channelsEdit"),
    "config_file": ("configFileLabel", "configFileEdit"),
}


def show_fields(ui: Any, choice: TrainingChoice, status: RunStatus) -> None:
    """Greys out the fields that don't count, and says why."""
    ignored, reason = ignored_fields(choice, status)
    for field, names in WIDGETS.items():
        for name in names:
            getattr(ui, name).enabled = field not in ignored
    ui.ignoredLabel.text = reason
    ui.ignoredLabel.visible = bool(reason)


def show_status(ui: Any, status: RunStatus) -> None:
    """Progress bar, text, and what can be done with what is there."""
    ui.progressBar.visible = status.running
    ui.progressBar.value = round(100 * status.fraction)
    ui.statusLabel.text = status.text
    ui.statusLabel.visible = bool(status.text)
    ui.useModelButton.visible = bool(status.bundle)
    ui.showCurvesButton.visible = bool(status.rows)
    ui.copyReportButton.visible = status.hasFailed


def show_buttons(
    ui: Any, choice: TrainingChoice, status: RunStatus, task: str, missing_packages: Sequence[str]
) -> None:
    """Each button's text and whether it can be pressed, and why not.

    Args:
        ui: the panel's widgets by name.
        choice, status: what is chosen and how the run stands.
        task: CHECK or INSTALL while one of them runs, else ''.
        missing_packages: names; without them nothing can be checked or trained.
    """
    busy, missing = status.running or bool(task), bool(missing_packages)
    obstacle = _("Install the training packages first.") if missing else obstacle_to_start(choice, status)
    ui.packagesLabel.visible = ui.installButton.visible = missing
    ui.packagesLabel.text = _("Training needs packages that Slicer's Python lacks: {names}.").format(
        names=", ".join(missing_packages)
    )
    ui.installButton.enabled = not busy
    ui.installButton.text = _("Installing...") if task == INSTALL else _("Install training packages")
    ui.checkButton.enabled = not (busy or missing or choice.data_obstacle())
    ui.checkButton.text = _("Checking...") if task == CHECK else _("Check")
    ui.obstacleLabel.text = obstacle
    ui.obstacleLabel.visible = bool(obstacle) and not busy
    ui.startButton.text = _("Resume") if status.canResume else _("Start")
    ui.startButton.enabled = not (busy or obstacle) and (status.canStart or status.canResume)
    ui.startButton.toolTip = obstacle or _start_hint(status)
    ui.stopButton.text = _("End at once") if status.isSlowToStop else _("Stop")
    ui.stopButton.enabled = status.running and (status.isSlowToStop or not status.isStopping)


def _start_hint(status: RunStatus) -> str:
    if status.canResume:
        return _("Goes on from the last checkpoint. Choose another output folder to start anew.")
    if status.bundle:
        return _("This folder holds a finished training. Choose another output folder to start anew.")
    return _("Trains in a process of its own; Slicer can be used, or closed, meanwhile.")
