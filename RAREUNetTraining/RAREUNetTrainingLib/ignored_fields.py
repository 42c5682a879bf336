"""Which of the panel's fields don't count as things stand, so that nobody sets them in vain."""

from __future__ import annotations

from slicer.i18n import tr as _

from RAREUNetTrainingLib.training_choice import TrainingChoice
from RAREUNetTrainingLib.training_session import RunStatus

SCANS = ("data_folder", "labels_folder", "config_file")
# What Resume may change, and what a run keeps from its start.
CHANGEABLE = ("epochs", "device")
KEPT = (
    "model_name", "structures", "channels", "reference_spacing_mm", "patch", "batch_size", "precision", "patience",
)  # fmt: skip


def ignored_fields(choice: TrainingChoice, status: RunStatus) -> tuple[tuple[str, ...], str]:
    """Fields of TrainingChoice that would make no difference, and why, with the next step; (), '' where all would.

    The folders of the scans count for Check where Resume does without them.
    """
    if status.running:
        reason = _(
            "A training that runs keeps its settings. Choose another output folder to set up another one."
        )
        return (*SCANS, *CHANGEABLE, *KEPT), reason
    if choice.config_file:
        reason = _(
            "The configuration file decides what is greyed out. Change it there, or clear the file under Advanced to"
            " choose here."
        )
        return (*CHANGEABLE, *KEPT), reason
    if status.canResume and status.isConfigured and status.hasOwnDevice:
        reason = _(
            "Resume goes on with this run's scans and settings, and on its device, {device}, which can't be chosen"
            " here: only Epochs can be changed. Choose another output folder to start anew."
        ).format(device=status.device)
        return (*KEPT, "device"), reason
    if status.canResume and status.isConfigured:
        reason = _(
            "Resume goes on with this run's scans and settings: only Epochs and Compute on can be changed. Choose"
            " another output folder to start anew."
        )
        return KEPT, reason
    return (), ""
