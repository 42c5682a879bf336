"""The predictor in a process of its own: python -m rareunet.worker --folder FOLDER, started by the Slicer panel.

It reads requests from stdin, one at a time, and writes events to stdout (see worker_protocol.py); the model stays
loaded. When its stdin closes, because the panel closed it or died, it removes FOLDER and ends, even in the middle of
a computation.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import importlib
import os
import queue
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn

import numpy as np

from rareunet import __version__
from rareunet.bundle import Bundle
from rareunet.bundle_format import HASHES_FILE
from rareunet.volume import Volume
from rareunet.worker_failures import from_exception
from rareunet.worker_protocol import (
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
    """

    def __init__(self, folder: Path, events: BinaryIO) -> None:
        self.folder = folder
        self._events = events
        self._key: tuple[str, str] | None = None
        self._predictor: Predictor | None = None

    def send(self, message: Message) -> None:
        try:
            self._events.write(encode(message))
            self._events.flush()
        except OSError:  # nobody listens any more
            leave(self.folder)

    def answer(self, line: bytes) -> None:
        """Does what a line asks for; whatever happens becomes a Failure."""
        job = 0
        try:
            request = decode(line)
            if not isinstance(request, Segment):
                raise ValueError(f"a worker takes the message Segment, not {type(request).__name__}.")
            job = request.job
            self.send(self._segment(request))
        except Exception as error:
            self.send(from_exception(job, error))

    def _segment(self, request: Segment) -> Segmented:
        report = _ProgressReport(self, request.job)
        report("load", 0.0)
        predictor = self._load(request.model, request.device)
        voxels = np.load(self.folder / request.voxels_file, mmap_mode="r")
        volume = Volume(voxels, np.array(request.ijk_to_ras), "the scan", request.notes)
        prediction = predictor.predict(
            volume,
            request.region,
            request.entry_depth,
            force=request.force,
            memory_gb=request.memory_gb,
            progress=report,
        )
        np.save(self.folder / request.label_map_file, prediction.label_map)
        return Segmented(
            request.job,
            request.label_map_file,
            asdict(prediction.route),
            prediction.device,
            prediction.seconds,
            prediction.volumes_ml,
            tuple(prediction.warnings),
            prediction.model,
            tuple(asdict(label) for label in predictor.bundle.labels),
        )

    def _load(self, model: str, device: str) -> Predictor:
        from rareunet.predictor import Predictor

        bundle = Bundle.load(model)
        key = ((Path(model) / HASHES_FILE).read_text(encoding="utf-8"), device)
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


def leave(folder: Path) -> NoReturn:
    """Ends the process from any thread, leaving no file behind."""
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def read_requests(lines: queue.SimpleQueue[bytes], folder: Path) -> None:
    """Runs in a thread of its own, because a computation must not hide that stdin was closed."""
    # Unbuffered: a thread that waits within sys.stdin.buffer makes the interpreter abort when it ends.
    with open(0, "rb", buffering=0, closefd=False) as requests:
        for line in requests:
            lines.put(line)
    leave(folder)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    parser = argparse.ArgumentParser(prog="python -m rareunet.worker", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="folder for voxels, removed at the end")
    folder = parser.parse_args(arguments).folder
    faulthandler.enable()  # a crash in a library tells on stderr where it was, for the report
    worker = Worker(folder, private_output())
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=read_requests, args=(lines, folder), daemon=True).start()
    worker.send(Hello(PROTOCOL_VERSION, __version__, os.getpid()))
    with contextlib.suppress(
        Exception
    ):  # torch takes seconds; what fails here fails again, and is told, on a request
        importlib.import_module("rareunet.predictor")
    while True:
        worker.answer(lines.get())


if __name__ == "__main__":
    main()
