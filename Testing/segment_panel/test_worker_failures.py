"""The client of the worker process when that process dies, refuses, says something else, or nothing."""

import errno
import os
import signal
import sys
import time

import numpy as np
import pytest
from segment_helpers import Outcome, behind_launcher, light_worker, wait_until

from rareunet.worker.protocol import Failure, Progress

KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
HANG = "lambda worker, line: time.sleep(600)"
SLEEP = "time.sleep(600)"


def plain(command):
    return command


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


def test_no_room_for_the_voxels(make_client, request_one, monkeypatch):
    from RAREUNetSegmentLib.worker_client import State

    def save(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    client = make_client()
    monkeypatch.setattr(np, "save", save)
    outcome = Outcome(client, request_one)
    assert "disk" in outcome.failure.cause
    assert client.state is State.STOPPED


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
