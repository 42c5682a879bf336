"""The training panel while a run goes on and after it, told by the files that a run leaves."""

import os
import time
from pathlib import Path

import pytest
from training_panel_helpers import MODULE, epochs, stopped_run, tell, write_history


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


def test_a_stopped_run_is_resumed_with_its_own_settings(panel, tmp_path):
    """Nothing but the folder has to be chosen, as after a restart of Slicer."""
    run = tmp_path / "run"
    stopped_run(run, epoch=12, epochs=60, device="cpu")
    panel.ui.outputFolderEdit.currentPath = str(run)
    assert panel.ui.statusLabel.text == "Stopped and saved after epoch 12 of 60."
    assert panel.ui.startButton.text == "Resume"
    assert (panel.ui.epochsSpinBox.value, panel.ui.deviceComboBox.currentText) == (60, "Processor")
    panel.ui.startButton.click()
    first = panel.processes.started[-1]
    assert first.command[2:4] == ["--config", str(run / "config.json")]
    assert first.command[-3:] == ["--resume", "fit.epochs=60", "fit.device=cpu"]
    first.code = 130
    panel.ui.epochsSpinBox.value = 150
    panel.ui.deviceComboBox.setCurrentIndex(0)
    panel.ui.startButton.click()
    assert panel.processes.started[-1].command[-3:] == ["--resume", "fit.epochs=150", "fit.device=auto"]
    assert not (run / "panel.json").exists()


@pytest.mark.parametrize("settings", ["", "[]", '{"fit": {"device": "cuda:1"}}'])
def test_a_device_that_the_panel_does_not_have_is_left_out(panel, tmp_path, settings):
    stopped_run(tmp_path / "run", epoch=12, epochs=60, device="cpu")
    (tmp_path / "run" / "config.json").write_text(settings)
    panel.ui.outputFolderEdit.currentPath = str(tmp_path / "run")
    assert (panel.ui.epochsSpinBox.value, panel.ui.deviceComboBox.currentText) == (60, "Automatic")


def test_what_a_run_has_does_not_stick_to_the_next_folder(panel, tmp_path):
    """Else a new training would have the few epochs of a run that was merely looked at."""

    def shown(folder):
        panel.ui.outputFolderEdit.currentPath = str(folder)
        return panel.ui.epochsSpinBox.value, panel.ui.deviceComboBox.currentText

    stopped_run(tmp_path / "a", epoch=2, epochs=7, device="cpu")
    stopped_run(tmp_path / "b", epoch=2, epochs=9, device="cuda")
    stopped_run(tmp_path / "done", epoch=7, epochs=7, device="cpu")
    tell(tmp_path / "done", "finished", epoch=7, epochs=7)
    panel.ui.epochsSpinBox.value = 50
    assert shown(tmp_path / "done") == (50, "Automatic")
    assert shown(tmp_path / "a") == (7, "Processor")
    assert shown(tmp_path / "b") == (9, "NVIDIA graphics card")
    assert shown(tmp_path / "new") == (50, "Automatic")
    panel.ui.epochsSpinBox.value = 60
    assert shown(tmp_path / "other") == (60, "Automatic")


def test_what_was_set_aside_goes_with_its_scene(panel, tmp_path):
    import slicer

    stopped_run(tmp_path / "a", epoch=2, epochs=7, device="cpu")
    panel.ui.epochsSpinBox.value = 50
    panel.ui.outputFolderEdit.currentPath = str(tmp_path / "a")
    slicer.mrmlScene.Clear(0)
    assert panel.ui.epochsSpinBox.value == 100


def test_a_run_goes_on_with_a_device_that_the_panel_does_not_have(panel, tmp_path):
    """The second graphics card: another one could be busy, or could not hold the training."""
    stopped_run(tmp_path / "run", epoch=12, epochs=60, device="cuda:1")
    panel.ui.outputFolderEdit.currentPath = str(tmp_path / "run")
    assert not panel.ui.deviceComboBox.enabled
    assert "on its device, cuda:1, which can't be chosen here" in panel.ui.ignoredLabel.text
    panel.ui.startButton.click()
    assert panel.processes.started[-1].command[-2:] == ["--resume", "fit.epochs=60"]


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


def test_rows_that_another_program_has_spoilt_are_left_out_of_the_curves(ready, tmp_path):
    write_history(tmp_path / "run", epochs(2))
    with open(tmp_path / "run" / "history.csv", "ab") as file:
        file.write(b"3,5,\xff\n")
    assert [row["epoch"] for row in ready.logic.status().rows] == [1, 2]


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


def test_nodes_of_another_scene_are_not_taken_for_the_curves(ready, tmp_path):
    """A new scene gives their IDs anew."""
    import slicer
    import slicer.util

    ready.ui.startButton.click()
    write_history(tmp_path / "run", epochs(4))
    ready.poll()
    ids = {node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLTableNode")}
    ready.parent.exit()
    slicer.mrmlScene.Clear(0)
    own = [slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "my measurements") for _ in ids]
    assert {node.GetID() for node in own} == ids
    ready.parent.enter()
    ready.ui.outputFolderEdit.currentPath = str(tmp_path / "another")
    for node in own:
        assert slicer.mrmlScene.IsNodePresent(node)
        assert node.GetNumberOfColumns() == 0


def test_a_start_that_is_refused_shows_how_things_stand(ready, tmp_path, monkeypatch):
    import slicer.util

    tell(tmp_path / "run", "finished", epoch=4, epochs=4)
    write_history(tmp_path / "run", epochs(4))
    ready.ui.outputFolderEdit.currentPath = str(tmp_path / "run")

    def refuse(choice):
        tell(tmp_path / "run", "failed", message="the disk is full")
        raise ValueError("another run writes there")

    monkeypatch.setattr(ready.logic, "startTraining", refuse)
    with pytest.raises(ValueError, match="another run"):
        ready.onStart()
    assert "the disk is full" in ready.ui.statusLabel.text
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


def test_leaving_cleans_up_and_leaves_the_training_alone(slicer_app, processes, data, tmp_path):
    import slicer.util

    import standin

    module = standin.load_module(MODULE)
    panel = module.widgetRepresentation().self()
    panel.ui.dataFolderEdit.currentPath = str(data)
    panel.ui.outputFolderEdit.currentPath = str(tmp_path / "run")
    panel.ui.startButton.click()
    write_history(tmp_path / "run", epochs(4))
    panel.poll()
    standin.unload_module(module)
    for name in ("Table", "PlotSeries", "PlotChart"):
        assert not slicer.util.getNodesByClass(f"vtkMRML{name}Node")
    assert not processes.started[0].killed


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
