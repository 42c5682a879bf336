"""RAREUNet Training: the module's panel, its logic for the console, and its self test.

Training, checking and installing are processes of their own; the panel looks at the files that they leave.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import ctk
import qt
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

if str(Path(__file__).parent) not in sys.path:  # RAREUNetTrainingLib lies beside this file
    sys.path.insert(0, str(Path(__file__).parent))
if (
    str(Path(__file__).parents[1] / "RAREUNetSegment") not in sys.path
):  # in a source tree, rareunet lies there
    sys.path.append(str(Path(__file__).parents[1] / "RAREUNetSegment"))

from rareunet_training.configuration import FitConfig
from rareunet_training.setting_rules import CHOICES
from RAREUNetSegmentLib.choices import Device
from RAREUNetSegmentLib.dependencies import ensure_packages, torch_installer
from RAREUNetTrainingLib import panel_state, training_packages
from RAREUNetTrainingLib.check_display import CheckDisplay
from RAREUNetTrainingLib.structures_table import StructuresTable
from RAREUNetTrainingLib.training_choice import (
    TrainingChoice,
    described_data,
    proposed_patch,
    structure,
    structures_from_text,
    structures_to_text,
    text_of,
)
from RAREUNetTrainingLib.training_curves import TrainingCurves
from RAREUNetTrainingLib.training_report import copy_report, training_report
from RAREUNetTrainingLib.training_run import last_error
from RAREUNetTrainingLib.training_session import RunStatus, TrainingSession
from RAREUNetTrainingLib.training_tasks import Tasks

POLL_MILLISECONDS = 1000
LAST_OUTPUT_KEY = "RAREUNetTraining/OutputFolder"


class RAREUNetTraining(ScriptedLoadableModule):
    """Describes the module to Slicer."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("RAREUNet Training")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["RAREUNetSegment", "Plots", "Tables"]
        self.parent.contributors = ["The RAREUNet developers"]
        self.parent.helpText = _(
            "<p>Trains a RARE-UNet model on a folder of scans and label maps. <i>Check</i> looks through them first."
            " The training runs as a process of its own: Slicer can be used, or closed, meanwhile. The finished model"
            " can then be used in the module RAREUNet Segment.</p><p>No scan leaves this computer.</p>"
        )
        self.parent.acknowledgementText = _(
            "Method: S. W. Albertsen, H. S. Bjørnstrup, M. Mehdipour Ghazi: RARE-UNet: Resolution-Aligned Routing"
            " Entry for Adaptive Medical Image Segmentation, 2025."
        )


@parameterNodeWrapper
class RAREUNetTrainingParameterNode:
    """The panel's state, saved with the scene; see TrainingChoice. structures is a line of JSON."""

    dataFolder: str
    labelsFolder: str
    outputFolder: str
    configFile: str
    modelName: str = "my-model"
    structures: str = "[]"
    channels: str
    referenceSpacing: str = "1 x 1 x 1"
    patch: str = "64 x 64 x 64"
    epochs: Annotated[int, WithinRange(1, 100_000)] = 100
    device: Device = Device.AUTO
    batchSize: Annotated[int, WithinRange(1, 1024)] = FitConfig.batch_size
    precision: Annotated[str, Choice(CHOICES["fit.precision"])] = FitConfig.precision
    patience: Annotated[int, WithinRange(0, 100_000)] = FitConfig.patience


class RAREUNetTrainingWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: RAREUNetTrainingLogic | None = None
        self._parameterNode: Any = None
        self._parameterNodeGuiTag: Any = None
        self._parameterNodeTag: Any = None
        self._filledIn: dict[str, str] = {}
        self._setAside: dict[str, Any] = {}
        self._shownLog = ""

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/RAREUNetTraining.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = RAREUNetTrainingLogic()
        self.curves = TrainingCurves()
        self.checkDisplay = CheckDisplay(self.ui)
        self.structuresTable = StructuresTable(self.ui.structuresTable, self.onStructuresChanged)
        self.pathEdits = {
            "dataFolder": self.ui.dataFolderEdit,
            "labelsFolder": self.ui.labelsFolderEdit,
            "outputFolder": self.ui.outputFolderEdit,
            "configFile": self.ui.configFileEdit,
        }
        for name, edit in self.pathEdits.items():
            kind = ctk.ctkPathLineEdit.Files if name == "configFile" else ctk.ctkPathLineEdit.Dirs
            edit.filters = kind | ctk.ctkPathLineEdit.Readable
            edit.connect("currentPathChanged(QString)", partial(self.onPathChanged, name))
            edit.connect("validInputChanged(bool)", partial(self.onPathValid, name))
        self.timer = qt.QTimer()
        self.timer.setInterval(POLL_MILLISECONDS)
        self.timer.connect("timeout()", self.poll)
        for button, slot in (
            (self.ui.checkButton, self.onCheck),
            (self.ui.installButton, self.onInstall),
            (self.ui.startButton, self.onStart),
            (self.ui.stopButton, self.onStop),
            (self.ui.showCurvesButton, self.curves.show),
            (self.ui.useModelButton, self.onUseModel),
            (self.ui.copyReportButton, self.onCopyReport),
            (self.ui.addStructureButton, self.structuresTable.add),
            (self.ui.removeStructureButton, self.structuresTable.removeCurrent),
        ):
            button.connect("clicked()", slot)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneChanged)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneChanged)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """A training goes on; the panel finds it again by its output folder."""
        self.timer.stop()
        self.logic.tasks.abandon()
        self.curves.remove()
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self) -> None:
        self.initializeParameterNode()

    def onSceneStartClose(self, caller: Any = None, event: Any = None) -> None:
        self._setAside = {}  # of this scene, not of the next one
        self.setParameterNode(None)

    def onSceneChanged(self, caller: Any = None, event: Any = None) -> None:
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Takes up the scene's parameter node, and in a new one the run of the last time."""
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.outputFolder:
            self._parameterNode.outputFolder = slicer.app.userSettings().value(LAST_OUTPUT_KEY) or ""

    def setParameterNode(self, parameterNode: RAREUNetTrainingParameterNode | None) -> None:
        """Connects the panel to a parameter node, or to none."""
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self._parameterNode.RemoveObserver(self._parameterNodeTag)
        self._parameterNode = parameterNode
        if parameterNode:
            self._parameterNodeGuiTag = parameterNode.connectGui(self.ui)
            # Not by VTKObservationMixin, which never lets go of what it has observed.
            modified = vtk.vtkCommand.ModifiedEvent
            self._parameterNodeTag = parameterNode.AddObserver(modified, self.onParametersChanged)
            self.onParametersChanged()

    def onPathChanged(self, name: str, path: str) -> None:
        if self._parameterNode and getattr(self._parameterNode, name) != path:
            setattr(self._parameterNode, name, path)
            if name == "dataFolder":
                self._fillIn(*described_data(path))

    def onPathValid(self, name: str, isValid: bool) -> None:
        """An emptied field counts as invalid input, and tells of no changed path (ctkPathLineEdit.cpp)."""
        if not isValid:
            self.onPathChanged(name, "")

    def onStructuresChanged(self) -> None:
        if self._parameterNode:
            self._parameterNode.structures = structures_to_text(self.structuresTable.structures())

    def onParametersChanged(self, caller: Any = None, event: Any = None) -> None:
        """Brings everything that the panel says in line with what is chosen."""
        parameters = self._parameterNode
        for name, edit in self.pathEdits.items():
            if edit.currentPath != getattr(parameters, name):
                edit.currentPath = getattr(parameters, name)
        self.structuresTable.show(structures_from_text(parameters.structures))
        if self.logic.look(parameters.outputFolder):
            self.curves.remove()
            self._takeOver(self.logic.status())
        self.poll()

    def _takeOver(self, status: RunStatus) -> None:
        """What Resume changes begins with what the run has; in another folder what was chosen before counts again."""
        parameters = self._parameterNode
        chosen, self._setAside = self._setAside, {}
        for name, value in chosen.items():
            setattr(parameters, name, value)
        if not (status.canResume or status.running):
            return
        self._setAside = {"epochs": parameters.epochs, "device": parameters.device}
        parameters.epochs = status.epochs or parameters.epochs
        if status.device and not status.hasOwnDevice:
            parameters.device = Device(status.device)

    def poll(self) -> None:
        """Shows how far everything is; once a second while something runs."""
        if not self._parameterNode:
            return
        # A task's end may rebuild the table that an open dialog belongs to.
        if qt.QApplication.activeModalWidget() is None:
            self.logic.tasks.finish()
        status = self.logic.status()
        choice = TrainingChoice.of(self._parameterNode)
        panel_state.show_fields(self.ui, choice, status)
        panel_state.show_status(self.ui, status)
        panel_state.show_buttons(self.ui, choice, status, self.logic.tasks.kind, self.logic.missingPackages)
        self._showLog()
        self.curves.update(status.rows, bring_up=status.running)
        self.timer.start() if status.running or self.logic.tasks.kind else self.timer.stop()

    def _showLog(self) -> None:
        log = self.logic.log()
        if log != self._shownLog:
            self._shownLog = log
            self.ui.logEdit.setPlainText(log)
            bar = self.ui.logEdit.verticalScrollBar()
            bar.setValue(bar.maximum)

    def onCheck(self) -> None:
        with self._shown(_("The scans could not be checked.")):
            self._rememberPaths()
            self.checkDisplay.clear()
            choice = TrainingChoice.of(self._parameterNode)
            self.logic.tasks.check(choice, partial(self.onChecked, choice))

    def onChecked(self, choice: TrainingChoice, code: int) -> None:
        """Shows the report, and fills in what it proposes where nobody has written something else."""
        report = self.logic.tasks.report()
        if report is None:
            self.checkDisplay.show_failed(choice, self.logic.tasks.output())
            return
        self.checkDisplay.show(report, self.logic.tasks.page)
        self._fillIn(
            [structure(label.value, label.name, label.color) for label in report.proposed_labels],
            report.proposed_channels,
            text_of(report.proposed_reference_spacing_mm or ()),
        )
        self._fillIn([], [], patch=proposed_patch(report, self._parameterNode.referenceSpacing))

    def _fillIn(self, structures: Any, channels: Any, spacing: str = "", patch: str = "") -> None:
        """Sets what is still as it was made, or as it was filled in before."""
        proposals = {
            "structures": structures_to_text(structures) if structures else "",
            "channels": ", ".join(channels),
            "referenceSpacing": spacing,
            "patch": patch,
        }
        for name, text in proposals.items():
            untouched = (self._parameterNode.default(name).value, self._filledIn.get(name))
            if text and getattr(self._parameterNode, name) in untouched:
                self._filledIn[name] = text
                setattr(self._parameterNode, name, text)

    def onInstall(self) -> None:
        question = _(
            "Install into Slicer's Python: {names}? This needs the internet and may take minutes. The"
            " packages that came with Slicer stay as they are; PyTorch, where it is missing, is installed by its own"
            " extension."
        ).format(names=", ".join(self.logic.missingPackages))
        with self._shown(_("The packages could not be installed.")):
            torch_installer()  # what is in PyTorch's way is told instead of a question that leads nowhere
            if slicer.util.confirmOkCancelDisplay(question):
                ensure_packages()  # PyTorch by its own extension, and what segmenting needs
                self.logic.tasks.install(self.onInstalled)

    def onInstalled(self, code: int) -> None:
        self.logic.missingPackages = training_packages.missing_packages()
        if code:
            output = self.logic.tasks.output()
            text = _("The packages could not be installed: {message}").format(message=last_error(output))
            slicer.util.errorDisplay(text, detailedText=output)

    def onStart(self) -> None:
        with self._shown(_("The training could not be started.")):
            self._rememberPaths()
            slicer.app.userSettings().setValue(LAST_OUTPUT_KEY, self._parameterNode.outputFolder)
            self.logic.startTraining(TrainingChoice.of(self._parameterNode))
            self.curves.remove()

    @contextmanager
    def _shown(self, message: str) -> Iterator[None]:
        """Shows an error, and in any case how things stand then."""
        try:
            with slicer.util.tryWithErrorDisplay(message):
                yield
        finally:
            self.poll()

    def _rememberPaths(self) -> None:
        for edit in self.pathEdits.values():
            if edit.currentPath:
                edit.blockSignals(True)  # it shows another path of the history for a moment
                edit.addCurrentPathToHistory()
                edit.blockSignals(False)

    def onStop(self) -> None:
        question = _(
            "The training does not react. End it at once? What it did since the last checkpoint is lost."
        )
        if not self.logic.status().isSlowToStop or slicer.util.confirmOkCancelDisplay(question):
            with self._shown(_("The training could not be stopped.")):
                self.logic.stopTraining()

    def onCopyReport(self) -> None:
        copy_report(training_report(self.logic.session))

    def onUseModel(self) -> None:
        with slicer.util.tryWithErrorDisplay(_("The model could not be used."), waitCursor=True):
            self.logic.useModel(self.logic.status().bundle)


class RAREUNetTrainingLogic(ScriptedLoadableModuleLogic):
    """Trains without a panel.

    In the Python console:

        from RAREUNetTraining import RAREUNetTrainingLogic
        logic = RAREUNetTrainingLogic()
        logic.look("/data/runs/own")
        logic.startTraining(choice)  # a RAREUNetTrainingLib.training_choice.TrainingChoice
        logic.status().text
    """

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.tasks = Tasks(slicer.app.temporaryPath)
        self.session: TrainingSession | None = None
        self._started: dict[str, TrainingSession] = {}  # by output folder; they know their processes
        self.missingPackages = training_packages.missing_packages()

    def getParameterNode(self) -> RAREUNetTrainingParameterNode:
        return RAREUNetTrainingParameterNode(super().getParameterNode())

    def look(self, outputFolder: str) -> bool:
        """Turns to an output folder, '' for none; whether it is another one than before."""
        known = self.session.folder if self.session else ""
        if outputFolder != known:
            new = TrainingSession(outputFolder) if outputFolder else None
            self.session = self._started.get(outputFolder, new)
        return outputFolder != known

    def startTraining(self, choice: TrainingChoice) -> None:
        """Starts or goes on in the choice's output folder; see TrainingSession.start."""
        self.look(choice.output_folder)
        if self.session is None:
            raise ValueError(choice.obstacle())
        self.session.start(choice)
        self._started[choice.output_folder] = self.session

    def stopTraining(self) -> None:
        if self.session is not None:
            self.session.stop()

    def status(self) -> RunStatus:
        return self.session.status() if self.session else RunStatus()

    def log(self) -> str:
        """The end of what the last process wrote: of the task that runs, else of the training."""
        if self.tasks.kind or self.session is None:
            return self.tasks.output()
        return self.session.run.log()

    def useModel(self, folder: str) -> None:
        """Chooses a bundle in RAREUNet Segment and goes there.

        Raises:
            BundleError: it is not whole.
        """
        from rareunet.bundle import Bundle

        Bundle.load(folder)
        slicer.util.selectModule("RAREUNetSegment")
        slicer.util.getModuleWidget("RAREUNetSegment").logic.getParameterNode().model = folder


class RAREUNetTrainingTest(ScriptedLoadableModuleTest):
    """Self test, in Slicer by "Reload and Test"."""

    def test_obstacles(self) -> None:
        """An empty choice says what is missing first."""
        choice = TrainingChoice("", "", "", "own", (), (), "1 x 1 x 1", "32 x 32 x 32", 1, "cpu")
        assert choice.obstacle() == _("Choose the folder of the scans.")

    def test_curves(self) -> None:
        """Two epochs, the second one validated, become a chart that goes again."""
        curves = TrainingCurves()
        rows = [{"epoch": 1, "loss total": 0.9}, {"epoch": 2, "loss total": 0.7, "dice scale 1": 0.5}]
        curves.update(rows, bring_up=True)
        chart = slicer.util.getFirstNodeByClassByName("vtkMRMLPlotChartNode", "RAREUNet training")
        assert chart.GetNumberOfPlotSeriesNodes() == 2
        curves.remove()
        assert slicer.mrmlScene.GetNodeByID(chart.GetID() or "") is None
        self.delayDisplay("Test passed")
