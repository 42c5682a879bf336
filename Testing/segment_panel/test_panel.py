"""The panel: opened as Slicer opens it, buttons clicked, texts read."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from new_slicer import in_a_new_slicer
from segment_helpers import (
    MODULE,
    FakePredictor,
    add_scan,
    finish_run,
    make_labels,
    save_tiny_model,
    scan_with_blobs,
)

PACKAGED_MODELS = """
import rareunet.bundle
from pathlib import Path
rareunet.bundle.PACKAGED_MODELS = Path({folder!r})
"""
CHOOSE_A_SCAN = """
from segment_helpers import add_scan, finish_run
panel._parameterNode.inputVolume = add_scan()
"""
SHOW_THE_LINE = """
print(panel.ui.outlookLabel.text)
assert panel.ui.applyButton.enabled
"""
APPLY = """
from RAREUNetSegmentLib.worker_client import shared_worker
panel.ui.applyButton.click()
finish_run(panel)
shared_worker().close()
assert not slicer.app.dialogs, slicer.app.dialogs
print(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode"), "torch" in sys.modules)
"""


@pytest.fixture
def models(tmp_path, monkeypatch):
    """Packaged models: one of random weights, called hippocampus, and one with two channels."""
    from rareunet import bundle

    folder = tmp_path / "packaged"
    save_tiny_model(folder, "hippocampus")
    save_tiny_model(folder, "pair", title="Pair", channels=({"name": "T1"}, {"name": "T2"}))
    monkeypatch.setattr(bundle, "PACKAGED_MODELS", folder)
    return folder


@pytest.fixture
def panel(slicer_app, models):
    """The module's Python widget, opened and entered."""
    import standin

    module = standin.load_module(MODULE)
    representation = module.widgetRepresentation()
    representation.enter()
    yield representation.self()
    standin.unload_module(module)


def use_fake(panel, **options):
    predictor = FakePredictor(**options)
    panel.logic.predictorFactory = lambda model, device: predictor
    return predictor


def segmentations():
    import slicer.util

    return slicer.util.getNodesByClass("vtkMRMLSegmentationNode")


def test_opens_before_any_package_is_installed(models):
    before = PACKAGED_MODELS.format(folder=str(models))
    missing = ("torch", "nibabel", "safetensors", "fastjsonschema")
    said = in_a_new_slicer(MODULE, CHOOSE_A_SCAN + SHOW_THE_LINE, before, missing)
    assert "1.0 x 1.0 x 1.0 mm: enters at depth 0." in said


def test_nothing_chosen(panel):
    assert not panel.ui.applyButton.enabled
    assert panel.ui.applyButton.toolTip == "Choose a scan."
    assert not panel.ui.placeRegionButton.enabled


@pytest.mark.parametrize(
    ("percent", "told"),
    [
        (-9.3, ", volumes 9 ± 7 % too small"),
        (5.0, ", volumes 5 ± 7 % too large"),
        (-4.9, ""),
        (None, ""),
    ],
)
def test_volumes_that_are_off_by_a_twentieth_are_told(panel, percent, told):
    from RAREUNetSegmentLib.outlook import expected_accuracy

    row = {"condition": "2 mm", "spacing_mm": [2, 2, 2], "cases": 7, "dice_mean": 0.81, "dice_sd": 0.02}
    names = ("volume_error_percent_mean", "volume_error_percent_sd")
    measured = {} if percent is None else dict(zip(names, (percent, 7.4), strict=True))
    assert (
        expected_accuracy([row | measured], (2, 2, 2)) == f"expected Dice 0.81 ± 0.02 (7 scans, 2 mm){told}"
    )


def test_line_before_apply(panel):
    node = add_scan(ijk_to_ras=np.diag([1.0, 1.0, 4.0, 1.0]), array=np.ones((8, 20, 20)))
    panel._parameterNode.inputVolume = node
    assert panel.ui.outlookLabel.text.splitlines() == [
        "1.0 x 1.0 x 4.0 mm: enters at depth 0, z at depth 2.",
        "Expected Dice 0.80 ± 0.05 (40 scans, slices of 4 mm).",
    ]
    assert panel.ui.applyButton.enabled
    node.SetSpacing(2, 2, 2)
    assert panel.ui.outlookLabel.text.startswith("2.0 x 2.0 x 2.0 mm: enters at depth 1.")
    assert "not measured near this voxel size" in panel.ui.outlookLabel.text


def test_line_follows_anatomical_axes(panel):
    """A scan of thick sagittal slices: k runs to the right, so that x is the coarse axis."""
    node = add_scan(np.ones((8, 20, 20)), [[0, 0, 4, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    panel._parameterNode.inputVolume = node
    assert panel.ui.outlookLabel.text.startswith("4.0 x 1.0 x 1.0 mm: enters at depth 0, x at depth 2.")


def test_line_tells_of_a_turned_scan(panel):
    """What the core will do with it, before any package is there."""
    angle = np.deg2rad(40)
    matrix = np.eye(4)
    matrix[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    panel._parameterNode.inputVolume = add_scan(np.ones((8, 20, 20)), matrix @ np.diag([1.0, 1.0, 3.0, 1.0]))
    text = panel.ui.outlookLabel.text
    assert text.startswith("1.0 x 1.0 x 1.0 mm: enters at depth 0.")
    # That of thick slices: straightening does not bring back what they lost.
    assert "Expected Dice 0.80" in text
    assert "turned by 40 degrees against the patient's axes: the network gets it resampled to 1 mm" in text


def test_line_is_silent_of_it_where_the_model_has_learnt_turned_scans():
    from RAREUNetSegmentLib.models import read_facts
    from RAREUNetSegmentLib.outlook import outlook_for

    angle = np.deg2rad(40)
    matrix = np.eye(4)
    matrix[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    facts = replace(read_facts("hippocampus"), straighten_turned=False)
    view = outlook_for(facts, (8, 20, 20), matrix @ np.diag([1.0, 1.0, 4.0, 1.0]))
    assert view.route.startswith("1.0 x 1.0 x 4.0 mm: enters at depth 0, z at depth 2")
    assert not view.warnings


def test_fixed_depth_changes_the_line(panel):
    panel._parameterNode.inputVolume = add_scan()
    panel.ui.entryDepthComboBox.setCurrentIndex(2)
    assert "enters at depth 1" in panel.ui.outlookLabel.text
    assert "resampled" in panel.ui.outlookLabel.text


def test_accuracy_of_the_automatic_route_is_not_told_of_another_one(panel):
    panel._parameterNode.inputVolume = add_scan()
    assert "Expected Dice 0.88" in panel.ui.outlookLabel.text
    panel.ui.entryDepthComboBox.setCurrentIndex(4)
    assert "Accuracy was not measured for this entry depth." in panel.ui.outlookLabel.text
    panel.ui.entryDepthComboBox.setCurrentIndex(1)  # what the spacing leads to
    assert "Expected Dice 0.88" in panel.ui.outlookLabel.text


def test_field_of_view_too_large_does_not_block_since_apply_refuses_as_clearly(panel, slicer_app):
    panel._parameterNode.inputVolume = add_scan(np.random.default_rng(0).normal(size=(80, 70, 90)))
    panel.ui.applyButton.click()
    finish_run(panel)
    (dialog,) = slicer_app.dialogs
    for text in (dialog.text, panel.ui.resultLabel.text):
        assert "shows 90 x 70 x 80 mm" in text
        assert "place a region of interest of about that size around the structure" in text
    assert segmentations() == []


def test_padding_does_not_count_to_the_field_of_view(panel, slicer_app):
    content = np.random.default_rng(0).normal(100, 20, (24, 26, 28))
    panel._parameterNode.inputVolume = add_scan(np.pad(content, 30))
    assert "Unless the rest is padding, Apply will refuse" in panel.ui.outlookLabel.text
    panel.ui.applyButton.click()
    finish_run(panel)
    assert slicer_app.dialogs == []
    assert len(segmentations()) == 1


def test_field_of_view_too_large_until_a_region_is_placed(panel):
    node = add_scan(np.random.default_rng(0).normal(size=(80, 70, 90)))
    panel._parameterNode.inputVolume = node
    assert "90 x 70 x 80 mm" in panel.ui.outlookLabel.text
    assert "place a region of interest" in panel.ui.outlookLabel.text
    panel.ui.forceCheckBox.setChecked(True)
    assert "Apply will refuse" not in panel.ui.outlookLabel.text
    assert "expect false findings" in panel.ui.outlookLabel.text
    panel.ui.forceCheckBox.setChecked(False)
    panel.ui.placeRegionButton.click()
    assert "⚠" not in panel.ui.outlookLabel.text
    region = panel._parameterNode.regionOfInterest
    assert tuple(region.GetSize()) == (28, 30, 32)
    region.SetCenter(500, 0, 0)
    assert not panel.ui.applyButton.enabled
    assert "outside the scan" in panel.ui.outlookLabel.text


def test_apply_with_a_fake_predictor(panel, slicer_app):
    predictor = use_fake(panel)
    panel._parameterNode.inputVolume = add_scan(scan_with_blobs(), name="patient")
    panel.ui.entryDepthComboBox.setCurrentIndex(1)
    panel.ui.applyButton.click()
    assert slicer_app.dialogs == []
    assert predictor.calls[0].entry_depth == 0
    (node,) = segmentations()
    assert node.GetName() == "patient segmentation"
    assert panel._parameterNode.outputSegmentation is node
    text = panel.ui.resultLabel.text
    assert "<b>patient</b>" in text
    assert "0.12" in text
    assert "Front" in text
    assert "Done on cpu in 1.5&nbsp;s" in text
    assert panel.ui.show3DButton.segmentationNode() is node
    assert panel.ui.applyButton.enabled


def test_second_scan_does_not_replace_the_first_result(panel):
    use_fake(panel)
    panel._parameterNode.inputVolume = add_scan(scan_with_blobs(), name="first")
    panel.ui.applyButton.click()
    panel.ui.applyButton.click()
    assert len(segmentations()) == 1
    panel._parameterNode.inputVolume = add_scan(scan_with_blobs(), name="second")
    assert panel._parameterNode.outputSegmentation is None
    panel.ui.applyButton.click()
    assert [node.GetName() for node in segmentations()] == ["first segmentation", "second segmentation"]


def test_output_follows_where_a_changed_segmentation_was_left_alone(panel):
    use_fake(panel)
    panel._parameterNode.inputVolume = add_scan(scan_with_blobs())
    panel.ui.applyButton.click()
    (first,) = segmentations()
    first.GetSegmentation().GetNthSegment(0).SetName("seen by Dr X")
    panel.ui.applyButton.click()
    _, second = segmentations()
    assert "was changed by hand (seen by Dr X)" in panel.ui.resultLabel.text
    assert panel.ui.outputSelector.currentNode() is second


def test_a_second_region_goes_into_a_segmentation_of_its_own(panel):
    """As for the other hippocampus of the same scan."""
    use_fake(panel)
    assert panel.ui.outputSelector.noneDisplay in panel.ui.outputSelector.toolTip
    panel._parameterNode.inputVolume = add_scan(scan_with_blobs())
    panel.ui.applyButton.click()
    panel.ui.outputSelector.setCurrentNode(None)
    panel.ui.applyButton.click()
    first, second = segmentations()
    assert [node.GetSegmentation().GetNumberOfSegments() for node in (first, second)] == [2, 2]
    assert panel.ui.outputSelector.currentNode() is second


def test_failure_is_shown_and_leaves_the_scene(panel, slicer_app):
    import slicer

    use_fake(panel, error=ValueError("the scan is odd: choose another one."))
    panel._parameterNode.inputVolume = add_scan(scan_with_blobs())
    before = slicer.mrmlScene.GetNumberOfNodes()
    panel.ui.applyButton.click()
    assert ["choose another one" in dialog.text for dialog in slicer_app.dialogs] == [True]
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    assert panel.ui.applyButton.enabled
    assert panel.ui.resultLabel.text == "⚠ The scan is odd: choose another one."
    assert not panel.ui.show3DButton.isVisibleTo(panel.parent)


def test_apply_with_a_real_model_keeps_it_loaded(panel, slicer_app):
    from RAREUNetSegmentLib.worker_client import shared_worker

    panel._parameterNode.inputVolume = add_scan()
    panel.ui.deviceComboBox.setCurrentIndex(1)
    panel.ui.applyButton.click()
    finish_run(panel)
    assert slicer_app.dialogs == []
    (node,) = segmentations()
    assert node.GetAttribute("RAREUNet.Model") == "hippocampus"
    assert len(node.GetAttribute("RAREUNet.ModelSHA256")) == 64
    process = shared_worker().pid
    steps = []
    panel.runDisplay.progress = lambda step, fraction: steps.append(step)
    panel.ui.applyButton.click()
    finish_run(panel)
    assert shared_worker().pid == process
    assert "start" not in steps
    assert len(segmentations()) == 1


def test_model_of_two_channels(panel, slicer_app):
    names = [panel.ui.modelComboBox.itemData(i) for i in range(panel.ui.modelComboBox.count)]
    panel._parameterNode.inputVolume = add_scan(name="T1")
    assert panel.ui.channel2Selector.isHidden()
    panel.ui.modelComboBox.setCurrentIndex(names.index("pair"))
    panel.ui.modelComboBox.activated.emit(names.index("pair"))
    assert panel.ui.channel2Label.text == "T2:"
    assert not panel.ui.channel2Selector.isHidden()
    assert panel.ui.channel3Selector.isHidden()
    assert panel.ui.applyButton.toolTip == "Choose the channel T2."
    panel._parameterNode.channel2 = add_scan(name="T2")
    panel._parameterNode.device = type(panel._parameterNode.device).CPU
    panel.ui.applyButton.click()
    finish_run(panel)
    assert slicer_app.dialogs == []
    assert len(segmentations()) == 1


def test_model_from_a_folder(panel, models):
    panel._parameterNode.inputVolume = add_scan()
    last = panel.ui.modelComboBox.count - 1
    panel.ui.modelComboBox.setCurrentIndex(last)
    panel.ui.modelComboBox.activated.emit(last)
    assert not panel.ui.modelFolderEdit.isHidden()
    assert panel.ui.applyButton.toolTip == "Choose a model."
    panel.ui.modelFolderEdit.currentPath = str(models / "hippocampus")
    assert panel.ui.applyButton.enabled
    assert "Random weights" in panel.ui.modelLabel.text
    panel.ui.modelFolderEdit.currentPath = str(models)
    assert "no model" in panel.ui.modelLabel.text
    panel.ui.modelFolderEdit.currentPath = ""
    assert panel._parameterNode.model == ""
    assert panel.ui.applyButton.toolTip == "Choose a model."


def test_used_model_folders_are_remembered(panel, models):
    panel._parameterNode.inputVolume = add_scan()
    panel._parameterNode.model = str(models / "hippocampus")
    panel.ui.applyButton.click()
    finish_run(panel)
    assert panel.ui.modelFolderEdit._history == [str(models / "hippocampus")]
    assert panel._parameterNode.model == str(models / "hippocampus")


def test_packages_are_ensured_on_apply_only(panel, slicer_app):
    import slicer.packaging

    slicer.packaging.missing.add("nibabel")
    slicer.packaging.set_torch_present(False)
    panel._parameterNode.inputVolume = add_scan()
    assert slicer.packaging.calls == []
    panel.ui.applyButton.click()
    assert [call.function for call in slicer.packaging.calls] == ["installTorch", "pip_ensure"]
    assert slicer.packaging.calls[1].options["requester"] == "RAREUNet"
    finish_run(panel)
    assert len(segmentations()) == 1


def test_apply_does_not_import_torch_into_slicer(models):
    """In a process of its own: this one may have imported it for other tests."""
    said = in_a_new_slicer(MODULE, CHOOSE_A_SCAN + APPLY, PACKAGED_MODELS.format(folder=str(models)))
    assert said.splitlines()[-1] == "1 False"


def test_missing_pytorch_extension_says_what_to_do(panel, slicer_app):
    import slicer.packaging

    slicer.packaging.remove_pytorch_utils()
    slicer.packaging.set_torch_present(False)
    panel._parameterNode.inputVolume = add_scan()
    panel.ui.applyButton.click()
    (dialog,) = slicer_app.dialogs
    assert "install the extension 'PyTorch'" in dialog.text
    assert len(slicer_app.takeSlotExceptions()) == 1  # tryWithErrorDisplay lets it go on to the console
    assert panel.ui.applyButton.enabled
    assert segmentations() == []


def test_declined_pytorch(panel, slicer_app):
    import slicer.packaging

    slicer.packaging.set_torch_present(False)
    slicer_app.dialogAnswers.append(False)
    panel._parameterNode.inputVolume = add_scan()
    panel.ui.applyButton.click()
    assert "PyTorch was not installed" in slicer_app.dialogs[-1].text
    assert len(slicer_app.takeSlotExceptions()) == 1


@pytest.mark.parametrize("missing", ["torch", "nibabel"])
def test_without_a_window_nobody_is_asked(panel, monkeypatch, missing):
    """The question would wait for ever, unseen."""
    import slicer.packaging
    import slicer.util

    from RAREUNetSegmentLib.dependencies import MissingPackageError

    if missing == "torch":
        slicer.packaging.set_torch_present(False)
    else:
        slicer.packaging.missing.add(missing)
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: None)
    with pytest.raises(MissingPackageError, match='PythonSlicer -m pip install "torch>=2.3" -r '):
        panel.logic.process(add_scan())
    assert slicer.packaging.calls == []


def test_a_mac_without_a_pytorch_is_told_so_before_anything_is_downloaded(panel, monkeypatch):
    import platform
    import sys

    import slicer.packaging

    from RAREUNetSegmentLib.dependencies import MissingPackageError

    slicer.packaging.set_torch_present(False)
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    with pytest.raises(MissingPackageError, match="Intel processors"):
        panel.logic.process(add_scan())
    assert slicer.packaging.calls == []


@pytest.mark.parametrize("other", ["vtkMRMLVectorVolumeNode", "vtkMRMLLabelMapVolumeNode"])
def test_the_first_scan_is_chosen_not_a_picture_or_a_label_map(panel, other):
    import slicer

    panel.exit()
    slicer.mrmlScene.AddNewNodeByClass(other)
    panel.enter()
    assert panel._parameterNode.inputVolume is None
    scan = add_scan()
    panel.enter()
    assert panel._parameterNode.inputVolume is scan


def test_scans_that_were_chosen_once_are_let_go(panel):
    """What VTKObservationMixin has once observed it keeps, voxels and all, though it is observed no more."""
    import slicer

    first, second = add_scan(), add_scan()
    for scan in (first, second, None):
        panel._parameterNode.inputVolume = scan
    panel.exit()
    panel.enter()
    assert list(panel._VTKObservationMixin__observations) == [slicer.mrmlScene]
    assert {node for node, _ in panel._followedTags} <= {first, second}
    assert len(panel._followedTags) == len(set(panel._followedTags))


def test_closing_the_scene_empties_the_panel(panel):
    import slicer

    use_fake(panel)
    panel._parameterNode.inputVolume = add_scan(scan_with_blobs())
    panel.ui.applyButton.click()
    slicer.mrmlScene.Clear(0)
    assert panel._parameterNode.inputVolume is None
    assert not panel.ui.applyButton.enabled
    panel._parameterNode.inputVolume = add_scan(scan_with_blobs())
    panel.ui.applyButton.click()
    assert len(segmentations()) == 1


def test_logic_takes_depths_as_numbers_or_text(panel):
    predictor = use_fake(panel)
    node = add_scan(scan_with_blobs())
    for depth in ("auto", "2", 2, None):
        panel.logic.process(node, entryDepth=depth)
    assert [call.entry_depth for call in predictor.calls] == [None, 2, 2, None]
    with pytest.raises(ValueError, match="choose 'auto'"):
        panel.logic.process(node, entryDepth="deep")


def test_memory_is_automatic_unless_it_is_given(panel):
    predictor = use_fake(panel)
    spin_box = panel.ui.memorySpinBox
    assert spin_box.text == "Automatic"
    panel._parameterNode.inputVolume = add_scan(scan_with_blobs())
    panel.ui.applyButton.click()
    spin_box.value = 2.5
    assert panel._parameterNode.memoryGb == 2.5
    assert spin_box.text == "2.5 GB"
    panel.ui.applyButton.click()
    panel.logic.process(panel._parameterNode.inputVolume, memoryGb=0.5)
    panel.logic.process(panel._parameterNode.inputVolume)
    assert [call.memory_gb for call in predictor.calls] == [None, 2.5, 0.5, None]


def test_self_test_runs(panel):
    import slicer

    slicer.selfTests["RAREUNetSegment"]()


def test_self_test_installs_nothing_in_a_test_run(panel, slicer_app, monkeypatch):
    import slicer
    import slicer.packaging

    slicer.packaging.missing.add("nibabel")
    slicer_app.setTestingEnabled(True)
    try:
        slicer.selfTests["RAREUNetSegment"]()
    finally:
        slicer_app.setTestingEnabled(False)
    assert slicer.packaging.missing == {"nibabel"}
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


def test_sample_scans_are_offered(panel, monkeypatch):
    from types import ModuleType, SimpleNamespace

    from RAREUNetSegmentLib import samples

    offered = []
    module = ModuleType("SampleData")
    module.SampleDataLogic = SimpleNamespace(
        registerCustomSampleDataSource=lambda **source: offered.append(source)
    )
    monkeypatch.setitem(sys.modules, "SampleData", module)
    samples.register_sample_scans()
    assert [source["sampleName"] for source in offered] == list(samples.SAMPLE_SCANS)
    assert all(Path(source["thumbnailFileName"]).is_file() for source in offered)


def test_label_names_in_the_result_are_escaped():
    from rareunet.volume import Volume
    from RAREUNetSegmentLib.summary import volumes_table

    labels = make_labels(names=("<b>Front</b>", "Back"))
    prediction = FakePredictor(labels).predict(Volume(np.zeros((8, 8, 8)), np.eye(4)))
    prediction = replace(prediction, volumes_ml={"<b>Front</b>": 1.0, "Back": 0.0}, warnings=[])
    text = volumes_table("A & B", prediction)
    assert text.startswith("<b>A &amp; B</b>")
    assert "&lt;b&gt;Front" in text
    assert "not found" in text
