"""Runs in a living scene: what the panel shows meanwhile, and what the user may do to the scene meanwhile."""

import os
import signal
import sys
import time

import numpy as np
import pytest
from segment_helpers import (
    MODULE,
    FakePredictor,
    add_scan,
    add_transform,
    finish_run,
    light_worker,
    save_tiny_model,
    scan_with_blobs,
    segmentations,
    wait_until,
)
from turns import turned_world

KILL = getattr(signal, "SIGKILL", signal.SIGTERM)


class HeldEngine:
    """Takes the place of the worker; answers when the test says so."""

    def __init__(self):
        self.request = None
        self.cancelled = 0

    @property
    def busy(self):
        return self.request is not None

    def segment(self, request, on_progress, on_answer, on_failure):
        from RAREUNetSegmentLib.worker_client import BusyError

        if self.busy:
            raise BusyError("another scan is being segmented: wait for it or cancel it, then try again.")
        self.request, self.on_progress = request, on_progress
        self.on_answer, self.on_failure = on_answer, on_failure
        on_progress("start", 0.0)

    def answer(self):
        """What FakePredictor finds in the voxels that came."""
        request, self.request = self.request, None
        predictor = FakePredictor()
        self.on_answer(predictor.predict(request.channels[0]))

    def cancel(self):
        self.request, self.cancelled = None, self.cancelled + 1

    def wait(self, milliseconds):
        """Does nothing."""


@pytest.fixture
def panel(slicer_app, tmp_path, monkeypatch):
    """The panel with a scan chosen."""
    import standin
    from rareunet import installed_models

    save_tiny_model(tmp_path / "packaged", "hippocampus")
    monkeypatch.setattr(installed_models, "PACKAGED_MODELS", tmp_path / "packaged")
    module = standin.load_module(MODULE)
    representation = module.widgetRepresentation()
    representation.enter()
    widget = representation.self()
    widget._parameterNode.inputVolume = add_scan(scan_with_blobs(), name="Mrs Miller")
    yield widget
    if "RAREUNetSegment" in sys.modules:
        standin.unload_module(module)


@pytest.fixture
def engine(panel, monkeypatch):
    """The panel's engine, held."""
    held = HeldEngine()
    monkeypatch.setattr(sys.modules["RAREUNetSegment"], "shared_worker", lambda: held)
    return held


@pytest.fixture
def use_worker(panel, tmp_path, monkeypatch):
    """Gives the panel a worker process of this command."""
    from RAREUNetSegmentLib.worker_client import WorkerClient

    made = []

    def use(command):
        made.append(WorkerClient(str(tmp_path), command))
        monkeypatch.setattr(sys.modules["RAREUNetSegment"], "shared_worker", lambda: made[-1])
        return made[-1]

    yield use
    for client in made:
        client.close()


def voxel_counts(node):
    from RAREUNetSegmentLib.segments import segment_voxel_counts

    return segment_voxel_counts(node)


def is_shown(panel, name):
    return getattr(panel.ui, name).isVisibleTo(panel.parent)


def test_scan_is_read_after_packages_were_installed(panel, engine, monkeypatch):
    """While they are installed the user can go on; the result belongs to the scan as it is then."""
    import slicer.util

    from RAREUNetSegmentLib import dependencies

    node = panel._parameterNode.inputVolume

    def change_the_scan():
        node.SetSpacing(2, 2, 2)
        slicer.util.updateVolumeFromArray(node, np.zeros((20, 22, 24), np.int16))

    monkeypatch.setattr(dependencies, "ensure_packages", change_the_scan)
    panel.ui.applyButton.click()
    (channel,) = engine.request.channels
    assert channel.shape == (20, 22, 24)
    assert channel.spacing_mm == pytest.approx((2, 2, 2))
    engine.answer()
    assert len(segmentations()) == 1


def test_apply_returns_and_the_panel_says_how_far_it_is(panel, engine):
    panel.ui.applyButton.click()
    assert engine.busy
    assert not panel.ui.applyButton.enabled
    assert "wait for it, or cancel it" in panel.ui.applyButton.toolTip
    assert is_shown(panel, "progressBar")
    assert is_shown(panel, "cancelButton")
    assert panel.ui.progressBar.format == "Starting..."
    engine.on_progress("network", 0.5)
    assert panel.ui.progressBar.value == 50
    assert panel.ui.progressBar.format == "Segmenting..."
    engine.answer()
    assert panel.ui.applyButton.enabled
    assert not is_shown(panel, "progressBar")
    assert not is_shown(panel, "cancelButton")
    assert is_shown(panel, "show3DButton")
    assert voxel_counts(segmentations()[0]) == {"RAREUNet_fake_5": 120, "RAREUNet_fake_9": 27}


def test_the_second_run_knows_the_time_of_the_first(panel, engine):
    panel.ui.applyButton.click()
    engine.answer()  # says that it took 1.5 s
    panel.ui.applyButton.click()
    engine.on_progress("prepare", 0.0)
    assert panel.ui.progressBar.format == "Preparing the scan, about 2 s left"
    engine.answer()


def test_cancel_leaves_scene_and_earlier_result(panel, engine):
    import slicer

    panel.ui.applyButton.click()
    engine.answer()
    (node,) = segmentations()
    before, nodes = voxel_counts(node), slicer.mrmlScene.GetNumberOfNodes()
    panel.ui.applyButton.click()
    panel.ui.cancelButton.click()
    assert engine.cancelled == 1
    assert panel.ui.resultLabel.text == "Cancelled. The scene is as it was."
    assert panel.ui.applyButton.enabled
    assert (voxel_counts(node), slicer.mrmlScene.GetNumberOfNodes()) == (before, nodes)


def test_scene_closed_meanwhile(panel, engine):
    import slicer

    panel.ui.applyButton.click()
    slicer.mrmlScene.Clear(0)
    assert engine.cancelled == 1
    assert not is_shown(panel, "progressBar")
    assert panel._parameterNode.inputVolume is None
    panel._parameterNode.inputVolume = add_scan(scan_with_blobs())
    panel.ui.applyButton.click()
    engine.answer()
    assert len(segmentations()) == 1


def test_scan_deleted_meanwhile(panel, engine, slicer_app):
    import slicer

    panel.ui.applyButton.click()
    slicer.mrmlScene.RemoveNode(panel._parameterNode.inputVolume)
    engine.answer()
    assert segmentations() == []
    assert "was removed while it was being segmented" in slicer_app.dialogs[0].text
    assert "Load it again" in panel.ui.resultLabel.text


def test_scan_moved_or_given_another_grid_meanwhile(panel, engine, slicer_app):
    node = panel._parameterNode.inputVolume
    panel.ui.applyButton.click()
    node.SetAndObserveTransformNodeID(add_transform(np.diag([1.0, 1.0, 1.0, 1.0])).GetID())
    engine.answer()
    (result,) = segmentations()
    assert result.GetParentTransformNode() is node.GetParentTransformNode()
    before = voxel_counts(result)
    panel.ui.applyButton.click()
    node.SetSpacing(2, 2, 2)
    engine.answer()
    assert "another grid" in slicer_app.dialogs[0].text
    assert voxel_counts(result) == before


def test_scan_of_another_size_meanwhile(panel, engine, slicer_app):
    import slicer.util

    panel.ui.applyButton.click()
    slicer.util.updateVolumeFromArray(panel._parameterNode.inputVolume, scan_with_blobs((30, 26, 28)))
    engine.answer()
    assert "another grid" in slicer_app.dialogs[0].text
    assert segmentations() == []


def test_voxels_changed_meanwhile_keeps_the_result_and_warns(panel, engine):
    import slicer.util

    node = panel._parameterNode.inputVolume
    panel.ui.applyButton.click()
    slicer.util.updateVolumeFromArray(node, scan_with_blobs() + 1)
    engine.answer()
    (result,) = segmentations()
    assert "voxels were changed" in result.GetAttribute("RAREUNet.Warnings")
    assert "Press Apply again" in panel.ui.resultLabel.text


def test_output_deleted_meanwhile(panel, engine):
    import slicer

    panel.ui.applyButton.click()
    engine.answer()
    (first,) = segmentations()
    panel.ui.applyButton.click()
    slicer.mrmlScene.RemoveNode(first)
    engine.answer()
    (second,) = segmentations()
    assert second is not first
    assert panel._parameterNode.outputSegmentation is second


def test_another_scan_chosen_meanwhile(panel, engine):
    panel.ui.applyButton.click()
    panel._parameterNode.inputVolume = add_scan(scan_with_blobs(), name="Mr Smith")
    assert not panel.ui.applyButton.enabled
    engine.answer()
    (node,) = segmentations()
    assert node.GetName() == "Mrs Miller segmentation"
    assert panel._parameterNode.outputSegmentation is None
    assert panel.ui.applyButton.enabled


def test_panel_left_meanwhile(panel, engine):
    panel.ui.applyButton.click()
    panel.exit()
    engine.answer()
    (node,) = segmentations()
    panel.enter()
    assert panel._parameterNode.outputSegmentation is node
    assert is_shown(panel, "resultLabel")


def test_module_unloaded_meanwhile(panel, engine, slicer_app):
    import slicer

    import standin

    panel.ui.applyButton.click()
    standin.unload_module(slicer.modules.rareunetsegment)
    assert engine.cancelled == 1
    time.sleep(0.6)  # the panel's clock would have ticked
    slicer_app.processEvents()


def test_console_is_refused_while_the_panel_runs(panel, engine):
    panel.ui.applyButton.click()
    with pytest.raises(ValueError, match="another scan is being segmented"):
        panel.logic.process(panel._parameterNode.inputVolume)
    engine.answer()
    assert len(segmentations()) == 1


def test_panel_is_refused_while_the_console_runs(panel, engine, slicer_app):
    import qt

    def apply_then_answer():
        panel.ui.applyButton.click()
        engine.answer()

    qt.QTimer.singleShot(0, apply_then_answer)
    node = panel.logic.process(panel._parameterNode.inputVolume)
    assert segmentations() == [node]
    assert "another scan is being segmented" in slicer_app.dialogs[0].text
    assert len(slicer_app.takeSlotExceptions()) == 1
    assert panel.ui.applyButton.enabled


def test_console_run_that_is_interrupted_or_cancelled(panel, engine, monkeypatch):
    import qt

    scan = panel._parameterNode.inputVolume
    qt.QTimer.singleShot(0, engine.cancel)
    with pytest.raises(RuntimeError, match="was cancelled"):
        panel.logic.process(scan)

    def interrupt(milliseconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        panel.logic.process(scan)
    assert not engine.busy


def test_process_in_a_worker_lets_events_happen(panel, use_worker):
    import qt

    use_worker(light_worker("time.sleep(0.3)"))
    ticks, timer = [], qt.QTimer()
    timer.connect("timeout()", lambda: ticks.append(1))
    timer.start(10)
    node = panel.logic.process(panel._parameterNode.inputVolume)
    assert len(ticks) > 3
    assert voxel_counts(node) == {"RAREUNet_fake_5": 120, "RAREUNet_fake_9": 27}


def test_process_raises_what_the_worker_tells(panel, use_worker):
    from RAREUNetSegmentLib.run import SegmentationError

    scan = panel._parameterNode.inputVolume
    use_worker(light_worker("raise ValueError('the scan is odd: choose another one.')"))
    with pytest.raises(ValueError, match="choose another one"):
        panel.logic.process(scan)
    use_worker(light_worker("raise MemoryError()"))
    with pytest.raises(SegmentationError, match="memory is not enough") as caught:
        panel.logic.process(scan)
    assert "MemoryError" in caught.value.report
    assert segmentations() == []


def test_cancel_of_a_real_worker_is_quick(panel, use_worker):
    client = use_worker(light_worker("time.sleep(600)"))
    panel.ui.applyButton.click()
    wait_until(lambda: panel.ui.progressBar.value == 50)
    began = time.monotonic()
    panel.ui.cancelButton.click()
    assert time.monotonic() - began < 1
    assert panel.ui.applyButton.enabled
    assert not client.busy


def test_killed_worker_leaves_the_segmentation_and_a_report_without_names(panel, use_worker, slicer_app):
    client = use_worker(light_worker())
    panel.ui.applyButton.click()
    finish_run(panel)
    (node,) = segmentations()
    before = voxel_counts(node)
    client.close()
    client._command = light_worker(
        "print('Mrs Miller was here', file=sys.stderr, flush=True); time.sleep(600)"
    )
    panel.ui.applyButton.click()
    wait_until(lambda: panel.ui.progressBar.value == 50)
    wait_until(lambda: "was here" in client._process.output)
    os.kill(client.pid, KILL)
    finish_run(panel)
    assert voxel_counts(node) == before
    (dialog,) = slicer_app.dialogs
    assert "crashed" in dialog.text
    assert "Press Apply again" in dialog.text or "press Apply again" in dialog.text
    panel.ui.copyReportButton.click()
    report = slicer_app.clipboard().text()
    assert report == dialog.detail
    for part in ("RAREUNet 0.", "Slicer 5.12.3", "torch ", "Device asked for: auto", "hippocampus 0.1.0"):
        assert part in report
    assert "1 x 28 x 26 x 24 (channels x X x Y x Z), float32, 1 x 1 x 1 mm" in report
    assert "Route: 1.0 x 1.0 x 1.0 mm: enters at depth 0" in report
    assert "[name] was here" in report
    assert "Miller" not in report
    client._command = light_worker()
    panel.ui.applyButton.click()
    assert not is_shown(panel, "copyReportButton")
    finish_run(panel)
    assert voxel_counts(node) == before


def test_route_in_the_report_is_the_cores_on_a_turned_scan_and_at_a_chosen_depth(
    panel, use_worker, slicer_app
):
    matrix = turned_world(40, 0) @ np.diag([1.0, 1.0, 4.0, 1.0])
    panel._parameterNode.inputVolume = add_scan(np.ones((8, 20, 20)), matrix)
    use_worker(light_worker("raise RuntimeError('broken')"))
    panel.ui.applyButton.click()
    finish_run(panel)
    (dialog,) = slicer_app.dialogs
    assert "Route: 1.0 x 1.0 x 1.0 mm along the patient's axes (resampled: " in dialog.detail
    panel.ui.entryDepthComboBox.setCurrentIndex(2)
    panel.ui.applyButton.click()
    finish_run(panel)
    assert "is turned by 40 degrees): enters at depth 1; " in slicer_app.dialogs[-1].detail


def test_time_left():
    from RAREUNetSegmentLib.run_progress import ProgressLine

    now = [0.0]
    line = ProgressLine(clock=lambda: now[0])
    assert line.text() == "Starting..."
    line.update("prepare", 0.0)
    now[0] = 2.0
    line.update("network", 0.1)
    assert line.text() == "Segmenting..."  # nothing tells how long a network takes
    now[0] = 4.0
    line.update("network", 0.3)  # 0.2 in 2 s, hence 7 s for the other 0.7
    assert line.text() == "Segmenting, about 7 s left"
    now[0] = 9.0
    assert line.text() == "Segmenting, about 2 s left"
    now[0] = 12.0
    assert line.text() == "Segmenting..."  # it should have been over
    line.update("network", 0.31)  # 0.21 in 10 s
    assert line.text() == "Segmenting, about 33 s left"
    line.update("smaller tiles", 0.4)
    assert line.text().startswith("Working")


def test_time_left_by_earlier_runs():
    from RAREUNetSegmentLib.run_progress import ProgressLine

    now = [0.0]
    line = ProgressLine(200.0, clock=lambda: now[0])
    now[0] = 5.0
    line.update("load", 0.0)
    assert line.text() == "Loading the model..."
    line.update("prepare", 0.0)
    assert line.text() == "Preparing the scan, about 4 min left"
    now[0] = 150.0
    assert line.text() == "Preparing the scan, about 55 s left"
