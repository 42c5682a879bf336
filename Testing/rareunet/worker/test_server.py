"""The worker process itself, driven through its pipes without Qt."""

import contextlib
import json
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from segment_helpers import make_labels, save_tiny_model

from rareunet import Predictor, RegionOfInterest, Volume, __version__
from rareunet.worker.protocol import (
    PROTOCOL_VERSION,
    Failure,
    Hello,
    Progress,
    Segment,
    Segmented,
    decode,
    encode,
)

SCAN = np.random.default_rng(0).normal(100, 20, (1, 20, 22, 24)).astype(np.float32)
MATRIX = ((1.1, 0.0, 0.0, 5.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 2.0, -3.0), (0.0, 0.0, 0.0, 1.0))
REGION = RegionOfInterest((15.0, 10.0, 17.0), (20.0, 18.0, 30.0), np.eye(3))

# The predictor never returns; "sleeping" on stderr tells that it has begun.
SLEEPING = """
import sys, time
import rareunet.worker.server
from rareunet import predictor
def sleep(*arguments, **options):
    print("sleeping", file=sys.stderr, flush=True)
    time.sleep(600)
predictor.Predictor.predict = sleep
rareunet.worker.server.main()
"""

# The predictor prints while it works, from Python and past it; the messages must not suffer.
PRINTING = """
import os
import rareunet.worker.server
from rareunet import predictor
predict = predictor.Predictor.predict
def chatter(*arguments, **options):
    print("from Python")
    os.write(1, b"{past Python")
    return predict(*arguments, **options)
predictor.Predictor.predict = chatter
rareunet.worker.server.main()
"""


class Pipes:
    """A started worker: send() a message, receive() the next one."""

    def __init__(self, folder, code=None):
        self.folder = folder
        start = ["-m", "rareunet.worker"] if code is None else ["-c", code]
        self.process = subprocess.Popen(
            [sys.executable, *start, "--folder", str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def send(self, message):
        self.process.stdin.write(message if isinstance(message, bytes) else encode(message))
        self.process.stdin.flush()

    def receive(self):
        line = b"\n"
        while line == b"\n":
            line = self.process.stdout.readline()
        return decode(line)

    def receive_answer(self):
        """The next message that is no progress, and the steps before it."""
        steps = []
        while isinstance(message := self.receive(), Progress):
            steps.append((message.step, message.fraction))
        return message, steps

    def end(self):
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def start_on(folder, code=None):
    folder.mkdir()
    np.save(folder / "scan.npy", SCAN)
    pipes = Pipes(folder, code)
    assert pipes.receive() == Hello(PROTOCOL_VERSION, __version__, pipes.process.pid)
    return pipes


@pytest.fixture(scope="module")
def pipes(tmp_path_factory):
    """A worker for all tests that leave it alive, one of a predictor that prints."""
    pipes = start_on(tmp_path_factory.mktemp("worker") / "private", PRINTING)
    yield pipes
    pipes.end()


@pytest.fixture
def start(tmp_path):
    """Starts a worker of the test's own."""
    started = []

    def start_worker(code=None):
        started.append(start_on(tmp_path / "private", code))
        return started[-1]

    yield start_worker
    for pipes in started:
        pipes.end()


@pytest.fixture
def request_one(tmp_path):
    model = str(save_tiny_model(tmp_path).folder)
    return Segment(
        job=1, voxels_files=("scan.npy",), label_map_file="labels.npy", matrices=(MATRIX,),
        model=model, device="cpu", center_ras=None, size_mm=None, region_axes=None, entry_depth=None, force=True,
        memory_gb=None, structures=None,
    )  # fmt: skip


def with_region(request):
    axes = tuple(map(tuple, REGION.axes.tolist()))
    return replace(request, job=2, center_ras=REGION.center_ras, size_mm=REGION.size_mm, region_axes=axes)


def test_answers_are_the_predictors(pipes, request_one):
    for request, region in ((request_one, None), (with_region(request_one), REGION)):
        pipes.send(request)
        message, steps = pipes.receive_answer()
        expected = Predictor(request.model, "cpu").predict(
            Volume(SCAN, np.array(MATRIX), "the scan"), region, force=True
        )
        assert isinstance(message, Segmented)
        assert message.job == request.job
        assert [step for step, _ in steps][:2] == ["load", "prepare"]
        assert [fraction for _, fraction in steps] == sorted(fraction for _, fraction in steps)
        answer = message.to_prediction(np.load(pipes.folder / "labels.npy"))
        np.testing.assert_array_equal(answer.label_map, expected.label_map)
        assert answer.label_map.dtype == expected.label_map.dtype
        for name in ("route", "device", "volumes_ml", "certainty", "warnings", "model", "labels"):
            assert getattr(answer, name) == getattr(expected, name)
        assert answer.seconds.keys() == expected.seconds.keys()
        assert answer.describe().startswith(expected.route.describe())


def test_refusals_leave_the_worker_as_good_as_before(pipes, request_one):
    pipes.send(replace(request_one, device="tpu"))
    failure, _ = pipes.receive_answer()
    assert failure.refused
    assert "choose auto, cpu" in failure.cause
    pipes.send(replace(request_one, model="/nowhere"))
    failure, _ = pipes.receive_answer()
    assert failure.refused
    assert "no model" in failure.cause
    pipes.send(b"rubbish\n")
    failure, _ = pipes.receive_answer()
    assert "rubbish" in failure.cause
    pipes.send(Progress(1, "load", 0.0))
    failure, _ = pipes.receive_answer()
    assert "takes the message Segment" in failure.cause
    pipes.send(request_one)
    assert isinstance(pipes.receive_answer()[0], Segmented)


def test_the_memory_is_the_requests(pipes, request_one):
    pipes.send(replace(request_one, memory_gb=1e-6))
    failure, _ = pipes.receive_answer()
    assert isinstance(failure, Failure)
    assert "allow more memory" in failure.cause
    assert "MemoryLadderError" in failure.details


def test_the_structures_are_the_requests(pipes, request_one):
    pipes.send(replace(request_one, structures=("Back",)))
    message, _ = pipes.receive_answer()
    answer = message.to_prediction(np.load(pipes.folder / "labels.npy"))
    assert [label.name for label in answer.labels] == ["Back"]
    assert set(np.unique(answer.label_map)) == {0, 9}


def test_a_missing_file_is_an_unexpected_failure_with_its_traceback(pipes, request_one):
    pipes.send(replace(request_one, voxels_files=("absent.npy",)))
    failure, _ = pipes.receive_answer()
    assert isinstance(failure, Failure)
    assert not failure.refused
    assert "FileNotFoundError" in failure.details


def test_a_model_of_other_labels_is_loaded_anew(pipes, request_one, tmp_path):
    pipes.send(request_one)
    pipes.receive_answer()
    other = save_tiny_model(tmp_path, "other", labels=make_labels((1, 2)))  # the same weights
    pipes.send(replace(request_one, model=str(other.folder)))
    message, _ = pipes.receive_answer()
    assert message.model["name"] == "other"
    assert [label["value"] for label in message.labels] == [1, 2]


def test_prints_go_to_stderr(pipes, request_one):
    pipes.send(request_one)
    assert isinstance(pipes.receive_answer()[0], Segmented)
    printed = b"".join(pipes.process.stderr.readline() for _ in range(2))
    assert b"from Python" in printed
    assert b"{past Python" in printed


@pytest.mark.parametrize("computing", [False, True])
def test_ends_and_cleans_up_when_its_stdin_closes(start, request_one, computing):
    pipes = start(SLEEPING if computing else None)
    if computing:
        pipes.send(request_one)
        while b"sleeping" not in pipes.process.stderr.readline():
            pass
    began = time.monotonic()
    pipes.process.stdin.close()
    assert pipes.process.wait(timeout=30) == 0
    assert time.monotonic() - began < 25
    assert not pipes.folder.exists()


def test_ends_when_nobody_reads_its_events(start, request_one):
    pipes = start()
    pipes.process.stdout.close()
    with contextlib.suppress(BrokenPipeError):
        pipes.send(request_one)
    threading.Timer(30, pipes.process.kill).start()
    assert pipes.process.wait() == 0
    assert not pipes.folder.exists()


def test_messages_are_one_line_of_ascii(request_one):
    for message in (
        request_one,
        with_region(request_one),
        Hello(1, "0.1.0", 7),
        Progress(3, "network", 0.25),
        Segmented(
            1,
            "f",
            {"a": [1, 2]},
            "cpu",
            {"network": 1.5},
            {"Ä": 0.1},
            None,
            ("line\nline",),
            {"name": "m"},
            (),
        ),
        Failure(1, True, "a\nb", "c", "d"),
    ):
        line = encode(message)
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        assert line.isascii()
        assert decode(line) == message


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"loading...",
        b"3",
        b"[]",
        b"{}",
        b'{"message": "Hello"}',
        b'{"message": "Hi", "protocol": 1}',
        b'{"message": "Hello", "protocol": "1", "version": "0.1.0", "pid": 3}',
        b'{"message": "Hello", "protocol": true, "version": "0.1.0", "pid": 3}',
        b'{"message": "Hello", "protocol": null, "version": "0.1.0", "pid": 3}',
        b'{"message": "Hello", "protocol": 1, "version": "0.1.0", "pid": 3, "more": 1}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_message_is_refused(line):
    with pytest.raises(ValueError, match="is|not a message"):
        decode(line)


def test_what_may_be_missing_is_of_its_type_where_it_is_there(request_one):
    content = json.loads(encode(request_one))
    assert decode(json.dumps({**content, "memory_gb": None, "entry_depth": None}).encode()).memory_gb is None
    for name, value in (("memory_gb", "much"), ("entry_depth", 1.5), ("entry_depth", True)):
        with pytest.raises(ValueError, match=name):
            decode(json.dumps({**content, name: value}).encode())


def test_the_region_survives_the_way(request_one):
    sent = decode(json.dumps(json.loads(encode(with_region(request_one)))).encode())
    assert sent.region.center_ras == REGION.center_ras
    assert sent.region.size_mm == REGION.size_mm
    np.testing.assert_array_equal(sent.region.axes, REGION.axes)
    assert decode(encode(request_one)).region is None
