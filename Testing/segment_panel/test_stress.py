"""Many Applies in a row while the user cancels, workers are killed and scenes are closed: nothing may be lost or left.

RAREUNET_STRESS_RUNS sets how many (`nox -s stress`: 200).
"""

import gc
import os
import random
import signal
import sys

import psutil
import pytest
from segment_helpers import MODULE, add_scan, finish_run, save_tiny_model, wait_until

KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
RUNS = int(os.environ.get("RAREUNET_STRESS_RUNS", "60"))
MEASURED_FROM = 20  # until then caches fill
RUNS_TO_WARM_UP = 5  # a worker that was started just now has not taken all its memory yet
LARGEST_GROWTH = 1.05
EVENTS = {"run": 78, "cancel": 6, "kill": 4, "close in a run": 4, "close": 8}  # per cent


class User:
    """Applies, and disturbs; holds the segmentation against what the first run found."""

    def __init__(self, panel, client):
        self.panel, self.client = panel, client
        self.load_scan()
        self.apply_to_the_end()
        self.expected = self.voxel_counts()
        assert sum(self.expected.values()) > 0

    def load_scan(self):
        self.panel._parameterNode.inputVolume = add_scan(name="scan")
        self.panel._parameterNode.force = True

    def voxel_counts(self):
        from RAREUNetSegmentLib.segments import segment_voxel_counts

        return segment_voxel_counts(self.panel._parameterNode.outputSegmentation)

    def apply_to_the_end(self):
        self.panel.ui.applyButton.click()
        finish_run(self.panel)

    def do(self, event):
        import slicer

        had_result = self.panel._parameterNode.outputSegmentation is not None
        if event == "close":
            slicer.mrmlScene.Clear(0)
            self.load_scan()
            self.apply_to_the_end()
        elif event == "run":
            self.apply_to_the_end()
        else:
            self.panel.ui.applyButton.click()
            self.disturb(event)
        closed = event == "close in a run"
        if closed:
            self.load_scan()
        elif had_result or event in ("run", "close"):
            assert self.voxel_counts() == self.expected

    def disturb(self, event):
        import slicer

        if event == "cancel":
            self.panel.ui.cancelButton.click()
            assert "Cancelled" in self.panel.ui.resultLabel.text
        elif event == "kill":
            wait_until(lambda: self.client.pid or self.panel._run is None)
            if self.client.pid:
                os.kill(self.client.pid, KILL)
            finish_run(self.panel)
        else:
            slicer.mrmlScene.Clear(0)
        assert self.panel._run is None
        assert self.panel.ui.applyButton.enabled or event == "close in a run"


@pytest.fixture
def user(slicer_app, tmp_path, monkeypatch):
    import standin
    from rareunet import installed_models
    from RAREUNetSegmentLib.worker_client import WorkerClient

    save_tiny_model(tmp_path / "packaged", "hippocampus")
    monkeypatch.setattr(installed_models, "PACKAGED_MODELS", tmp_path / "packaged")
    module = standin.load_module(MODULE)
    client = WorkerClient(str(tmp_path))
    monkeypatch.setattr(sys.modules["RAREUNetSegment"], "shared_worker", lambda: client)
    representation = module.widgetRepresentation()
    representation.enter()
    yield User(representation.self(), client)
    standin.unload_module(module)
    client.close()


def memory_mib(process):
    gc.collect()
    return process.memory_info().rss / 2**20


def own_workers(client):
    """Processes of this client's workers, zombies included."""
    folder = client._parent_folder
    found = []
    for child in psutil.Process().children():
        if child.status() == psutil.STATUS_ZOMBIE or any(folder in word for word in child.cmdline()):
            found.append(child)
    return found


def test_many_runs(user, slicer_app, tmp_path):
    events = random.Random(0).choices(list(EVENTS), EVENTS.values(), k=RUNS)
    measured = []
    for number, event in enumerate(events, start=1):
        user.do(event)
        slicer_app.clearRecords()
        if number in (MEASURED_FROM, RUNS):
            for _ in range(RUNS_TO_WARM_UP):
                user.apply_to_the_end()
            worker = psutil.Process(user.client.pid)
            measured.append((memory_mib(psutil.Process()), memory_mib(worker)))
    assert set(events) == set(EVENTS)
    first, last = measured
    print(f"memory of Slicer and worker in MiB: {first} after {MEASURED_FROM} runs, {last} after {RUNS}")
    assert last[0] <= LARGEST_GROWTH * first[0]
    assert last[1] <= LARGEST_GROWTH * first[1]
    wait_until(lambda: [child.pid for child in own_workers(user.client)] == [user.client.pid])
    (folder,) = tmp_path.glob("rareunet-worker-*")
    assert [path.name for path in folder.iterdir()] == ["owner.lock"]
    user.client.close()
    assert own_workers(user.client) == []
    assert list(tmp_path.glob("rareunet-worker-*")) == []
