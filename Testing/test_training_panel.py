"""The training panel: opened as Slicer opens it, buttons clicked, with processes that are made up or small scripts."""

import contextlib
import csv
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parent.parent
MODULE = ROOT / "RAREUNetTraining" / "RAREUNetTraining.py"


class FakeProcess:
    """Runs until the test ends it."""

    def __init__(self, command, log):
        self.command, self.log = command, Path(log)
        self.pid, self.code, self.killed = 0, None, False

    def poll(self):
        return self.code

    def kill(self):
        self.killed, self.code = True, -9

    def write(self, text):
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "a") as file:
            file.write(text)


class FakeFactory:
    def __init__(self):
        self.started = []

    def __call__(self, command, log):
        self.started.append(FakeProcess(command, log))
        return self.started[-1]


@pytest.fixture
def panel(slicer_app):
    """The module's Python widget, opened and entered."""
    import standin

    slicer_app.userSettings().clear()
    module = standin.load_module(MODULE)
    representation = module.widgetRepresentation()
    representation.enter()
    widget = representation.self()
    widget.processes = widget.logic.processFactory = FakeFactory()
    yield widget
    standin.unload_module(module)


@pytest.fixture
def data(tmp_path):
    """A data set's folder; the panel itself looks at nothing but dataset.json."""
    folder = tmp_path / "data"
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    content = {"labels": {"0": "background", "1": "Anterior", "2": "Posterior"}, "modality": {"0": "T1"}}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def ready(panel, data, tmp_path):
    """The panel with everything chosen."""
    panel.ui.dataFolderEdit.currentPath = str(data)
    panel.ui.outputFolderEdit.currentPath = str(tmp_path / "run")
    return panel


def chosen(panel):
    from RAREUNetTrainingLib.training_choice import TrainingChoice

    return TrainingChoice.of(panel._parameterNode)


def tell(folder, state, **facts):
    facts = {
        "epoch": 0,
        "epochs": 100,
        "step": 0,
        "steps": 10,
        "seconds_left": -1,
        "message": "",
        "bundle": "",
        "pid": 0,
    } | facts
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "progress.json").write_text(json.dumps({"state": state, **facts}))


def write_history(folder, rows):
    folder.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with open(folder / "history.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def epochs(number, validate_every=2):
    rows = []
    for epoch in range(1, number + 1):
        row = {
            "epoch": epoch,
            "seconds": 5,
            "learning_rate": 1e-3,
            "loss total": 1 / epoch,
            "loss own": 0.9 / epoch,
        }
        if epoch % validate_every == 0:
            row |= {"dice scale 1": 1 - 1 / epoch, "dice scale 1/2": 0.9 - 1 / epoch}
        rows.append(row)
    return rows


def test_remembered_paths_leave_the_choice_alone(ready, tmp_path):
    """The path edit shows another path of its history for a moment."""
    tell(tmp_path / "old", "finished", epoch=5, epochs=5)
    for name in ("old", "new"):
        ready.ui.outputFolderEdit.currentPath = str(tmp_path / name)
        ready._rememberPaths()
    ready.ui.epochsSpinBox.value = 200
    ready.ui.startButton.click()
    assert "epochs = 200" in (tmp_path / "new" / "config.toml").read_text()


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
    from rareunet_training.configuration import read_config

    ready._parameterNode.referenceSpacing = "0.5 x 1 x 4"
    ready._parameterNode.patch = "32, 64, 16"
    ready.ui.epochsSpinBox.value = 7
    ready.ui.structuresTable.item(0, 1).setText('An "odd" näme\\')
    ready.ui.startButton.click()
    (process,) = ready.processes.started
    assert process.command[1:] == [
        str(MODULE.parent / "Scripts" / "train.py"),
        "--config", str(tmp_path / "run" / "config.toml"),
        "--output", str(tmp_path / "run"),
    ]  # fmt: skip
    config = read_config(tmp_path / "run" / "config.toml")
    assert config.data.folder == str(data)
    assert config.model.reference_spacing_mm == [4.0, 1.0, 0.5]
    assert config.fit.patch == [16, 64, 32]
    assert (config.fit.epochs, config.fit.device) == (7, "auto")
    assert config.model.label_names == ['An "odd" näme\\', "Posterior"]
    assert config.model.channels == ["T1"]
    assert not ready.ui.startButton.enabled
    assert ready.ui.stopButton.enabled
    assert ready.timer.active


def test_progress_is_shown_until_the_model_is_offered(ready, tmp_path):
    ready.ui.startButton.click()
    (process,) = ready.processes.started
    assert ready.ui.statusLabel.text.startswith("Starting")
    run = tmp_path / "run"
    tell(run, "training", epoch=24, step=5, seconds_left=4200)
    ready.poll()
    assert ready.ui.statusLabel.text.startswith("Epoch 25 of 100, about 70 min left.")
    assert ready.ui.progressBar.value == 24
    process.write("epoch 1/100\nstep 1\rstep 2\n")
    ready.poll()
    assert ready.ui.logEdit.toPlainText() == "epoch 1/100\nstep 2\n"
    (run / "my-model").mkdir()
    tell(run, "finished", epoch=100, bundle=str(run / "my-model"))
    assert ready.ui.useModelButton.isHidden()
    process.code = 0
    ready.poll()
    assert "The model lies in" in ready.ui.statusLabel.text
    assert not ready.ui.useModelButton.isHidden()
    assert not ready.timer.active
    (run / "last.ckpt").touch()
    ready.poll()
    assert not ready.ui.startButton.enabled
    assert "finished training" in ready.ui.startButton.toolTip


@pytest.fixture
def pictures(tmp_path):
    """Folder of the pictures; RAREUNET_SCREENSHOTS keeps them to be looked at."""
    folder = Path(os.environ.get("RAREUNET_SCREENSHOTS") or tmp_path / "pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_panel_and_curves_can_be_looked_at(ready, tmp_path, pictures):
    import slicer.util
    import vtk

    from standin.plot_rendering import render_plot
    from standin.rendering import grab_widget

    def pixels(path):
        reader = vtk.vtkPNGReader()
        reader.SetFileName(str(path))
        reader.Update()
        return numpy_support.vtk_to_numpy(reader.GetOutput().GetPointData().GetScalars())[:, :3].astype(int)

    from vtk.util import numpy_support

    before = pixels(grab_widget(ready.parent, pictures / "training_panel_before.png"))
    ready.ui.startButton.click()
    write_history(tmp_path / "run", epochs(20))
    tell(tmp_path / "run", "training", epoch=20, step=5, seconds_left=4200)
    ready.poll()
    during = pixels(grab_widget(ready.parent, pictures / "training_panel_during.png"))
    assert len(during) > len(before)  # the progress bar and what is said take room
    (chart,) = slicer.util.getNodesByClass("vtkMRMLPlotChartNode")
    curves = pixels(render_plot(chart, pictures / "training_curves.png"))
    for number in range(chart.GetNumberOfPlotSeriesNodes()):
        color = [round(255 * part) for part in chart.GetNthPlotSeriesNode(number).GetColor()]
        assert (abs(curves - color).max(axis=1) < 20).sum() > 100


def test_a_failure_is_shown_with_its_cause(ready, tmp_path):
    ready.ui.startButton.click()
    ready.processes.started[-1].code = 1
    tell(tmp_path / "run", "failed", message="needs 30 GB: lower fit.batch_size.")
    ready.poll()
    assert ready.ui.statusLabel.text == "The training failed: needs 30 GB: lower fit.batch_size."
    ready.ui.startButton.click()
    process = ready.processes.started[-1]
    process.write("error: PyTorch is missing\n")
    process.code = 1
    ready.poll()
    assert ready.ui.statusLabel.text == "The training ended unexpectedly: error: PyTorch is missing"
    assert ready.ui.startButton.enabled


def test_the_error_of_an_earlier_run_is_not_told_again(ready):
    ready.ui.startButton.click()
    first = ready.processes.started[-1]
    first.write("error: no case is labelled\n")
    first.code = 1
    ready.poll()
    ready.ui.startButton.click()
    second = ready.processes.started[-1]
    second.write("epoch 1/5\nKilled\n")
    second.code = -9
    ready.poll()
    assert ready.ui.statusLabel.text == "The training ended unexpectedly: Killed"


def test_stop_asks_by_a_file_then_offers_to_end_at_once(ready, slicer_app, tmp_path):
    ready.ui.startButton.click()
    process, stop = ready.processes.started[-1], tmp_path / "run" / "stop"
    tell(tmp_path / "run", "training", epoch=3)
    ready.ui.stopButton.click()
    assert stop.exists()
    assert ready.ui.statusLabel.text == "Saving and stopping..."
    assert not ready.ui.stopButton.enabled
    os.utime(stop, (time.time() - 61, time.time() - 61))
    ready.poll()
    assert ready.ui.stopButton.text == "End at once"
    slicer_app.dialogAnswers.append(False)
    ready.ui.stopButton.click()
    assert not process.killed
    ready.ui.stopButton.click()
    assert process.killed
    assert [dialog.text[:28] for dialog in slicer_app.dialogs] == ["The training does not react."] * 2


def test_a_stopped_run_is_resumed_with_its_own_configuration(panel, tmp_path):
    """Nothing but the folder has to be chosen, as after a restart of Slicer."""
    run = tmp_path / "run"
    tell(run, "stopped", epoch=12, epochs=60)
    (run / "last.ckpt").touch()
    (run / "config.toml").write_text("# of the first start\n")
    panel.ui.outputFolderEdit.currentPath = str(run)
    assert panel.ui.statusLabel.text == "Stopped and saved after epoch 12 of 60."
    assert panel.ui.startButton.text == "Resume"
    assert panel.ui.epochsSpinBox.value == 60
    panel.ui.startButton.click()
    assert panel.processes.started[-1].command[-2:] == ["--resume", "fit.epochs=60"]
    panel.processes.started[-1].code = 130
    panel.ui.epochsSpinBox.value = 150
    panel.ui.deviceComboBox.setCurrentIndex(1)
    panel.ui.startButton.click()
    assert panel.processes.started[-1].command[-3:] == ["--resume", "fit.epochs=150", "fit.device=cpu"]
    assert (run / "config.toml").read_text(encoding="utf-8") == "# of the first start\n"


def test_a_configuration_file_decides_all_but_the_folders(ready, data, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text("[fit]\nepochs = 3\n")
    ready.ui.configFileEdit.currentPath = str(own)
    ready._parameterNode.structures = "[]"  # the file has its own
    ready.ui.startButton.click()
    command = ready.processes.started[-1].command
    assert command[2:4] == ["--config", str(own)]
    assert command[-1] == f"data.folder={data}"
    assert not (tmp_path / "run" / "config.toml").exists()


def test_curves_are_brought_up_to_date_in_place(ready, tmp_path):
    import slicer
    import slicer.util
    from vtk.util import numpy_support

    ready.ui.startButton.click()
    write_history(tmp_path / "run", epochs(1))
    ready.poll()
    counts = {
        name: len(slicer.util.getNodesByClass(f"vtkMRML{name}Node"))
        for name in ("Table", "PlotSeries", "PlotChart")
    }
    assert counts == {"Table": 2, "PlotSeries": 1, "PlotChart": 1}
    for number in (4, 6):
        write_history(tmp_path / "run", epochs(number))
        ready.poll()
    (chart,) = slicer.util.getNodesByClass("vtkMRMLPlotChartNode")
    assert slicer.app.applicationLogic().GetSelectionNode().GetActivePlotChartID() == chart.GetID()
    assert (chart.GetXAxisTitle(), chart.GetYAxisTitle()) == ("Epoch", "Loss and Dice")
    series = [chart.GetNthPlotSeriesNode(i) for i in range(chart.GetNumberOfPlotSeriesNodes())]
    assert [node.GetName() for node in series] == ["loss", "Dice scale 1", "Dice scale 1/2"]
    assert len({node.GetColor() for node in series}) == 3
    table = series[1].GetTableNode().GetTable()
    values = numpy_support.vtk_to_numpy(table.GetColumnByName(series[1].GetYColumnName()))
    assert values.tolist() == pytest.approx([1 - 1 / 2, 1 - 1 / 4, 1 - 1 / 6])
    assert numpy_support.vtk_to_numpy(table.GetColumnByName("epoch")).tolist() == [2, 4, 6]
    losses = series[0].GetTableNode().GetTable()
    assert losses.GetNumberOfRows() == 6
    assert len(slicer.util.getNodesByClass("vtkMRMLTableNode")) == 2
    assert not chart.GetSaveWithScene()


def test_a_closed_scene_gets_the_curves_and_the_run_again(ready, tmp_path):
    import slicer
    import slicer.util

    ready.ui.startButton.click()
    write_history(tmp_path / "run", epochs(4))
    ready.poll()
    slicer.mrmlScene.Clear(0)
    assert ready._parameterNode.outputFolder == str(tmp_path / "run")
    assert len(slicer.util.getNodesByClass("vtkMRMLPlotChartNode")) == 1
    assert ready.ui.stopButton.enabled


def test_scene_closed_in_another_module_gets_no_curves(ready, tmp_path):
    import slicer
    import slicer.util

    ready.ui.startButton.click()
    write_history(tmp_path / "run", epochs(4))
    ready.poll()
    ready.parent.exit()
    slicer.mrmlScene.Clear(0)
    assert not slicer.util.getNodesByClass("vtkMRMLPlotChartNode")
    ready.parent.enter()
    assert len(slicer.util.getNodesByClass("vtkMRMLPlotChartNode")) == 1


def test_curves_of_an_ended_run_leave_the_layout_alone(ready, tmp_path, monkeypatch):
    import slicer.util

    shown = []
    monkeypatch.setattr(ready.curves, "show", lambda: shown.append(True))
    tell(tmp_path / "old", "finished", epoch=4, epochs=4)
    write_history(tmp_path / "old", epochs(4))
    ready.ui.outputFolderEdit.currentPath = str(tmp_path / "old")
    assert len(slicer.util.getNodesByClass("vtkMRMLPlotChartNode")) == 1
    assert shown == []
    ready.ui.outputFolderEdit.currentPath = str(tmp_path / "run")
    ready.ui.startButton.click()
    write_history(tmp_path / "run", epochs(4))
    ready.poll()
    assert shown == [True]


def test_leaving_cleans_up_and_leaves_the_training_alone(slicer_app, data, tmp_path):
    import slicer.util

    import standin

    module = standin.load_module(MODULE)
    panel = module.widgetRepresentation().self()
    panel.logic.processFactory = factory = FakeFactory()
    panel.ui.dataFolderEdit.currentPath = str(data)
    panel.ui.outputFolderEdit.currentPath = str(tmp_path / "run")
    panel.ui.startButton.click()
    write_history(tmp_path / "run", epochs(4))
    panel.poll()
    standin.unload_module(module)
    for name in ("Table", "PlotSeries", "PlotChart"):
        assert not slicer.util.getNodesByClass(f"vtkMRML{name}Node")
    assert not factory.started[0].killed


def test_check_fills_the_table_and_what_nobody_has_changed(panel, tmp_path):
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
    panel.logic.processFactory = training_process().start_process
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


def test_missing_packages_are_installed_after_a_question(slicer_app, data, monkeypatch):
    import slicer.packaging

    import standin

    slicer.packaging.missing.add("monai")
    module = standin.load_module(MODULE)
    panel = module.widgetRepresentation().self()
    panel.logic.processFactory = factory = FakeFactory()
    panel.ui.dataFolderEdit.currentPath = str(data)
    assert "monai" in panel.ui.packagesLabel.text
    assert not panel.ui.checkButton.enabled
    slicer_app.dialogAnswers.append(False)
    panel.ui.installButton.click()
    assert not factory.started
    panel.ui.installButton.click()
    (process,) = factory.started
    assert process.command[-1] == "--install"
    slicer.packaging.missing.clear()
    process.code = 0
    panel.poll()
    assert panel.ui.checkButton.enabled
    slicer.packaging.missing.add("monai")
    panel.ui.installButton.click()
    factory.started[-1].write("ERROR: no network\n")
    factory.started[-1].code = 1
    panel.poll()
    assert "no network" in slicer_app.dialogs[-1].text
    standin.unload_module(module)


def training_process():
    from RAREUNetTrainingLib import training_process

    return training_process


def wait_for(panel, condition, seconds=60):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, panel.logic.log()
        time.sleep(0.05)
        panel.poll()


SCRIPT = """
import csv, json, os, sys, time
from pathlib import Path
from rareunet.file_lock import lock
output = Path(sys.argv[1])
held = open(output / "run.lock", "ab")
lock(held.fileno())
first = 3 if "--resume" in sys.argv else 0
def tell(state, epoch):
    text = json.dumps({"state": state, "epoch": epoch, "epochs": 4, "seconds_left": 1.0, "pid": os.getpid()})
    (output / "new").write_text(text)
    os.replace(output / "new", output / "progress.json")
epoch = first
while True:
    tell("training", epoch)
    (output / "last.ckpt").touch()
    with open(output / "history.csv", "w") as file:
        file.write("epoch,loss total\\n" + "".join(f"{e},{1 / e}\\n" for e in range(1, epoch + 1)))
    print("epoch", epoch, flush=True)
    if epoch == 4:
        tell("finished", epoch)
        sys.exit(0)
    if (output / "stop").exists():
        (output / "stop").unlink()
        tell("stopped", epoch)
        sys.exit(130)
    epoch = min(epoch + 1, 3 if first == 0 else 4)
    time.sleep(0.1)
"""


def test_a_real_process_is_started_found_again_stopped_and_resumed(ready, tmp_path):
    import standin

    script, run = tmp_path / "script.py", tmp_path / "run"
    script.write_text(SCRIPT)

    def start(command, log):
        return training_process().start_process([sys.executable, str(script), str(run), *command[6:]], log)

    ready.logic.processFactory = start
    ready.ui.startButton.click()
    wait_for(ready, lambda: len(ready.logic.status().rows) == 3)
    assert "epoch 3" in ready.ui.logEdit.toPlainText()
    other = standin.load_module(MODULE)  # as after a restart of Slicer, which knows the files alone
    panel = other.widgetRepresentation().self()
    assert panel.logic.session.process is None
    assert panel.logic.status().running
    panel.ui.stopButton.click()
    wait_for(ready, lambda: not ready.logic.status().running)
    panel.poll()
    assert panel.ui.statusLabel.text == "Stopped and saved after epoch 3 of 4."
    panel.logic.processFactory = start
    assert panel.ui.startButton.text == "Resume"
    panel._parameterNode.epochs = 4
    panel.ui.startButton.click()
    wait_for(panel, lambda: panel.logic.status().text.startswith("Finished"))
    standin.unload_module(other)


@pytest.fixture
def holder(tmp_path):
    """A process that holds the output folder as a run does."""
    (tmp_path / "run").mkdir()
    script = (
        "import sys; from rareunet.file_lock import lock; file = open(sys.argv[1], 'ab'); lock(file.fileno());"
        " print(flush=True); input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "run" / "run.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(training_process().package_folders())},
    )
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def test_a_killed_process_is_not_taken_for_a_running_one(ready, tmp_path, holder):
    tell(tmp_path / "run", "training", epoch=5, pid=holder.pid, host=platform.node())
    ready.poll()
    assert ready.ui.stopButton.enabled
    holder.kill()
    holder.communicate()
    tell(
        tmp_path / "run", "training", epoch=5, pid=os.getpid(), host=platform.node()
    )  # the number is another's now
    ready.poll()
    assert not ready.ui.stopButton.enabled
    assert ready.ui.statusLabel.text.startswith("The training ended unexpectedly")
    ready.logic.session.run.kill()


def test_a_number_that_names_no_process_is_never_ended(ready, tmp_path, holder, monkeypatch):
    """To the system 0 is the caller's own group: a run that has told no number yet must not take Slicer with it."""
    monkeypatch.setattr(platform, "node", lambda: "")  # a computer may have no name
    run, sent = ready.logic.session.run, []
    monkeypatch.setattr(os, "kill", lambda *signal: sent.append(signal))
    for pid in (0, -1):
        tell(tmp_path / "run", "training", pid=pid, host="")
        assert run.is_running()
        assert not run.can_be_killed()
        run.kill()
    assert not sent
    states = iter([SimpleNamespace(pid=7, host=""), SimpleNamespace(pid=0, host="")])
    monkeypatch.setattr(run, "progress", lambda: next(states))  # a file that can't be read a moment later
    run.kill()
    assert [number for number, _ in sent] == [7]


@pytest.mark.parametrize(("host", "ended"), [(platform.node(), True), ("another-computer", False)])
def test_a_process_is_ended_on_its_own_computer_alone(ready, tmp_path, holder, host, ended):
    tell(tmp_path / "run", "training", epoch=5, pid=holder.pid, host=host)
    ready.poll()
    ready.ui.stopButton.click()
    stop = tmp_path / "run" / "stop"
    os.utime(stop, (time.time() - 61, time.time() - 61))
    ready.poll()
    assert (ready.ui.stopButton.text == "End at once") == ended
    ready.logic.session.run.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        holder.wait(timeout=5 if ended else 0.2)
    assert (holder.poll() is not None) == ended


def test_the_model_is_chosen_in_the_other_module(ready, slicer_app, tmp_path):
    from segment_helpers import MODULE as SEGMENT
    from segment_helpers import save_tiny_model

    import standin

    segment = standin.load_module(SEGMENT)
    bundle = save_tiny_model(tmp_path / "run", "tiny").folder
    tell(tmp_path / "run", "finished", epoch=100, bundle=str(bundle))
    ready.poll()
    ready.ui.useModelButton.click()
    panel = segment.widgetRepresentation().self()
    assert panel.logic.getParameterNode().model == str(bundle)
    assert "Random weights." in panel.ui.modelLabel.text
    panel.logic.getParameterNode().model = "hippocampus"
    (bundle / "weights.safetensors").write_bytes(b"half a file")
    ready.ui.useModelButton.click()
    assert "The model could not be used." in slicer_app.dialogs[-1].text
    assert panel.logic.getParameterNode().model == "hippocampus"
    assert len(slicer_app.takeSlotExceptions()) == 1
    standin.unload_module(segment)


def test_self_test_runs(panel):
    import slicer

    slicer.selfTests["RAREUNetTraining"]()
