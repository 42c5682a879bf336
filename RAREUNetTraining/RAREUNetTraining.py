"""RAREUNet Training: how to train a model, with a command that can be copied. Training runs outside Slicer's window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)


class RAREUNetTraining(ScriptedLoadableModule):
    """Describes the module to Slicer."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("RAREUNet Training")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.contributors = ["The RAREUNet developers"]
        self.parent.helpText = _(
            "<p>Shows the command that trains a RARE-UNet model from a folder of scans and label maps. The model's"
            " folder can then be chosen in the module RAREUNet Segment.</p><p>No data leaves this computer.</p>"
        )
        self.parent.acknowledgementText = _(
            "Method: S. W. Albertsen, H. S. Bjørnstrup, M. Mehdipour Ghazi: RARE-UNet: Resolution-Aligned Routing"
            " Entry for Adaptive Medical Image Segmentation, 2025."
        )


class RAREUNetTrainingWidget(ScriptedLoadableModuleWidget):
    """The panel: text, the command and a button that copies it."""

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        text = qt.QLabel(
            _(
                "Training takes hours and runs in a terminal, in a Python 3.10+ environment of its own. Install the"
                " project there with its training packages, prepare a configuration file (the hippocampus model's own"
                " one is the example below), and run:"
            )
        )
        self.commandEdit = qt.QPlainTextEdit()
        self.commandEdit.setPlainText(RAREUNetTrainingLogic().command())
        self.commandEdit.readOnly = True
        self.commandEdit.maximumHeight = 110
        self.copyButton = qt.QPushButton(_("Copy command"))
        self.copyButton.toolTip = _("Copy the command to the clipboard")
        self.copyButton.connect("clicked(bool)", self.onCopy)
        after = qt.QLabel(
            _(
                "The output folder then holds the model: choose it in RAREUNet Segment, Model, 'From a folder...'."
            )
        )
        for widget in (text, self.commandEdit, self.copyButton, after):
            self.layout.addWidget(widget)
        for label in (text, after):
            label.wordWrap = True
        self.layout.addStretch(1)

    def onCopy(self) -> None:
        qt.QApplication.clipboard().setText(self.commandEdit.toPlainText())
        slicer.util.showStatusMessage(_("The command was copied."), 3000)


class RAREUNetTrainingLogic(ScriptedLoadableModuleLogic):
    """The command that trains."""

    def command(self, output: str = "OUTPUT_FOLDER", data: str = "DATA_FOLDER") -> str:
        """Command line that trains with the example configuration."""
        config = Path(__file__).parent / "Scripts" / "hippocampus.toml"
        return f'python -m rareunet_training fit --config "{config}" --output "{output}" "data.folder={data}"'


class RAREUNetTrainingTest(ScriptedLoadableModuleTest):
    """Self test, in Slicer by "Reload and Test"."""

    def runTest(self) -> None:
        self.test_command()

    def test_command(self) -> None:
        """The command names a configuration that is there."""
        command = RAREUNetTrainingLogic().command()
        assert Path(command.split('"')[1]).is_file()
        self.delayDisplay("Test passed")
