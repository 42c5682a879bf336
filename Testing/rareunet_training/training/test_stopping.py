"""How a run is asked to stop, within one process; test_fit_interrupted.py stops real ones."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from training_helpers import make_trainer, samples

from rareunet_training.training import stopping
from rareunet_training.training.stopping import StopRequest

ASKING = [signal.SIGINT, signal.SIGTERM]
posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no signals from one process to another")


@pytest.mark.parametrize("number", ASKING)
def test_first_signal_asks(tmp_path, number):
    before = [signal.getsignal(known) for known in ASKING]
    with StopRequest(tmp_path) as request:
        assert not request.is_made()
        signal.raise_signal(number)
        assert request.is_made()
    assert [signal.getsignal(known) for known in ASKING] == before


def test_second_ctrl_c_ends_the_process_at_once(tmp_path):
    with StopRequest(tmp_path):
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@posix
def test_second_sigterm_counts_when_it_is_no_echo(tmp_path):
    program = textwrap.dedent("""
        import signal, sys, time
        from pathlib import Path
        from rareunet_training.training import stopping

        stopping.ECHO_SECONDS = 0.1
        with stopping.StopRequest(Path(sys.argv[1])):
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            print("saves", flush=True)
            time.sleep(0.2)
            signal.raise_signal(signal.SIGTERM)
    """)
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, timeout=60)
    assert done.stdout.split() == [b"saves"]
    assert done.returncode == -signal.SIGTERM


def test_second_ctrl_c_through_torchrun_counts_when_it_is_no_echo(tmp_path, monkeypatch):
    monkeypatch.setattr(stopping, "ECHO_SECONDS", 0.1)
    with StopRequest(tmp_path, relayed=True) as request:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert request.is_made()
        time.sleep(0.2)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@posix
@pytest.mark.parametrize("number", ASKING)
def test_workers_of_a_run_outlive_the_signals_of_a_cluster(tmp_path, number):
    """They go to every process, and not from the parent, whose SIGTERM PyTorch's workers take for its own wish."""
    signalled, others = [], multiprocessing.active_children()

    def signal_workers(epoch, step, steps):
        if step == 2:  # from the second worker; so both are at work
            workers = [child for child in multiprocessing.active_children() if child not in others]
            signalled.extend(str(worker.pid) for worker in workers)
            subprocess.run(["kill", f"-{number}", *signalled], check=True)

    trainer = make_trainer(
        tmp_path, "fit.workers=2", "fit.batch_size=1", "fit.epochs=1",
        training=samples(12), on_step=signal_workers,
    )  # fmt: skip
    assert len(list(trainer.run())) == 1
    assert len(signalled) == 2


def test_file_asks_and_is_gone_after_a_clean_end(tmp_path):
    stop = tmp_path / "stop"
    stop.touch()
    with StopRequest(tmp_path) as request:
        assert request.is_made()
        request.withdraw()  # of the last run
        assert not request.is_made()
        stop.touch()
        assert request.is_made()
    assert not stop.exists()


def test_file_outlives_a_failure(tmp_path):
    """So that processes on other machines see it too."""

    def fail():
        with StopRequest(tmp_path):
            (tmp_path / "stop").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (tmp_path / "stop").exists()


def test_thread_is_asked_by_the_file_alone(tmp_path):
    """Python takes signal handlers in the main thread only."""
    answers = []

    def work():
        with StopRequest(tmp_path) as request:
            (tmp_path / "stop").touch()
            answers.append(request.is_made())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert answers == [True]
