"""The predictor in a process of its own: python -m rareunet.worker --folder FOLDER, started by the Slicer panel.

It reads requests from stdin, one at a time, and writes events to stdout (see protocol.py); the model stays
loaded. When its stdin closes, because the panel closed it or died, it removes FOLDER and ends, even in the middle of
a computation.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import logging
import os
import queue
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn

import numpy as np

from rareunet import __version__
from rareunet.bundle import Bundle
from rareunet.bundle_format import HASHES_FILE
from rareunet.channel_grids import join_channels
from rareunet.volume import Volume
from rareunet.worker.failures import UNKNOWN_JOB, from_exception
from rareunet.worker.protocol import (
    PROTOCOL_VERSION,
    Hello,
    Message,
    Progress,
    Segment,
    Segmented,
    decode,
    encode,
)

if TYPE_CHECKING:
    from rareunet.predictor import Predictor

SECONDS_BETWEEN_PROGRESS = 0.05


class Worker:
    """Answers requests; keeps the last predictor.

    Args:
        folder: the private folder.
        events: where the events go, binary.

    Attributes:
        broken: why the core could not be imported; every request is answered with it, since a second import of a
            half-imported torch can end the process.
    """

    def __init__(self, folder: Path, events: BinaryIO) -> None:
        self.folder = folder
        self.broken: Exception | None = None
        self._events = events
        self._key: tuple[str, str, str] | None = None
        self._predictor: Predictor | None = None

    def send(self, message: Message) -> None:
        try:
            self._events.write(encode(message))
            self._events.flush()
        except OSError:  # nobody listens any more
            leave(self.folder)

    def answer(self, line: bytes) -> None:
        """Does what a line asks for; whatever happens becomes a Failure."""
        job = UNKNOWN_JOB
        try:
            request = decode(line)
            if not isinstance(request, Segment):
                raise ValueError(f"a worker takes the message Segment, not {type(request).__name__}.")
            job = request.job
            if self.broken is not None:
                raise self.broken
            self.send(self._segment(request))
        except Exception as error:
            self.send(from_exception(job, error))

    def _segment(self, request: Segment) -> Segmented:
        report = _ProgressReport(self, request.job)
        report("load", 0.0)
        predictor = self._load(request.model, request.device)
        prediction = predictor.predict(
            self._volume(request, predictor.bundle),
            request.region,
            request.entry_depth,
            force=request.force,
            memory_gb=request.memory_gb,
            structures=request.structures,
            progress=report,
        )
        np.save(self.folder / request.label_map_file, prediction.label_map)
        return Segmented.of(request.job, request.label_map_file, prediction)

    def _volume(self, request: Segment, bundle: Bundle) -> Volume:
        """The scan; names of nodes, which may be patients', stay in the panel: channels are called as in the model."""
        count = len(request.voxels_files)
        names = bundle.channel_names
        if len(names) != count:  # refused later
            names = tuple(f"channel {number}" for number in range(1, count + 1))
        parts = zip(request.voxels_files, request.matrices, names, strict=True)
        channels = [
            Volume(np.load(self.folder / file, mmap_mode="r"), np.array(matrix), name)
            for file, matrix, name in parts
        ]
        return join_channels(channels, "the scan")

    def _load(self, model: str, device: str) -> Predictor:
        from rareunet.device import choose_device
        from rareunet.predictor import Predictor

        bundle = Bundle.load(model)
        hashes = (Path(model) / HASHES_FILE).read_text(encoding="utf-8")
        key = (hashes, device, str(choose_device(device)))  # a graphics card that was full may be free by now
        if self._predictor is None or self._key != key:
            self._predictor = None  # the old model's memory is free before the new one is loaded
            self._predictor, self._key = Predictor(bundle, device), key
        return self._predictor


class _ProgressReport:
    """Passes predict's progress on: every new step, and within a step not more often than anyone can read."""

    def __init__(self, worker: Worker, job: int) -> None:
        self._worker, self._job = worker, job
        self._step, self._sent_at = "", 0.0

    def __call__(self, step: str, fraction: float) -> None:
        now = time.monotonic()
        if step != self._step or now - self._sent_at >= SECONDS_BETWEEN_PROGRESS:
            self._step, self._sent_at = step, now
            self._worker.send(Progress(self._job, step, float(fraction)))


def private_output() -> BinaryIO:
    """stdout for the events alone: whatever a library prints, in Python or in C, goes to stderr from now on."""
    sys.stdout.flush()
    events = os.fdopen(os.dup(1), "wb")
    events.write(b"\n")  # what was printed until now may lack its end of line
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return events


def private_input() -> int:
    """Descriptor of stdin for the requests alone. Nobody else can wait on it: on Windows, a library that looks at a
    stdin on which another thread waits hangs.
    """
    requests, nothing = os.dup(0), os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return requests


def leave(folder: Path) -> NoReturn:
    """Ends the process from any thread, leaving no file behind."""
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def read_requests(descriptor: int, lines: queue.SimpleQueue[bytes], folder: Path) -> None:
    """Runs in a thread of its own, because a computation must not hide that stdin was closed."""
    # Unbuffered: a thread that waits within a buffered reader makes the interpreter abort when it ends.
    with open(descriptor, "rb", buffering=0) as requests:
        for line in requests:
            lines.put(line)
    leave(folder)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    parser = argparse.ArgumentParser(prog="python -m rareunet.worker", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="folder for voxels, removed at the end")
    folder = parser.parse_args(arguments).folder
    faulthandler.enable()  # a crash in a library tells on stderr where it was, for the report
    worker, requests = Worker(folder, private_output()), private_input()
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")  # to stderr, for the report too
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=read_requests, args=(requests, lines, folder), daemon=True).start()
    worker.send(Hello(PROTOCOL_VERSION, __version__, os.getpid()))
    try:
        importlib.import_module("rareunet.predictor")  # torch takes seconds
    except Exception as error:
        worker.broken = error
    while True:
        worker.answer(lines.get())
