"""The client of the worker process when that is well: warm, idle, cancelled, and gone with its Slicer."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from segment_helpers import Outcome, behind_launcher, is_alive, light_worker, wait_until

from rareunet.geometry import RegionOfInterest

SLEEP = "time.sleep(600)"

# A Slicer that begins a run and is killed in it.
OWNER = """
import sys, standin
application = standin.start()
import numpy
from rareunet.volume import Volume
from RAREUNetSegmentLib.worker_client import Request, State, WorkerClient
folder, model, code = sys.argv[1:]
client = WorkerClient(folder, (sys.executable, ("-c", code)))
scan = Volume(numpy.zeros((20, 20, 20), numpy.float32), numpy.eye(4))
steps = []
client.segment(Request((scan,), None, model, "cpu", None, True), lambda step, f: steps.append(step), print, print)
while "network" not in steps:
    application.processEvents()
    client.wait(50)
print(client.pid, flush=True)
while True:
    application.processEvents()
    client.wait(50)
"""


def test_first_scan_starts_it_and_the_second_finds_it_warm(make_client, request_one):
    from rareunet.predictor import Predictor
    from RAREUNetSegmentLib.worker_client import State

    client = make_client()
    assert client.state is State.STOPPED
    first = Outcome(client, request_one)
    assert client.state is State.STARTING
    first.wait()
    process = client.pid
    second = Outcome(client, request_one).wait()
    assert client.state is State.READY
    assert client.pid == process
    assert first.steps[:3] == ["start", "load", "prepare"]
    assert second.steps[:2] == ["load", "prepare"]
    expected = Predictor(request_one.model, "cpu").predict(request_one.channels[0], force=True)
    np.testing.assert_array_equal(second.answer.label_map, expected.label_map)
    folder = client._process.folder
    assert [path.name for path in folder.iterdir()] == ["owner.lock"]  # the scan's files are gone
    client.close()
    assert not is_alive(process)
    assert not folder.exists()


def test_messages_leave_no_timers(make_client, request_one):
    """Slicer's QTimer.singleShot leaves one for each call."""
    import qt

    application = qt.QApplication.instance()
    before = application.findChildren(qt.QTimer)
    Outcome(make_client(light_worker()), request_one).wait()
    assert application.findChildren(qt.QTimer) == before


def test_cancel_ends_what_computes_behind_a_launcher(make_client, request_one):
    """A worker that never lets its other thread see the closed pipe."""
    command = light_worker("import re; re.match('(a+)+$', 'a' * 40 + 'b')")
    client = make_client(behind_launcher(command))
    outcome = Outcome(client, request_one)
    wait_until(lambda: "network" in outcome.steps)
    process = client.pid
    client.cancel()
    wait_until(lambda: not is_alive(process), seconds=5)


def test_it_does_not_run_where_a_user_may_keep_a_file_torch_py(make_client, request_one):
    from RAREUNetSegmentLib.worker_process import PACKAGE_FOLDER

    client = make_client((sys.executable, ("-c", "import os; raise SystemExit('in ' + os.getcwd())")))
    outcome = Outcome(client, request_one).wait()
    assert f"It said last: in {PACKAGE_FOLDER}" in outcome.failure.cause


def test_cancel_returns_at_once_and_warms_up_another(make_client, request_one):
    from RAREUNetSegmentLib.worker_client import State

    client = make_client(light_worker(SLEEP))
    outcome = Outcome(client, request_one)
    wait_until(lambda: "network" in outcome.steps)
    process, began = client.pid, time.monotonic()
    client.cancel()
    assert client.state is State.STARTING
    wait_until(lambda: not is_alive(process), seconds=10)
    assert time.monotonic() - began < 10
    wait_until(lambda: client.state is State.READY)
    assert (outcome.answer, outcome.failure) == (None, None)


def test_the_region_goes_to_the_worker_with_its_axes(slicer_app, request_one):
    axes = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    region = RegionOfInterest((1.0, 2.0, 3.0), (10.0, 20.0, 30.0), axes)
    sent = replace(request_one, region=region).message(1, "model").region
    assert (sent.center_ras, sent.size_mm) == (region.center_ras, region.size_mm)
    np.testing.assert_array_equal(sent.axes, axes)
    assert request_one.message(1, "model").region is None


def test_the_memory_goes_to_the_worker(make_client, request_one):
    client = make_client(light_worker("raise KeyError(str(options))"))
    failure = Outcome(client, replace(request_one, memory_gb=1.5)).wait().failure
    assert "'memory_gb': 1.5" in failure.cause


def test_cancel_while_it_starts(make_client, request_one):
    client = make_client(light_worker())
    for _ in range(3):
        Outcome(client, request_one)
        client.cancel()
    assert Outcome(client, request_one).wait().failure is None


def test_two_scans_at_once_are_refused(make_client, request_one):
    from RAREUNetSegmentLib.worker_client import BusyError

    client = make_client(light_worker())
    first = Outcome(client, request_one)
    with pytest.raises(BusyError, match="wait for it or cancel it"):
        Outcome(client, request_one)
    assert first.wait().failure is None


def test_an_unknown_model_is_refused_before_anything_starts(make_client, request_one):
    from RAREUNetSegmentLib.worker_client import State

    client = make_client()
    with pytest.raises(ValueError, match="no model"):
        Outcome(client, replace(request_one, model="liver"))
    assert client.state is State.STOPPED


def test_ends_after_an_idle_time(make_client, request_one):
    from RAREUNetSegmentLib.worker_client import State

    client = make_client(light_worker(), idle_minutes=0.1 / 60)
    Outcome(client, request_one).wait()
    process = client.pid
    wait_until(lambda: client.state is State.STOPPED)
    wait_until(lambda: not is_alive(process))
    assert Outcome(client, request_one).wait().failure is None


def test_a_run_longer_than_the_idle_time_is_not_idle(make_client, request_one):
    client = make_client(light_worker("time.sleep(2)"), idle_minutes=1 / 60)
    process = None
    for _ in range(2):
        assert Outcome(client, request_one).wait().failure is None
        assert client.pid == (process or client.pid)
        process = client.pid


def test_a_worker_that_warmed_up_for_nothing_ends_after_an_idle_time(make_client, request_one):
    from RAREUNetSegmentLib.worker_client import State

    client = make_client(light_worker(), idle_minutes=0.1 / 60)
    Outcome(client, request_one)
    client.cancel()
    wait_until(lambda: client.pid is not None)
    wait_until(lambda: client.state is State.STOPPED)


def test_ends_when_slicer_is_killed(request_one, tmp_path):
    folder = tmp_path / "temporary"
    folder.mkdir()
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder), request_one.model, light_worker(SLEEP)[1][1]],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    worker = int(owner.stdout.readline())
    assert len(list(folder.iterdir())) == 1
    owner.kill()
    owner.communicate()
    end = time.monotonic() + 20
    while is_alive(worker) or list(folder.iterdir()):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_next_start_sweeps_what_two_dead_ones_left(make_client, tmp_path):
    orphan = tmp_path / "temporary" / "rareunet-worker-orphan"
    orphan.mkdir()
    (orphan / "owner.lock").touch()
    (orphan / "voxels.npy").write_bytes(b"voxels")
    os.utime(orphan, (0, 0))
    make_client()
    assert not orphan.exists()


def test_slicers_own_python_runs_it_in_slicers_own_environment(slicer_app, monkeypatch):
    from RAREUNetSegmentLib import worker_process

    assert worker_process.worker_command() == (sys.executable, ("-m", "rareunet.worker"))
    monkeypatch.setattr(shutil, "which", {"PythonSlicer": "/Slicer/bin/PythonSlicer"}.get)
    assert worker_process.worker_command()[0] == "/Slicer/bin/PythonSlicer"
    monkeypatch.setenv("PYTHONPATH", "/Slicer/lib/Python")
    monkeypatch.setenv("SLICER_HOME", "/Slicer")
    environment = worker_process._environment()
    folders = environment.value("PYTHONPATH").split(os.pathsep)
    assert folders == [str(worker_process.PACKAGE_FOLDER), "/Slicer/lib/Python"]
    assert environment.value("SLICER_HOME") == "/Slicer"
