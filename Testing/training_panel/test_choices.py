"""The training panel before a run: what is chosen, checked and written, with processes that are made up."""

import json
from types import SimpleNamespace

import pytest
from new_slicer import in_a_new_slicer
from training_panel_helpers import MODULE, tell, wait_for

from rareunet_training.configuration import FitConfig, read_config

PACKAGES = (
    "torch", "monai", "matplotlib", "jinja2", "tensorboard", "tqdm", "nibabel", "scipy", "SimpleITK", "pydicom",
    "safetensors", "fastjsonschema", "yaml", "tomli", "optuna",
)  # fmt: skip
CHOOSE_DATA = """
print(panel._parameterNode.structures)
panel.ui.dataFolderEdit.currentPath = {folder!r}
print(panel._parameterNode.structures)
print(panel.ui.packagesLabel.text)
assert panel.ui.installButton.enabled
"""


def chosen(panel):
    from RAREUNetTrainingLib.training_choice import TrainingChoice

    return TrainingChoice.of(panel._parameterNode)


def test_opens_before_any_package_is_installed(data):
    said = in_a_new_slicer(MODULE, CHOOSE_DATA.format(folder=str(data)), missing=PACKAGES)
    before, after, packages = said.splitlines()
    assert before == "[]"
    assert [structure["name"] for structure in json.loads(after)] == ["Anterior", "Posterior"]
    assert packages == "Training needs packages that Slicer's Python lacks: torch>=2.3."


def test_remembered_paths_leave_the_choice_alone(ready, tmp_path):
    """The path edit shows another path of its history for a moment."""
    tell(tmp_path / "old", "finished", epoch=5, epochs=5)
    for name in ("old", "new"):
        ready.ui.outputFolderEdit.currentPath = str(tmp_path / name)
        ready._rememberPaths()
    ready.ui.epochsSpinBox.value = 200
    ready.ui.startButton.click()
    assert read_config(tmp_path / "new" / "panel.json").fit.epochs == 200


def test_folders_may_be_told_from_where_slicer_was_started(ready, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ready.ui.dataFolderEdit.currentPath = ready.ui.labelsFolderEdit.currentPath = data.name
    ready.ui.startButton.click()
    written = read_config(tmp_path / "run" / "panel.json").data
    assert (written.folder, written.labels) == (str(data), str(data))


def test_says_what_to_choose_first(panel, data):
    assert panel.ui.obstacleLabel.text == "Choose the folder of the scans."
    assert not panel.ui.startButton.enabled
    assert not panel.ui.checkButton.enabled
    panel.ui.dataFolderEdit.currentPath = str(data)
    assert panel.ui.checkButton.enabled
    assert panel.ui.obstacleLabel.text == "Choose an output folder."
    panel.ui.dataFolderEdit.currentPath = str(data / "nowhere")
    assert "does not exist" in panel.ui.obstacleLabel.text


def test_dataset_json_fills_in_structures_and_channels(ready):
    rows = chosen(ready).structures
    assert [(row.value, row.name) for row in rows] == [(1, "Anterior"), (2, "Posterior")]
    assert rows[0].color != rows[1].color
    assert ready.ui.structuresTable.item(1, 1).text() == "Posterior"
    assert chosen(ready).channels == ("T1",)
    assert ready.ui.startButton.enabled


@pytest.mark.parametrize(
    ("parameter", "value", "message"),
    [
        ("modelName", "My Model", "small letters"),
        ("structures", "[]", "Name the structures"),
        ("structures", '[{"value": 0, "name": "A", "color": [1, 2, 3]}]', "label value from 1"),
        ("structures", json.dumps([{"value": 1, "name": n, "color": [1, 2, 3]} for n in "AB"]), "same value"),
        (
            "structures",
            json.dumps([{"value": v, "name": "A", "color": [1, 2, 3]} for v in (1, 2)]),
            "same name",
        ),
        ("referenceSpacing", "1 x 1", "three numbers"),
        ("referenceSpacing", "1 x 0 x 1", "above 0"),
        ("referenceSpacing", "nan x 1 x 1", "finite"),
        ("patch", "inf x 32 x 32", "finite"),
        ("patch", "32 x 64.5 x 32", "whole numbers"),
        ("configFile", "/nowhere/own.toml", "does not exist"),
    ],
)
def test_mistakes_are_said_before_start(ready, parameter, value, message):
    setattr(ready._parameterNode, parameter, value)
    assert message in ready.ui.obstacleLabel.text
    assert not ready.ui.startButton.enabled


def test_structures_are_edited_in_the_table(ready):
    import qt

    ready.ui.structuresTable.item(0, 1).setText("Front")
    ready.ui.structuresTable.item(0, 0).setText("7")
    ready.ui.structuresTable.cellWidget(0, 2).color = qt.QColor(10, 20, 30)
    ready.ui.addStructureButton.click()
    first, second, third = chosen(ready).structures
    assert (first.value, first.name, first.color) == (7, "Front", (10, 20, 30))
    assert (third.value, third.name) == (8, "Structure 8")
    ready.ui.structuresTable.setCurrentCell(1, 0)
    ready.ui.removeStructureButton.click()
    assert chosen(ready).structures == (first, third)


def test_own_structures_survive_another_folder(ready, tmp_path):
    ready.ui.structuresTable.item(0, 1).setText("Front")
    other = tmp_path / "other"
    other.mkdir()
    (other / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "Tumour": 1}}))
    ready.ui.dataFolderEdit.currentPath = str(other)
    assert [row.name for row in chosen(ready).structures] == ["Front", "Posterior"]


def test_start_writes_a_configuration_that_the_training_reads(ready, data, tmp_path):
    ready._parameterNode.referenceSpacing = "0.5 x 1 x 4"
    ready._parameterNode.patch = "32, 64, 16"
    ready.ui.epochsSpinBox.value = 7
    ready.ui.structuresTable.item(0, 1).setText('An "odd" näme\\')
    ready.ui.startButton.click()
    (process,) = ready.processes.started
    assert process.command[1:] == [
        str(MODULE.parent / "Scripts" / "train.py"),
        "--config", str(tmp_path / "run" / "panel.json"),
        "--output", str(tmp_path / "run"),
    ]  # fmt: skip
    config = read_config(tmp_path / "run" / "panel.json")
    assert config.data.folder == str(data)
    assert config.model.reference_spacing_mm == [4.0, 1.0, 0.5]
    assert config.fit.patch == [16, 64, 32]
    assert (config.fit.epochs, config.fit.device) == (7, "auto")
    assert config.model.label_names == ['An "odd" näme\\', "Posterior"]
    assert config.model.channels == ["T1"]
    assert not ready.ui.startButton.enabled
    assert ready.ui.stopButton.enabled
    assert ready.timer.active


def test_what_the_memory_refusal_asks_for_begins_as_in_the_configuration_and_can_be_set(ready, tmp_path):
    ui, default = ready.ui, FitConfig()
    shown = ui.batchSizeSpinBox.value, ui.precisionComboBox.currentText, ui.patienceSpinBox.value
    assert shown == (default.batch_size, default.precision, default.patience)
    assert ui.patienceSpinBox.text == "Off"
    ui.batchSizeSpinBox.value = 1
    ui.precisionComboBox.setCurrentIndex(1)
    ui.patienceSpinBox.value = 20
    ui.startButton.click()
    fit = read_config(tmp_path / "run" / "panel.json").fit
    assert (fit.batch_size, fit.precision, fit.patience) == (1, "bfloat16", 20)


def test_a_configuration_file_decides_all_but_the_folders(ready, data, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text("[fit]\nepochs = 3\n")
    ready.ui.configFileEdit.currentPath = str(own)
    ready._parameterNode.structures = "[]"  # the file has its own
    ready.ui.startButton.click()
    command = ready.processes.started[-1].command
    assert command[2:4] == ["--config", str(own)]
    assert command[-1] == f"data.folder={data}"
    assert not (tmp_path / "run" / "panel.json").exists()


def test_an_emptied_field_is_no_choice_any_more(ready, tmp_path):
    for edit, name in ((ready.ui.configFileEdit, "configFile"), (ready.ui.labelsFolderEdit, "labelsFolder")):
        edit.currentPath = str(tmp_path)
        assert getattr(ready._parameterNode, name) == str(tmp_path)
        edit.currentPath = ""
        assert getattr(ready._parameterNode, name) == ""
        ready._parameterNode.epochs += 1  # shows all fields again
        assert edit.currentPath == ""


def test_nothing_is_filled_in_while_a_dialog_is_open(ready, monkeypatch):
    import qt

    ready.ui.checkButton.click()
    process = ready.processes.started[-1]
    process.write("error: no scans\n")
    process.code = 2
    monkeypatch.setattr(qt.QApplication, "activeModalWidget", lambda: ready.ui.checkLabel)
    ready.poll()
    assert ready.logic.tasks.kind
    monkeypatch.undo()
    ready.poll()
    assert not ready.logic.tasks.kind


def test_channels_that_nobody_named_are_left_to_the_training(ready, tmp_path):
    ready._parameterNode.channels = ""
    ready.ui.startButton.click()
    assert read_config(tmp_path / "run" / "panel.json").model.channels == ["image"]


def test_check_fills_the_table_and_what_nobody_has_changed(panel, tmp_path, monkeypatch):
    """A real check of three made scans, one of them empty."""
    import numpy as np

    from rareunet import Volume
    from rareunet.volume_files import write_label_map, write_volume

    folder = tmp_path / "scans"
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    random = np.random.default_rng(0)
    for case in range(3):
        scan = Volume(random.normal(100, 9, (20, 30, 18)).astype(np.float32), np.diag([2.0, 2, 2, 1]))
        label = np.zeros(scan.shape, np.uint8)
        label[5:9, 5:9, 5:9] = 3 if case else 0
        write_volume(folder / "imagesTr" / f"case_{case}.nii.gz", scan)
        write_label_map(folder / "labelsTr" / f"case_{case}.nii.gz", label, scan)
    monkeypatch.undo()
    panel._parameterNode.patch = "48 x 48 x 48"
    panel.ui.dataFolderEdit.currentPath = str(folder)
    panel.ui.checkButton.click()
    assert panel.ui.checkButton.text == "Checking..."
    wait_for(panel, lambda: not panel.logic.tasks.kind)
    assert "3 cases" in panel.ui.checkLabel.text, panel.logic.log()
    assert panel.logic.tasks.page.as_uri() in panel.ui.checkLabel.text
    assert panel.logic.tasks.page.is_file()
    table = panel.ui.casesTable
    assert (table.rowCount, table.item(0, 0).text()) == (3, "case_0")
    assert "empty" in table.item(0, 0).toolTip()
    assert table.item(1, 3).text() == "2 x 2 x 2"
    assert [row.value for row in chosen(panel).structures] == [3]
    assert panel._parameterNode.referenceSpacing == "2 x 2 x 2"
    assert panel._parameterNode.patch == "48 x 48 x 48"
    panel._parameterNode.patch = panel._parameterNode.default("patch").value
    panel._parameterNode.referenceSpacing = "4 x 4 x 4"
    panel.ui.checkButton.click()
    wait_for(panel, lambda: not panel.logic.tasks.kind)
    assert panel._parameterNode.patch == "8 x 16 x 8"


@pytest.mark.parametrize(("spacing", "patch"), [("1 x 1 x 1", "32 x 64 x 32"), ("2 x 2 x 4", "16 x 32 x 8")])
def test_proposed_patch_counts_voxels_of_the_chosen_spacing(spacing, patch):
    from rareunet_training.check.facts import CaseReading
    from RAREUNetTrainingLib.training_choice import proposed_patch

    report = SimpleNamespace(cases=[CaseReading(name="a", shape=(32, 64, 32), spacing_mm=(1.0, 1.0, 1.0))])
    assert proposed_patch(report, spacing) == patch


def test_check_judges_by_the_spacing_that_is_typed_in(ready):
    ready._parameterNode.referenceSpacing = "0.5 x 1 x 2"
    ready.ui.checkButton.click()
    assert "model.reference_spacing_mm=[2.0, 1.0, 0.5]" in ready.processes.started[-1].command


def test_a_check_that_fails_says_why(ready):
    ready.ui.checkButton.click()
    process = ready.processes.started[-1]
    assert process.command[1:4] == ["-m", "rareunet_training", "check"]
    process.write("error: the folder holds no scans\n")
    process.code = 2
    ready.poll()
    assert ready.ui.checkLabel.text == "The check failed: error: the folder holds no scans"
    assert ready.ui.checkButton.enabled


def test_two_slicers_check_at_once(ready, data):
    """Each has a folder of its own, which goes when another check begins and when the module is left."""
    import standin

    module = standin.load_module(MODULE)
    other = module.widgetRepresentation().self()
    other.ui.dataFolderEdit.currentPath = str(data)
    for panel in (ready, other):
        panel.ui.checkButton.click()
    folders = [process.log.parent for process in ready.processes.started]
    assert folders[0] != folders[1]
    for process, folder in zip(ready.processes.started, folders, strict=True):
        assert str(folder / "check.json") in process.command
        process.write(f"error: {folder.name}\n")
        process.code = 2
    for panel, folder in zip((ready, other), folders, strict=True):
        panel.poll()
        assert folder.name in panel.ui.checkLabel.text
    ready.ui.checkButton.click()
    assert [folder.exists() for folder in folders] == [False, True]
    standin.unload_module(module)  # goes by the name, and so takes both
    assert not any(process.log.parent.exists() for process in ready.processes.started)


def test_missing_packages_are_installed_after_a_question(slicer_app, processes, data):
    import slicer.packaging

    import standin

    slicer.packaging.missing.add("monai")
    module = standin.load_module(MODULE)
    panel = module.widgetRepresentation().self()
    panel.ui.dataFolderEdit.currentPath = str(data)
    assert "monai" in panel.ui.packagesLabel.text
    assert not panel.ui.checkButton.enabled
    slicer_app.dialogAnswers.append(False)
    panel.ui.installButton.click()
    assert not processes.started
    panel.ui.installButton.click()
    (process,) = processes.started
    assert process.command[-1] == "--install"
    slicer.packaging.missing.clear()
    process.code = 0
    panel.poll()
    assert panel.ui.checkButton.enabled
    slicer.packaging.missing.add("monai")
    panel.ui.installButton.click()
    processes.started[-1].write("ERROR: no network\n")
    processes.started[-1].code = 1
    panel.poll()
    assert "no network" in slicer_app.dialogs[-1].text
    standin.unload_module(module)


def test_a_pytorch_that_is_too_old_is_told_instead_of_a_question(slicer_app, processes, monkeypatch):
    import standin

    module = standin.load_module(MODULE)
    from RAREUNetSegmentLib import dependencies

    monkeypatch.setattr(dependencies, "_torch_version", lambda: "2.2.2")
    panel = module.widgetRepresentation().self()
    panel.logic.missingPackages = ["torch>=2.3"]
    panel.ui.installButton.click()
    (dialog,) = slicer_app.dialogs
    assert "PyTorch 2.2.2 is installed" in dialog.text
    assert "Uninstall PyTorch" in dialog.text
    assert not processes.started
    assert len(slicer_app.takeSlotExceptions()) == 1
    standin.unload_module(module)


def test_self_test_runs(panel):
    import slicer

    slicer.selfTests["RAREUNetTraining"]()
