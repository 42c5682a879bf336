"""Parameter nodes of the stand-in: values in the scene, connected widgets; Slicer's own tests where
SLICER_SRC is set.
"""

import enum
import os
import pathlib
import subprocess
import sys
from typing import Annotated

import pytest

OWN_TESTS = (
    "test_slicer_parameter_node_wrapper",
    "test_slicer_parameter_pack",
    "test_slicer_parameter_node_wrapper_gui_creation",
)


class Device(enum.Enum):
    CPU = 1
    GPU = 2


def make_wrapper():
    import slicer
    from slicer.parameterNodeWrapper import Choice, Default, WithinRange, parameterNodeWrapper

    @parameterNodeWrapper
    class Parameters:
        volume: slicer.vtkMRMLScalarVolumeNode
        segmentation: slicer.vtkMRMLSegmentationNode | None = None
        name: str = "left"
        threshold: Annotated[float, WithinRange(0, 1)] = 0.5
        folds: Annotated[int, Default(5)]
        smooth: bool = True
        device: Device = Device.GPU
        folder: pathlib.Path = pathlib.Path("/tmp")
        seed: int | None = None
        preset: Annotated[str, Choice(["fast", "exact"])] = "fast"

    node = slicer.mrmlScene.GetSingletonNode("Test", "vtkMRMLScriptedModuleNode")
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "Test")
        node.SetSingletonTag("Test")
    return Parameters(node)


def test_defaults_and_texts_in_the_node(slicer_app):
    parameters = make_wrapper()
    assert (parameters.volume, parameters.name, parameters.threshold, parameters.folds) == (
        None,
        "left",
        0.5,
        5,
    )
    assert (parameters.smooth, parameters.device, parameters.seed) == (True, Device.GPU, None)
    node = parameters.parameterNode
    assert (node.GetParameter("smooth"), node.GetParameter("device")) == ("True", "GPU")
    assert node.HasParameter("seed.1")
    assert not node.HasParameter("seed.0")
    parameters.seed = 3
    assert node.GetParameter("seed.0") == "3"
    assert not node.HasParameter("seed.1")


def test_round_trip_through_saved_scene(slicer_app, tmp_path):
    import numpy as np
    import slicer

    parameters = make_wrapper()
    parameters.volume = slicer.util.addVolumeFromArray(np.zeros((2, 3, 4)), name="v")
    parameters.threshold, parameters.device, parameters.seed = 0.25, Device.CPU, 7
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(1)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    loaded = make_wrapper()
    assert loaded.volume.GetName() == "v"
    assert (loaded.threshold, loaded.device, loaded.seed) == (0.25, Device.CPU, 7)


def test_invalid_values_and_types_raise(slicer_app):
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    parameters = make_wrapper()
    for name, value in (("threshold", 2.0), ("name", None), ("folds", "5"), ("preset", "other")):
        with pytest.raises((ValueError, TypeError)):
            setattr(parameters, name, value)
    if not os.environ.get("SLICER_SRC"):
        with pytest.raises(TypeError, match="does not support"):

            @parameterNodeWrapper
            class Unsupported:
                values: complex


def test_connect_gui_both_ways_and_disconnect(slicer_app):
    import ctk
    import qt
    import slicer

    parameters, panel = make_wrapper(), qt.QWidget()
    widgets = {
        "volume": slicer.qMRMLNodeComboBox(panel),
        "name": qt.QLineEdit(panel),
        "threshold": ctk.ctkSliderWidget(panel),
        "folds": qt.QSpinBox(panel),
        "smooth": qt.QCheckBox(panel),
        "device": qt.QComboBox(panel),
        "folder": ctk.ctkPathLineEdit(panel),
        "preset": ctk.ctkComboBox(panel),
    }
    widgets["volume"].setMRMLScene(slicer.mrmlScene)
    for name, widget in widgets.items():
        widget.setProperty("SlicerParameterName", name)
    tag = parameters.connectGui(panel)
    assert widgets["threshold"].value == 0.5
    assert widgets["device"].currentText == "GPU"
    widgets["threshold"].value = 0.75
    widgets["device"].currentIndex = 0
    widgets["smooth"].checked = False
    widgets["folder"].currentPath = "/data"
    widgets["preset"].currentIndex = 1
    assert (parameters.threshold, parameters.device, parameters.smooth) == (0.75, Device.CPU, False)
    assert (parameters.folder, parameters.preset) == (pathlib.Path("/data"), "exact")
    parameters.volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "v")
    parameters.name = "right"
    assert widgets["volume"].currentNode() is parameters.volume
    assert widgets["name"].text == "right"
    parameters.disconnectGui(tag)
    widgets["name"].text = "ignored"
    assert parameters.name == "right"


@pytest.mark.parametrize("name", OWN_TESTS)
def test_slicers_own_tests(name):
    source = os.environ.get("SLICER_SRC")
    if not source:
        pytest.skip(
            "SLICER_SRC is not set to a Slicer source tree: Slicer's own parameter node tests did not run"
        )
    code = (
        "import sys, os, unittest, standin; standin.start();"
        f"sys.path.insert(0, {source + '/Base/Python/slicer/tests'!r});"
        f"s = unittest.defaultTestLoader.loadTestsFromName({name!r});"
        "r = unittest.TextTestRunner().run(s); sys.stderr.flush();"
        "os._exit(0 if r.wasSuccessful() and r.testsRun else 1)"
    )
    folder = pathlib.Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-4000:]
