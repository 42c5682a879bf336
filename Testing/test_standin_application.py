"""Files, rendering, module loading, packages and script runs of the stand-in."""

import pathlib
import subprocess
import sys
import textwrap

import numpy as np
import pytest

MODULE = """
import qt, slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import *


class Demo(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Demo")


class DemoWidget(ScriptedLoadableModuleWidget):
    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        box = qt.QGroupBox("Inputs")
        self.layout.addWidget(box)
        form = qt.QFormLayout(box)
        self.selector = slicer.qMRMLNodeComboBox()
        self.selector.setMRMLScene(slicer.mrmlScene)
        form.addRow("Volume:", self.selector)
        self.applyButton = qt.QPushButton("Apply")
        self.layout.addWidget(self.applyButton)
        self.applyButton.connect("clicked(bool)", self.onApply)
        self.log = []

    def onApply(self):
        with slicer.util.tryWithErrorDisplay("Failed.", waitCursor=True):
            raise RuntimeError("no volume")

    def enter(self):
        self.log.append("enter")

    def cleanup(self):
        self.log.append("cleanup")


class DemoTest(ScriptedLoadableModuleTest):
    def test_nothing(self):
        slicer.demoTestRan = True
"""


@pytest.fixture
def demo(slicer_app, tmp_path):
    import standin

    (tmp_path / "Demo.py").write_text(MODULE)
    module = standin.load_module(tmp_path / "Demo.py")
    yield module
    standin.unload_module(module)


def labelled_volume():
    """A 20 x 24 x 28 (K, J, I) volume with two cubes, and a segmentation of them."""
    import slicer

    voxels = np.random.default_rng(0).integers(0, 100, (20, 24, 28)).astype(np.int16)
    labels = np.zeros_like(voxels, dtype=np.uint8)
    labels[5:15, 6:18, 4:12], labels[5:15, 6:18, 16:24] = 1, 2
    volume = slicer.util.addVolumeFromArray(voxels, name="scan")
    label_volume = slicer.util.addVolumeFromArray(labels, nodeClassName="vtkMRMLLabelMapVolumeNode")
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "seg")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(label_volume, segmentation)
    slicer.mrmlScene.RemoveNode(label_volume)
    return volume, segmentation


def colour_count(path):
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    reader = vtk.vtkPNGReader()
    reader.SetFileName(str(path))
    reader.Update()
    pixels = vtk_to_numpy(reader.GetOutput().GetPointData().GetScalars())
    return len(np.unique(pixels.reshape(len(pixels), -1), axis=0))


def test_save_and_load_volume_and_segmentation(slicer_app, tmp_path):
    import slicer

    volume, segmentation = labelled_volume()
    array = slicer.util.arrayFromVolume(volume).copy()
    assert slicer.util.saveNode(volume, str(tmp_path / "scan.nii.gz"))
    assert slicer.util.saveNode(segmentation, str(tmp_path / "scan.seg.nrrd"))
    slicer.mrmlScene.Clear(0)
    loaded = slicer.util.loadVolume(tmp_path / "scan.nii.gz")
    loaded_segmentation = slicer.util.loadSegmentation(tmp_path / "scan.seg.nrrd")
    assert slicer.util.arrayFromVolume(loaded).sum() == array.sum()
    ids = loaded_segmentation.GetSegmentation().GetSegmentIDs()
    counts = [
        int(slicer.util.arrayFromSegmentBinaryLabelmap(loaded_segmentation, i, loaded).sum()) for i in ids
    ]
    assert counts == [960, 960]
    with pytest.raises(RuntimeError, match="Failed to load"):
        slicer.util.loadVolume(tmp_path / "missing.nii")


def test_nodes_have_subject_hierarchy_items(slicer_app):
    import slicer

    volume, _ = labelled_volume()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    assert hierarchy.GetItemByDataNode(volume)
    slicer.mrmlScene.RemoveNode(volume)
    assert not hierarchy.GetItemByDataNode(volume)


def test_render_slice_and_3d(slicer_app, tmp_path):
    from standin import rendering

    volume, segmentation = labelled_volume()
    for orientation in ("Axial", "Sagittal", "Coronal"):
        path = rendering.render_slice(volume, tmp_path / f"{orientation}.png", orientation, (8, 12, 10))
        assert colour_count(path) > 50
    segmentation.CreateClosedSurfaceRepresentation()
    assert colour_count(rendering.render_3d(tmp_path / "3d.png")) > 50


def test_module_panel(demo, slicer_app, tmp_path):
    import slicer

    from standin import rendering

    panel = demo.widgetRepresentation()
    assert demo.title == "Demo"
    assert panel.self() is slicer.modules.DemoWidget
    slicer.util.selectModule("Demo")
    assert panel.self().log == ["enter"]
    panel.self().applyButton.click()
    assert [(d.kind, d.text) for d in slicer_app.dialogs] == [("error", "Failed.\n\nno volume")]
    assert "RuntimeError" in slicer_app.dialogs[0].detail
    assert str(slicer_app.takeSlotExceptions()[0]) == "no volume"
    assert colour_count(rendering.grab_widget(panel, tmp_path / "panel.png")) > 10
    first = panel.self()
    first.onReload()
    assert first.log[-1] == "cleanup"
    assert panel.self() is not first
    slicer.selfTests["Demo"]()
    assert slicer.demoTestRan


def test_confirmation_answers(slicer_app):
    import slicer

    slicer_app.dialogAnswers.append(False)
    assert not slicer.util.confirmOkCancelDisplay("Delete?")
    assert slicer.util.confirmOkCancelDisplay("Delete?")
    assert [d.kind for d in slicer_app.dialogs] == ["question", "question"]


def test_packaging_records_and_torch_may_be_missing(slicer_app, tmp_path):
    import PyTorchUtils
    import slicer
    import slicer.packaging

    (tmp_path / "requirements.txt").write_text("# comment\nnibabel>=5\n--no-cache\n")
    slicer.packaging.missing.add("nibabel")
    requirements = slicer.packaging.load_requirements(tmp_path / "requirements.txt")
    assert not slicer.packaging.pip_check(requirements)
    slicer.packaging.pip_ensure(requirements, requester="RAREUNet")
    assert slicer.packaging.pip_check(requirements)
    assert slicer.packaging.calls[0].requirements == ("nibabel>=5",)
    slicer.packaging.set_torch_present(False)
    slicer_app.dialogAnswers.append(False)
    logic = PyTorchUtils.PyTorchUtilsLogic()
    assert not logic.torchInstalled()
    assert logic.installTorch(askConfirmation=True) is None


@pytest.mark.parametrize(
    ("script", "options", "code"),
    [
        ("import sys, slicer; assert slicer.app.layoutManager() is None; sys.exit(3)", [], 3),
        ("import slicer; slicer.util.exit(4)", [], 4),
        ("import sys; sys.exit(len(sys.argv))", [], 3),
        ("raise ValueError('lost')", [], 99),
        ("x = 1", [], 99),
        ("raise ValueError('lost')", ["--testing"], 1),
        ("x = 1", ["--testing"], 0),
    ],
)
def test_run_script_exit_codes(tmp_path, script, options, code):
    (tmp_path / "script.py").write_text(textwrap.dedent(script))
    command = [sys.executable, "-m", "standin.run_script", *options, str(tmp_path / "script.py"), "--", "a"]
    done = subprocess.run(
        command, cwd=pathlib.Path(__file__).parent, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == code, done.stderr
    if code == 99:
        assert "Slicer would keep running now" in done.stderr
