"""How a run is asked to stop, within one process; test_fit_interrupted.py stops real ones."""

import signal
import threading

import pytest

from rareunet_training.stopping import StopRequest

ASKING = [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("number", ASKING)
def test_first_signal_asks_and_the_second_ends_the_process(tmp_path, number):
    before = [signal.getsignal(known) for known in ASKING]
    with StopRequest(tmp_path) as request:
        assert not request.is_made()
        signal.raise_signal(number)
        assert request.is_made()
        assert [signal.getsignal(known) for known in ASKING] == [signal.default_int_handler, signal.SIG_DFL]
    assert [signal.getsignal(known) for known in ASKING] == before


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
