"""The panel: opened as Slicer opens it, buttons clicked, texts read."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from new_slicer import in_a_new_slicer
from segment_helpers import (
    MODULE,
    TERMINOLOGY,
    FakePredictor,
    add_scan,
    answer_by,
    finish_run,
    make_labels,
    save_tiny_model,
    scan_with_blobs,
    segmentations,
)

from rareunet.bundle import Label


def use_fake(**options):
    predictor = FakePredictor(**options)
    answer_by(predictor)
    return predictor


def test_nothing_chosen(panel):
    assert not panel.ui.applyButton.enabled
    assert panel.ui.applyButton.toolTip == "Choose a scan."
    assert not panel.ui.placeRegionButton.enabled


def test_apply_with_a_fake_predictor(panel, slicer_app):
    predictor = use_fake()
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
    use_fake()
    panel._parameterNode.inputVolume = add_scan(scan_with_blobs(), name="first")
    panel.ui.applyButton.click()
    panel.ui.applyButton.click()
    assert len(segmentations()) == 1
    panel._parameterNode.inputVolume = add_scan(scan_with_blobs(), name="second")
    assert panel._parameterNode.outputSegmentation is None
    panel.ui.applyButton.click()
    assert [node.GetName() for node in segmentations()] == ["first segmentation", "second segmentation"]


def test_output_follows_where_a_changed_segmentation_was_left_alone(panel):
    use_fake()
    panel._parameterNode.inputVolume = add_scan(scan_with_blobs())
    panel.ui.applyButton.click()
    (first,) = segmentations()
    first.GetSegmentation().GetNthSegment(0).SetName("seen by Dr X")
    panel.ui.applyButton.click()
    _, second = segmentations()
    assert "was changed by hand (seen by Dr X)" in panel.ui.resultLabel.text
    assert panel.ui.outputSelector.currentNode() is second


def test_another_region_gets_a_segmentation_of_its_own(panel):
    """As for the other hippocampus of the same scan: the region is placed again, and Apply clicked."""
    import slicer

    use_fake()
    panel._parameterNode.inputVolume = add_scan(scan_with_blobs())
    region = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "region")
    region.SetCenter(12, 11, 9)
    region.SetSize(4, 4, 4)
    panel._parameterNode.regionOfInterest = region
    panel.ui.applyButton.click()
    region.SetCenter(17, 16, 15)
    panel.ui.applyButton.click()
    first, second = segmentations()
    assert "its segments lie elsewhere" in panel.ui.resultLabel.text
    assert panel.ui.outputSelector.currentNode() is second
    panel.ui.applyButton.click()
    assert segmentations() == [first, second]


def test_a_result_of_the_same_place_can_be_kept(panel):
    use_fake()
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

    use_fake(error=ValueError("the scan is odd: choose another one."))
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


def choose_from_a_file(panel):
    last = panel.ui.modelComboBox.count - 1
    panel.ui.modelComboBox.setCurrentIndex(last)
    panel.ui.modelComboBox.activated.emit(last)


def test_model_from_a_folder(panel, models):
    panel._parameterNode.inputVolume = add_scan()
    choose_from_a_file(panel)
    assert not panel.ui.modelPathEdit.isHidden()
    assert panel.ui.applyButton.toolTip == "Choose a model."
    panel.ui.modelPathEdit.currentPath = str(models / "hippocampus")
    assert panel.ui.applyButton.enabled
    assert "Random weights" in panel.ui.modelLabel.text
    panel.ui.modelPathEdit.currentPath = str(models / "pair" / "bundle.json")
    assert "(pair 0.1.0)" in panel.ui.modelLabel.text
    panel.ui.modelPathEdit.currentPath = str(models)
    assert "No model" in panel.ui.modelLabel.text
    panel.ui.modelPathEdit.currentPath = ""
    assert panel._parameterNode.model == ""
    assert panel.ui.applyButton.toolTip == "Choose a model."


def test_a_model_that_cant_be_read_is_told(panel, models):
    (models / "pair" / "bundle.json").write_text('{"name": "pair"}')
    panel._parameterNode.inputVolume = add_scan()
    panel._parameterNode.model = "pair"
    assert "is not a model description" in panel.ui.modelLabel.text
    assert panel.ui.applyButton.toolTip == "Choose a model."
    panel.enter()
    assert panel.ui.modelComboBox.findText("pair") >= 0


def test_a_model_that_comes_as_a_zip_is_imported_and_chosen(panel, slicer_app, tmp_path, monkeypatch):
    monkeypatch.setenv("RAREUNET_MODELS", str(tmp_path / "own"))
    own = save_tiny_model(tmp_path, "liver", title="Liver", version="0.2.0").folder
    file = shutil.make_archive(str(tmp_path / "liver"), "zip", own)
    panel._parameterNode.inputVolume = add_scan()
    choose_from_a_file(panel)
    panel.ui.modelPathEdit.currentPath = file
    assert slicer_app.dialogs == []
    assert panel._parameterNode.model == "liver-0.2.0"
    assert panel.ui.modelComboBox.currentText == "Liver (liver-0.2.0)"
    assert panel.ui.modelPathEdit.isHidden()
    assert panel.ui.applyButton.enabled


def test_a_zip_that_is_refused_says_why(panel, slicer_app, tmp_path):
    (tmp_path / "liver.zip").write_text("half")
    choose_from_a_file(panel)
    panel.ui.modelPathEdit.currentPath = str(tmp_path / "liver.zip")
    assert "not a whole zip" in slicer_app.dialogs[-1].text
    assert len(slicer_app.takeSlotExceptions()) == 1
    assert panel.ui.modelPathEdit.currentPath == panel._parameterNode.model == ""  # for another try
    assert panel.ui.applyButton.toolTip == "Choose a scan."


def test_a_scene_imports_no_model_and_keeps_the_name_of_one_that_is_not_here(
    panel, models, tmp_path, monkeypatch
):
    monkeypatch.setenv("RAREUNET_MODELS", str(tmp_path / "own"))
    own = save_tiny_model(tmp_path, "liver", version="0.2.0").folder
    file = shutil.make_archive(str(tmp_path / "liver"), "zip", own)
    panel._parameterNode.model = str(models / "pair")
    for name in ("liver-0.2.0", file):
        panel._parameterNode.model = name
        panel.exit()
        panel.enter()
        assert panel._parameterNode.model == name
    assert not (tmp_path / "own").exists()


def test_models_that_were_imported_meanwhile_are_listed(panel, tmp_path, monkeypatch):
    monkeypatch.setenv("RAREUNET_MODELS", str(tmp_path / "own"))
    panel.exit()
    save_tiny_model(tmp_path / "own", "liver", title="Liver")
    panel.enter()
    assert panel.ui.modelComboBox.findText("Liver") >= 0


def test_used_model_folders_are_remembered(panel, models):
    panel._parameterNode.inputVolume = add_scan()
    panel._parameterNode.model = str(models / "hippocampus")
    panel.ui.applyButton.click()
    finish_run(panel)
    assert panel.ui.modelPathEdit._history == [str(models / "hippocampus")]
    assert panel._parameterNode.model == str(models / "hippocampus")


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

    use_fake()
    panel._parameterNode.inputVolume = add_scan(scan_with_blobs())
    panel.ui.applyButton.click()
    slicer.mrmlScene.Clear(0)
    assert panel._parameterNode.inputVolume is None
    assert not panel.ui.applyButton.enabled
    panel._parameterNode.inputVolume = add_scan(scan_with_blobs())
    panel.ui.applyButton.click()
    assert len(segmentations()) == 1


def test_logic_takes_depths_as_numbers_or_text(panel):
    predictor = use_fake()
    node = add_scan(scan_with_blobs())
    for depth in ("auto", "2", 2, None):
        panel.logic.process(node, entryDepth=depth)
    assert [call.entry_depth for call in predictor.calls] == [None, 2, 2, None]
    with pytest.raises(ValueError, match="choose 'auto'"):
        panel.logic.process(node, entryDepth="deep")


def test_memory_is_automatic_unless_it_is_given(panel):
    predictor = use_fake()
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


def structure_ticks(panel):
    """Of each row of the list, by its name."""
    import qt

    items = [panel.ui.structuresList.item(number) for number in range(panel.ui.structuresList.count)]
    return {item.text(): item.checkState() == qt.Qt.Checked for item in items}


def tick(panel, number, ticked):
    """As a click on the row's box does."""
    import qt

    panel.ui.structuresList.item(number).setCheckState(qt.Qt.Checked if ticked else qt.Qt.Unchecked)


def test_structures_that_are_not_ticked_are_left_out(panel):
    predictor = use_fake()
    names = panel._facts.structure_names
    panel._parameterNode.inputVolume = add_scan(scan_with_blobs())
    assert structure_ticks(panel) == dict.fromkeys(names, True)
    panel.ui.applyButton.click()
    tick(panel, 0, False)
    assert structure_ticks(panel) == {names[0]: False, names[1]: True}
    panel.ui.applyButton.click()
    tick(panel, 1, False)
    assert not panel.ui.applyButton.enabled
    assert panel.ui.applyButton.toolTip == "Tick at least one structure."
    tick(panel, 0, True)
    tick(panel, 1, True)
    panel.ui.applyButton.click()
    assert [call.structures for call in predictor.calls] == [None, names[1:], None]


def test_all_and_none_tick_at_once(panel, models):
    """Hundreds of structures are one change of the panel's state, and not one for each."""
    import vtk

    labels = tuple(Label(value, f"Part {value}", (10, 20, 30), TERMINOLOGY) for value in range(1, 41))
    parameters, changes = panel._parameterNode, []
    parameters.model = save_tiny_model(models, "many", labels=labels).name
    names = panel._facts.structure_names
    parameters.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: changes.append(1))
    panel.ui.noStructuresButton.click()
    assert structure_ticks(panel) == dict.fromkeys(names, False)
    panel.ui.allStructuresButton.click()
    assert structure_ticks(panel) == dict.fromkeys(names, True)
    assert len(changes) == 2
    parameters.model = ""
    assert panel.ui.allStructuresButton.isHidden()
    assert panel.ui.noStructuresButton.isHidden()


def test_ticks_are_the_models_own(panel, models):
    """That of another model, of a scene with something else in it, of a model with one structure, of none."""
    names, parameters = panel._facts.structure_names, panel._parameterNode
    parameters.inputVolume = add_scan()
    tick(panel, 0, False)
    parameters.model = "pair"
    assert structure_ticks(panel) == dict.fromkeys(names, True)
    tick(panel, 1, False)
    parameters.model = "hippocampus"
    assert structure_ticks(panel) == {names[0]: False, names[1]: True}
    for kept in ("rubbish", "[5]", '{"hippocampus": 5}', '{"hippocampus": ["Liver", 5]}'):
        parameters.leftOut = kept
        assert structure_ticks(panel) == dict.fromkeys(names, True)
    single = save_tiny_model(models, "single", labels=make_labels()[:1])
    parameters.leftOut = f'{{"{single.name}": ["{names[0]}"]}}'
    parameters.model = single.name
    assert panel.ui.structuresList.isHidden()
    assert panel.ui.applyButton.enabled
    parameters.model = ""
    assert structure_ticks(panel) == {}
    assert panel.ui.structuresList.isHidden()
    parameters.model = "hippocampus"
    assert not panel.ui.structuresList.isHidden()


def test_logic_takes_structures_by_name(panel, slicer_app):
    predictor = use_fake()
    node = add_scan(scan_with_blobs())
    result = panel.logic.process(node, structures="Back")
    assert [result.GetSegmentation().GetNthSegment(0).GetName()] == ["Back"]
    assert result.GetSegmentation().GetNumberOfSegments() == 1
    for structures in (["Front", "Back"], (name for name in ["Front"])):
        panel.logic.process(node, structures=structures)
    assert [call.structures for call in predictor.calls] == [("Back",), ("Front", "Back"), ("Front",)]


def test_self_test_runs(panel):
    import slicer

    slicer.selfTests["RAREUNetSegment"]()


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


def test_what_the_panel_says_can_be_translated(slicer_app, monkeypatch):
    from rareunet.volume import Volume
    from RAREUNetSegmentLib import accuracy, choices, outlook, summary

    for module in (accuracy, choices, outlook, summary):
        monkeypatch.setattr(module, "_", lambda text: f"~{text}")
    labels = [choice.label() for choice in choices.Device] + [choices.EntryDepth.AUTO.label()]
    assert [label[0] for label in labels] == ["~"] * 5
    text = summary.volumes_table("scan", FakePredictor().predict(Volume(np.zeros((1, 8, 8, 8)), np.eye(4))))
    assert all(part in text for part in ("~Structure", "~Volume (ml)", "~not found", "~Model fake 1.2.3."))
    row = {"condition": "2 mm", "spacing_mm": [2, 2, 2], "cases": 7, "dice_mean": 0.8, "dice_sd": 0.02}
    assert accuracy.expected_accuracy([row], (2, 2, 2)).startswith("~expected Dice 0.80 ± 0.02")


def test_label_names_in_the_result_are_escaped(slicer_app):
    from rareunet.volume import Volume
    from RAREUNetSegmentLib.summary import volumes_table

    labels = make_labels(names=("<b>Front</b>", "Back"))
    prediction = FakePredictor(labels).predict(Volume(np.zeros((8, 8, 8)), np.eye(4)))
    prediction = replace(prediction, volumes_ml={"<b>Front</b>": 1.0, "Back": 0.0}, warnings=[])
    text = volumes_table("A & B", prediction)
    assert text.startswith("<b>A &amp; B</b>")
    assert "&lt;b&gt;Front" in text
    assert "not found" in text


OPEN_A_SAVED_SCENE = """
import qt
import slicer.util
from segment_helpers import FakePredictor, add_scan, answer_by, scan_with_blobs
answer_by(FakePredictor())
panel._parameterNode.inputVolume = add_scan(scan_with_blobs(), name="saved")
panel.ui.applyButton.click()
panel.ui.structuresList.item(1).setCheckState(qt.Qt.Unchecked)
assert slicer.util.saveScene({file!r})
slicer.mrmlScene.Clear(0)
if not {clear}:
    panel._parameterNode.inputVolume = add_scan(name="another")
slicer.util.loadScene({file!r}, {{"clear": {clear}}})
parameters = panel._parameterNode
assert panel.ui.inputSelector.currentNode() is parameters.inputVolume
assert [panel.ui.structuresList.item(i).checkState() == qt.Qt.Checked for i in (0, 1)] == [True, False]
print(parameters.inputVolume.GetName(), parameters.outputSegmentation.GetName(), panel.ui.applyButton.enabled, sep=", ")
"""


@pytest.mark.parametrize("clear", [True, False], ids=["opened", "added to one with a scan"])
def test_a_saved_scene_brings_its_choices_to_the_open_panel(tmp_path, clear):
    after = OPEN_A_SAVED_SCENE.format(file=str(tmp_path / "scene.mrb"), clear=clear)
    assert in_a_new_slicer(MODULE, after).splitlines()[-1] == "saved, saved segmentation, True"
