"""RAREUNet Segment: the module's panel, its logic for the console, and its self test."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import slicer
import slicer.util
import vtk
from slicer import vtkMRMLMarkupsROINode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

if str(Path(__file__).parent) not in sys.path:  # rareunet and RAREUNetSegmentLib lie beside this file
    sys.path.insert(0, str(Path(__file__).parent))

from rareunet.bundle import Bundle
from rareunet.wording import capital
from RAREUNetSegmentLib import dependencies, models, outlook, region, samples, scene, segments, volumes
from RAREUNetSegmentLib.choices import Device, EntryDepth, depth_number, structure_names
from RAREUNetSegmentLib.model_choice import ModelChoice
from RAREUNetSegmentLib.run import Failed, Finished, Run
from RAREUNetSegmentLib.run_display import RunDisplay
from RAREUNetSegmentLib.run_request import Request
from RAREUNetSegmentLib.structure_list import StructureList, chosen, left_out, with_left_out
from RAREUNetSegmentLib.worker_client import shared_worker


class RAREUNetSegment(ScriptedLoadableModule):
    """Describes the module to Slicer."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("RAREUNet Segment")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Segmentations", "Terminologies", "Markups"]
        self.parent.contributors = ["The RAREUNet developers"]
        self.parent.helpText = _(
            "<p>Segments a scan at the resolution it has: a network with one entrance per voxel size, chosen for each"
            " axis. The line above <i>Apply</i> says what will happen, the text under it what was done.</p>"
            "<p>All computation runs on this computer; no data leaves it. For research only, not for diagnosis.</p>"
        )
        self.parent.acknowledgementText = _(
            "Method: S. W. Albertsen, H. S. Bjørnstrup, M. Mehdipour Ghazi: RARE-UNet: Resolution-Aligned Routing Entry"
            " for Adaptive Medical Image Segmentation, 2025. The hippocampus model was trained on Task04_Hippocampus"
            " of the Medical Segmentation Decathlon (Vanderbilt University Medical Center, CC-BY-SA 4.0)."
        )
        slicer.app.connect("startupCompleted()", samples.register_sample_scans)


@parameterNodeWrapper
class RAREUNetSegmentParameterNode:
    """The panel's state, saved with the scene.

    inputVolume, channel2..channel4 - the scan; the further channels of models that need several.
    regionOfInterest - part of the scan to segment; None for all of it.
    model - name of an installed model, or a bundle's folder or bundle.json.
    outputSegmentation - where to; None makes a new node.
    leftOut - structures that the segmentation is not to hold, see structure_list.left_out.
    device, entryDepth, memoryGb, force - see RAREUNetSegmentLogic.process.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    channel2: vtkMRMLScalarVolumeNode
    channel3: vtkMRMLScalarVolumeNode
    channel4: vtkMRMLScalarVolumeNode
    regionOfInterest: vtkMRMLMarkupsROINode
    model: str = "hippocampus"
    outputSegmentation: vtkMRMLSegmentationNode
    leftOut: str = "{}"
    device: Device = Device.AUTO
    entryDepth: EntryDepth = EntryDepth.AUTO
    memoryGb: Annotated[float, WithinRange(0, 1024)] = 0.0
    force: bool = False


class RAREUNetSegmentWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: RAREUNetSegmentLogic | None = None
        self._parameterNode: Any = None
        self._parameterNodeGuiTag: Any = None
        self._parameterNodeTag: Any = None
        self._followedNodes: list[Any] = []
        self._followedTags: list[tuple[Any, int]] = []
        self._facts: Bundle | None = None
        self._run: Run | None = None

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/RAREUNetSegment.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = RAREUNetSegmentLogic()
        self.modelChoice = ModelChoice(self.ui, self.onModelChosen)
        self.structureList = StructureList(self.ui.structuresList, self.onStructuresChanged)
        self.runDisplay = RunDisplay(self.ui)

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneChanged)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneChanged)
        self.ui.allStructuresButton.connect("clicked(bool)", lambda clicked: self.structureList.tickAll(True))
        self.ui.noStructuresButton.connect("clicked(bool)", lambda clicked: self.structureList.tickAll(False))
        self.ui.placeRegionButton.connect("clicked(bool)", self.onPlaceRegion)
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        self.ui.cancelButton.connect("clicked(bool)", self.onCancel)
        self.ui.volumesTableButton.connect("clicked(bool)", self.onVolumesTable)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        self._cancelRun()
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self) -> None:
        self.modelChoice.fill()  # others may have been imported elsewhere
        self.initializeParameterNode()

    def exit(self) -> None:
        self.setParameterNode(None)

    def onSceneStartClose(self, caller: Any = None, event: Any = None) -> None:
        self._cancelRun()
        self.setParameterNode(None)

    def onSceneChanged(self, caller: Any = None, event: Any = None) -> None:
        """Another scene, or one that was added to this one, brings choices of its own."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Takes up the scene's parameter node, and the first scan where none is chosen."""
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputVolume:
            scans = (  # label maps and colour images are of classes derived from this one
                node
                for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
                if node.GetClassName() == "vtkMRMLScalarVolumeNode"
            )
            self._parameterNode.inputVolume = next(scans, None)

    def setParameterNode(self, parameterNode: RAREUNetSegmentParameterNode | None) -> None:
        """Connects the panel to a parameter node, or to none."""
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self._parameterNode.RemoveObserver(self._parameterNodeTag)
        self._parameterNode = parameterNode
        if parameterNode:
            self._parameterNodeGuiTag = parameterNode.connectGui(self.ui)
            # Not by VTKObservationMixin, which never lets go of what it has observed, such as a scan.
            modified = vtk.vtkCommand.ModifiedEvent
            self._parameterNodeTag = parameterNode.AddObserver(modified, self.onParametersChanged)
        self.onParametersChanged()

    def onModelChosen(self, model: str) -> None:
        if self._parameterNode:
            self._parameterNode.model = model

    def onStructuresChanged(self, leftOut: list[str]) -> None:
        parameters = self._parameterNode
        if parameters:
            parameters.leftOut = with_left_out(parameters.leftOut, parameters.model, leftOut)

    def onPlaceRegion(self) -> None:
        with slicer.util.tryWithErrorDisplay(_("The region of interest could not be placed.")):
            parameters = self._parameterNode
            parameters.regionOfInterest = region.place_region(
                parameters.inputVolume, self._facts.field_of_view_mm["largest"], parameters.regionOfInterest
            )

    def onParametersChanged(self, caller: Any = None, event: Any = None) -> None:
        """Brings everything that the panel says in line with what is chosen."""
        self._followNodes()
        if self._parameterNode:
            self._forgetForeignOutput()
            self._showModel()
        self._showOutlook()

    def _followNodes(self) -> None:
        """Watches the chosen scan and region, whose geometry the line above Apply depends on."""
        parameters = self._parameterNode
        nodes = [parameters.inputVolume, parameters.regionOfInterest] if parameters else []
        nodes = [node for node in nodes if node]
        if nodes == self._followedNodes:
            return
        for node, tag in self._followedTags:
            node.RemoveObserver(tag)
        self._followedTags = [
            (node, node.AddObserver(event, self._onGeometryChanged))
            for node in nodes
            for event in scene.geometry_events(node)
        ]
        self._followedNodes = nodes

    def _onGeometryChanged(self, caller: Any = None, event: Any = None) -> None:
        self._showOutlook()

    def _forgetForeignOutput(self) -> None:
        """Another scan was chosen: its result must not replace that of the one before."""
        parameters = self._parameterNode
        if slicer.mrmlScene.IsImporting():  # its nodes come one by one, and are not connected yet
            return
        if segments.shows_another_scan(parameters.outputSegmentation, parameters.inputVolume):
            parameters.outputSegmentation = None

    def _showModel(self) -> None:
        name = self._parameterNode.model
        self.modelChoice.show(name)
        try:
            self._facts = models.read_model(name)
            self.ui.modelLabel.text = f"{self._facts.description} ({self._facts.name} {self._facts.version})"
        except ValueError as error:
            self._facts = None
            self.ui.modelLabel.text = capital(str(error))
        names = self._facts.channel_names if self._facts else ()
        for number in range(2, outlook.MOST_CHANNELS + 1):
            label, selector = (getattr(self.ui, f"channel{number}{part}") for part in ("Label", "Selector"))
            label.visible = selector.visible = number <= len(names)
            label.text = f"{names[number - 1]}:" if number <= len(names) else ""
        self.ui.inputLabel.text = f"{_('Scan')} ({names[0]}):" if names else _("Scan:")
        structures = self._facts.structure_names if self._facts else ()
        self.structureList.show(structures, left_out(self._parameterNode.leftOut, name))
        for name in ("structuresLabel", "structuresList", "allStructuresButton", "noStructuresButton"):
            getattr(self.ui, name).visible = len(structures) > 1

    def _showOutlook(self) -> None:
        """The lines above Apply, and whether Apply can be pressed."""
        missing, text = outlook.describe_choice(self._parameterNode, self._facts)
        self.ui.outlookLabel.text = text
        if self._run is not None:
            missing = _("A scan is being segmented: wait for it, or cancel it.")
        self.ui.applyButton.enabled = not missing
        self.ui.applyButton.toolTip = missing or _("Segment the scan")
        self.ui.placeRegionButton.enabled = bool(
            self._parameterNode and self._parameterNode.inputVolume and self._facts
        )

    def onApply(self) -> None:
        """Begins a run; it goes on while Slicer is used."""
        self.ui.applyButton.enabled = False  # questions about packages may follow, with events going on
        try:
            with slicer.util.tryWithErrorDisplay(_("The scan could not be segmented.")):
                self._startRun(self._parameterNode)
        finally:
            self._showOutlook()

    def _startRun(self, parameters: RAREUNetSegmentParameterNode) -> None:
        self.modelChoice.remember()
        channels = [getattr(parameters, f"channel{n}") for n in range(2, len(self._facts.channel_names) + 1)]
        run = self.logic.makeRun(
            [parameters.inputVolume, *channels],
            parameters.regionOfInterest,
            parameters.model,
            parameters.outputSegmentation,
            parameters.device.value,
            parameters.entryDepth.value,
            parameters.force,
            parameters.memoryGb,
            chosen(self._facts.structure_names, left_out(parameters.leftOut, parameters.model)),
        )
        self._run = run
        self.runDisplay.begin(run.request)
        try:
            run.start(self.runDisplay.progress, lambda done: self.onFinished(done, parameters), self.onFailed)
        except Exception:
            self._endRun()
            self.runDisplay.clear()
            raise

    def onCancel(self) -> None:
        if self._run is not None:
            self._cancelRun()
            self.runDisplay.show_message(_("Cancelled. The scene is as it was."))

    def onFinished(self, finished: Finished, parameters: RAREUNetSegmentParameterNode) -> None:
        self._endRun()
        self.runDisplay.show_finished(finished)
        follows = parameters.outputSegmentation in (None, finished.target)
        if follows and not segments.shows_another_scan(finished.node, parameters.inputVolume):
            parameters.outputSegmentation = finished.node

    def onVolumesTable(self) -> None:
        with slicer.util.tryWithErrorDisplay(_("The volumes could not be put into a table.")):
            volumes.show(self.logic.volumesTable(self.runDisplay.segmentationNode))

    def onFailed(self, failed: Failed) -> None:
        self._endRun()
        self.runDisplay.show_failed(failed)

    def _cancelRun(self) -> None:
        self.runDisplay.clear()
        if self._run is not None:
            self._run.cancel()
            self._endRun()

    def _endRun(self) -> None:
        self._run = None
        self._showOutlook()


class RAREUNetSegmentLogic(ScriptedLoadableModuleLogic):
    """Segments without a panel, in the worker process that all of Slicer shares and that keeps the model loaded.

    In the Python console:

        from RAREUNetSegment import RAREUNetSegmentLogic
        logic = RAREUNetSegmentLogic()
        segmentationNode = logic.process(slicer.util.getNode("MRHead"), regionOfInterest=slicer.util.getNode("R"))
    """

    def getParameterNode(self) -> RAREUNetSegmentParameterNode:
        return RAREUNetSegmentParameterNode(super().getParameterNode())

    def process(
        self,
        volumeNode: Any,
        regionOfInterest: Any = None,
        model: str = "hippocampus",
        outputSegmentation: Any = None,
        device: str = "auto",
        entryDepth: str | int = "auto",
        force: bool = False,
        memoryGb: float = 0.0,
        structures: Sequence[str] | None = None,
    ) -> Any:
        """Segments a scan and returns when it is done; Slicer's windows stay alive meanwhile.

        Args:
            volumeNode: a scalar volume node, or a list of them for a model with several channels, in its order.
            regionOfInterest: a markups ROI node; None for the whole scan.
            model: name of an installed model, or a bundle's folder.
            outputSegmentation: where to; this model's earlier segments of the same structures in it are replaced. None
                makes a new node, as do such segments that were edited or renamed, or that lie elsewhere than this
                region: they stay, and a warning says so.
            device: "auto", "cpu", "cuda", "cuda:1" or "mps".
            entryDepth: "auto", or the depth at which every axis enters.
            force: segment even where the field of view is far beyond what the model was trained on.
            memoryGb: memory that the network may use beside its weights, GB; 0 for most of what is free.
            structures: names of those that the segmentation is to hold; None for all that the model has.

        Returns:
            the segmentation node. Its attributes RAREUNet.* tell model, region, route, volumes, device and warnings.

        Raises:
            ValueError: the scan, the region, the model, a structure or the device can't be used, or another scan is
                being segmented; nothing in the scene was changed.
            MissingPackageError: a package is missing and was not installed.
            SegmentationError: it failed otherwise, with the scene unchanged; its `report` says more.
        """
        options = (model, outputSegmentation, device, entryDepth, force, memoryGb, structures)
        return self.makeRun(volumeNode, regionOfInterest, *options).wait().node

    def volumesTable(self, segmentationNode: Any) -> Any:
        """Volumes of the segments that this module made, as they are now: edited ones count as they were left.

        Args:
            segmentationNode: what process() returned.

        Returns:
            the table node, with the columns Segment, Volume (ml) and Voxels; the same one for the same segmentation.

        Raises:
            ValueError: there is no such segment, it is not stored as voxels, or lies under a non-linear transform.
        """
        return volumes.volumes_table(segmentationNode)

    def makeRun(
        self,
        volumeNode: Any,
        regionOfInterest: Any,
        model: str,
        outputSegmentation: Any,
        device: str,
        entryDepth: str | int,
        force: bool,
        memoryGb: float,
        structures: Sequence[str] | None,
    ) -> Run:
        """A run that is still to be started; takes what process() takes. Packages that are missing are installed."""
        dependencies.ensure_packages()  # first: while it asks and installs, the scene can change
        nodes = list(volumeNode) if isinstance(volumeNode, (list, tuple)) else [volumeNode]
        channels, box = scene.volumes_from_nodes(nodes), scene.region_from_node(regionOfInterest)
        if outputSegmentation is not None:
            scene.check_node("outputSegmentation", outputSegmentation, "vtkMRMLSegmentationNode")
        names = structure_names(structures)
        if names is not None and segments.shows_another_scan(outputSegmentation, nodes[0]):
            raise ValueError(
                f"{outputSegmentation.GetName()} holds segments of another scan, and those of structures that are not"
                " asked for would stay in it: choose another outputSegmentation, or None for a new one."
            )
        request = Request(
            channels, box, model, device, depth_number(entryDepth), force, memoryGb or None, names
        )
        return Run(shared_worker(), nodes, request, outputSegmentation)


class RAREUNetSegmentTest(ScriptedLoadableModuleTest):
    """Self test, in Slicer by "Reload and Test"."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def test_process(self) -> None:
        """Segments a sample scan where one is present, else a made one, and looks at the result."""
        if slicer.app.testingEnabled() and not dependencies.are_installed():
            self.delayDisplay("Skipped: packages are missing, and a test run installs none.")
            return
        self.delayDisplay("Segmenting a scan")
        path = samples.sample_scan()
        volume = slicer.util.loadVolume(str(path)) if path else self._makeScan()
        try:
            models.read_model("hippocampus")
        except ValueError as error:
            self.delayDisplay(f"Skipped: {error}")
            return
        node = RAREUNetSegmentLogic().process(volume, device="cpu")
        segmentation = node.GetSegmentation()
        self.assertEqual(segmentation.GetNumberOfSegments(), 2)
        self.assertEqual(node.GetAttribute("RAREUNet.Model"), "hippocampus")
        if path:
            self.assertTrue(all(segments.segment_voxel_counts(node).values()))
        self.assertEqual(RAREUNetSegmentLogic().volumesTable(node).GetNumberOfRows(), 2)
        self.delayDisplay("Test passed")

    def _makeScan(self) -> Any:
        volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "made scan")
        noise = np.random.default_rng(0).normal(100, 20, (36, 50, 35)).astype(np.float32)
        slicer.util.updateVolumeFromArray(volume, noise)
        return volume
