"""The client of the worker process: what it does when the process is well, and when it is not."""

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from segment_helpers import behind_launcher, light_worker, save_tiny_model, wait_until

from rareunet.geometry import RegionOfInterest
from rareunet.volume import Volume
from rareunet.worker.protocol import Failure, Progress

KILL = getattr(signal, "SIGKILL", signal.SIGTERM)

SLEEP = "time.sleep(600)"
HANG = "lambda worker, line: time.sleep(600)"

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


class Outcome:
    """What a run told: its steps, then an answer or a failure."""

    def __init__(self, client, request):
        self.steps, self.answer, self.failure = [], None, None
        client.segment(
            request, lambda step, fraction: self.steps.append(step), self.take_answer, self.take_failure
        )

    def take_answer(self, answer):
        self.answer = answer

    def take_failure(self, failure):
        self.failure = failure

    def wait(self):
        wait_until(lambda: self.answer is not None or self.failure is not None)
        return self


@pytest.fixture
def request_one(tmp_path):
    from RAREUNetSegmentLib.worker_client import Request

    voxels = np.random.default_rng(0).normal(100, 20, (20, 22, 24)).astype(np.float32)
    model = save_tiny_model(tmp_path / "models").folder
    return Request((Volume(voxels, np.eye(4), "Mrs Miller"),), None, str(model), "cpu", None, True)


@pytest.fixture
def make_client(slicer_app, tmp_path):
    """Clients with private folders in tmp_path / "temporary"; nothing may be left there."""
    from RAREUNetSegmentLib.worker_client import WorkerClient

    folder, made = tmp_path / "temporary", []
    folder.mkdir()

    def make(command=None, **options):
        made.append(WorkerClient(str(folder), command, **options))
        return made[-1]

    yield make
    for client in made:
        client.close()
    slicer_app.processEvents()
    assert list(folder.iterdir()) == []


def plain(command):
    return command


def is_alive(pid):
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


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


@pytest.mark.parametrize("seconds", [0, 0.1])
@pytest.mark.parametrize("launched", [plain, behind_launcher])
def test_killed_while_idle(make_client, request_one, launched, seconds):
    client = make_client(launched(light_worker()))
    Outcome(client, request_one).wait()
    process = client.pid
    os.kill(process, KILL)
    time.sleep(seconds)  # no event tells the client
    outcome = Outcome(client, request_one).wait()
    assert outcome.failure is None
    assert client.pid != process


def test_killed_while_idle_and_the_model_is_gone(make_client, request_one, tmp_path):
    client = make_client(light_worker())
    Outcome(client, request_one).wait()
    os.kill(client.pid, KILL)
    outcome = Outcome(client, request_one)
    (tmp_path / "models").rename(tmp_path / "elsewhere")
    outcome.wait()
    assert "no model" in outcome.failure.cause
    assert not client.busy


@pytest.mark.parametrize("launched", [plain, behind_launcher])
def test_killed_in_a_run(make_client, request_one, launched):
    from RAREUNetSegmentLib.worker_client import State

    command = light_worker("print('half way', file=sys.stderr, flush=True); time.sleep(600)")
    client = make_client(launched(command))
    outcome = Outcome(client, request_one)
    wait_until(lambda: "network" in outcome.steps and "half way" in client._process.output)
    os.kill(client.pid, KILL)
    outcome.wait()
    assert "crashed" in outcome.failure.cause
    assert (
        "Press Apply again" in outcome.failure.next_step or "press Apply again" in outcome.failure.next_step
    )
    assert "half way" in outcome.failure.details
    assert client.state is State.STOPPED
    client._command = light_worker()
    assert Outcome(client, request_one).wait().failure is None


def test_cancel_ends_what_computes_behind_a_launcher(make_client, request_one):
    """A worker that never lets its other thread see the closed pipe."""
    command = light_worker("import re; re.match('(a+)+$', 'a' * 40 + 'b')")
    client = make_client(behind_launcher(command))
    outcome = Outcome(client, request_one)
    wait_until(lambda: "network" in outcome.steps)
    process = client.pid
    client.cancel()
    wait_until(lambda: not is_alive(process), seconds=5)


@pytest.mark.parametrize(
    ("instead", "cause"),
    [
        ("raise MemoryError()", "memory is not enough"),
        (
            "raise RuntimeError('CUDA error: an illegal memory access was encountered')",
            "graphics card failed",
        ),
        ("raise ModuleNotFoundError(\"No module named 'nibabel'\", name='nibabel')", "package nibabel"),
        ("sys.exit(4)", "exit code 4"),
        ("import faulthandler; faulthandler._sigsegv()", "crashed"),
    ],
)
def test_failures_replace_the_worker(make_client, request_one, instead, cause):
    from RAREUNetSegmentLib.worker_client import State

    client = make_client(light_worker(instead))
    outcome = Outcome(client, request_one).wait()
    assert cause in outcome.failure.cause
    assert not outcome.failure.refused
    assert "predict" in outcome.failure.details or "exit" in outcome.failure.cause
    assert client.state is State.STOPPED


def test_a_refusal_keeps_the_worker(make_client, request_one):
    from RAREUNetSegmentLib.worker_client import State

    client = make_client(light_worker("raise ValueError(volume.name + ' is odd: choose another one.')"))
    failure = Outcome(client, request_one).wait().failure
    assert failure.refused
    assert failure.cause == "the scan is odd: choose another one."  # the worker knows no names
    assert client.state is State.READY


def test_rubbish_on_stdout_is_skipped_and_kept_for_the_report(make_client, request_one):
    client = make_client(
        light_worker(
            "raise KeyError('x')",
            "print('Loading plug-ins...\\n{broken', flush=True)\nprint('[' * 100000)\nsys.stdout.write('\\xff')",
        )
    )
    outcome = Outcome(client, request_one).wait()
    assert "KeyError" in outcome.failure.cause
    assert "Loading plug-ins" in outcome.failure.details
    assert "{broken" in outcome.failure.details


def test_another_version_is_refused(make_client, request_one):
    client = make_client(light_worker(before="rareunet.worker.server.__version__ = '9.9.9'"))
    outcome = Outcome(client, request_one).wait()
    assert "RAREUNet 9.9.9" in outcome.failure.cause
    assert outcome.failure.next_step == "Restart Slicer."


def test_another_protocol_is_refused(make_client, request_one):
    client = make_client(light_worker(before="rareunet.worker.server.PROTOCOL_VERSION = 99"))
    outcome = Outcome(client, request_one).wait()
    assert "(protocol 99)" in outcome.failure.cause


def test_news_of_another_job_is_not_taken(make_client, request_one):
    client = make_client(light_worker(SLEEP))
    outcome = Outcome(client, request_one)
    wait_until(lambda: "network" in outcome.steps)
    client._receive(Progress(99, "another", 0.9))
    client._receive(Failure(99, True, "another"))
    assert "another" not in outcome.steps
    assert outcome.failure is None
    assert client.busy


def test_a_worker_that_ends_at_once(make_client, request_one):
    client = make_client((sys.executable, ("-c", "import no_such_package")))
    outcome = Outcome(client, request_one).wait()
    assert "No module named 'no_such_package'" in outcome.failure.cause


def test_a_program_that_is_not_there(make_client, request_one):
    outcome = Outcome(make_client(("/no/such/python", ())), request_one).wait()
    assert "could not be started: /no/such/python" in outcome.failure.cause


def test_an_answer_of_another_grid_is_not_taken(make_client, request_one):
    client = make_client(light_worker("volume = type(volume)(volume.voxels[:, 1:], volume.ijk_to_ras)"))
    outcome = Outcome(client, request_one).wait()
    assert "(19, 22, 24)" in outcome.failure.cause


@pytest.mark.parametrize(
    ("save", "cause"),
    [
        ("lambda path, array, save=np.save: save(path, array / 2)", "the label map is float64"),
        ("lambda path, array: path.write_bytes(b'rubbish')", "rubbish"),
    ],
    ids=["fractions", "rubbish"],
)
def test_an_answer_that_is_no_label_map_is_not_taken(make_client, request_one, save, cause):
    from RAREUNetSegmentLib.worker_client import State

    client = make_client(light_worker(before=f"import numpy as np; np.save = {save}"))
    failure = Outcome(client, request_one).wait().failure
    assert not failure.refused  # the worker is at fault, not the scan
    assert cause in failure.cause or "pickle" in failure.cause
    assert client.state is State.STOPPED


def test_a_line_that_never_ends_is_not_kept(make_client, request_one):
    code = f"import sys, time; sys.stdout.write('x' * 5_000_000); sys.stdout.flush(); {SLEEP}"
    client = make_client((sys.executable, ("-c", code)))
    Outcome(client, request_one)
    wait_until(lambda: "not a message: b'xxx" in client._process.output)
    assert len(client._process._unread) < 5_000_000


def test_it_does_not_run_where_a_user_may_keep_a_file_torch_py(make_client, request_one):
    from RAREUNetSegmentLib.worker_process import PACKAGE_FOLDER

    client = make_client((sys.executable, ("-c", "import os; raise SystemExit('in ' + os.getcwd())")))
    outcome = Outcome(client, request_one).wait()
    assert f"It said last: in {PACKAGE_FOLDER}" in outcome.failure.cause


def test_no_room_for_the_voxels(make_client, request_one, monkeypatch):
    from RAREUNetSegmentLib.worker_client import State

    def save(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    client = make_client()
    monkeypatch.setattr(np, "save", save)
    outcome = Outcome(client, request_one)
    assert "disk" in outcome.failure.cause
    assert client.state is State.STOPPED


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


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ((sys.executable, ("-c", "import time; time.sleep(600)")), ""),
        (
            light_worker(
                before="print('importing', flush=True); rareunet.worker.server.Worker.answer = " + HANG
            ),
            "importing",
        ),
    ],
    ids=["no hello", "no beginning"],
)
def test_a_worker_that_says_nothing_is_given_up(make_client, request_one, command, said):
    from RAREUNetSegmentLib.worker_client import State

    client = make_client(command, seconds_to_answer=3)
    outcome = Outcome(client, request_one).wait()
    assert "did not answer within 3 s" in outcome.failure.cause
    assert said in outcome.failure.details
    assert client.state is State.STOPPED
    client._command = light_worker()
    client._silence.seconds = 60
    assert Outcome(client, request_one).wait().failure is None


def test_a_long_computation_is_no_silence(make_client, request_one):
    client = make_client(light_worker("time.sleep(4)"), seconds_to_answer=3)
    assert Outcome(client, request_one).wait().failure is None


@pytest.mark.parametrize("warm", [True, False])
def test_a_busy_slicer_does_not_take_the_worker_for_silent(make_client, request_one, warm):
    client = make_client(light_worker("pass"), seconds_to_answer=3)
    if warm:
        assert Outcome(client, request_one).wait().failure is None
    outcome = Outcome(client, request_one)
    time.sleep(4)  # a registration, say, in Slicer's own thread
    assert outcome.wait().failure is None


def test_warming_up_in_vain_is_given_up_too(make_client, request_one):
    from RAREUNetSegmentLib.worker_client import State

    client = make_client(light_worker(SLEEP))
    outcome = Outcome(client, request_one)
    wait_until(lambda: "network" in outcome.steps)
    client._command = (sys.executable, ("-c", "import time; time.sleep(600)"))
    client._silence.seconds = 0.5
    client.cancel()
    wait_until(lambda: client.state is State.STOPPED)
    assert outcome.failure is None


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
