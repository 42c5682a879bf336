"""The panel's side of the worker process: starts it, keeps it warm, gives it one scan at a time. Knows no scene."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
from functools import lru_cache

import numpy as np
import slicer

from rareunet import __version__
from rareunet.installed_models import find_bundle
from rareunet.worker import failures as worker_failures
from rareunet.worker.folder import sweep
from rareunet.worker.protocol import (
    PROTOCOL_VERSION,
    Failure,
    Hello,
    Message,
    Progress,
    Segment,
    Segmented,
)
from RAREUNetSegmentLib.run_request import (
    LABEL_MAP_FILE,
    Job,
    OnAnswer,
    OnFailure,
    OnProgress,
    Request,
)
from RAREUNetSegmentLib.worker_process import (
    SilenceTimer,
    WorkerProcess,
    single_shot,
    wait_for_ends,
    worker_command,
)

IDLE_MINUTES = 15
# PyTorch from a cold disk under a virus scanner takes a minute and more.
SECONDS_TO_ANSWER = 180


class BusyError(ValueError):
    """One scan is being segmented already."""


class State(enum.Enum):
    STOPPED = "stopped"  # no process
    STARTING = "starting"
    READY = "ready"  # warm, waiting for a scan
    RUNNING = "running"


class WorkerClient:
    """A worker that is started by the first scan, stays warm, and is replaced when it died.

    Args:
        parent_folder: where private folders are made.
        command: program and first arguments of the worker.
        idle_minutes: how long it stays without work.
        seconds_to_answer: how long it may take to say hello, and then to begin a scan, while Slicer can listen.
    """

    def __init__(
        self,
        parent_folder: str,
        command: tuple[str, tuple[str, ...]] | None = None,
        idle_minutes: float = IDLE_MINUTES,
        seconds_to_answer: float = SECONDS_TO_ANSWER,
    ) -> None:
        self._parent_folder = parent_folder
        self._command = command or worker_command()
        self._process: WorkerProcess | None = None
        self._hello: Hello | None = None
        self._job: Job | None = None
        self._job_number = 0
        self._begun = False
        self._idle = single_shot(60 * idle_minutes, self._stop)
        self._silence = SilenceTimer(seconds_to_answer, self._on_silence)
        sweep(parent_folder)

    @property
    def state(self) -> State:
        if self._process is None:
            return State.STOPPED
        if self._hello is None:
            return State.STARTING
        return State.READY if self._job is None else State.RUNNING

    @property
    def busy(self) -> bool:
        return self._job is not None

    @property
    def pid(self) -> int | None:
        """Number of the worker's process once it has said hello."""
        return self._hello.pid if self._hello else None

    def segment(
        self, request: Request, on_progress: OnProgress, on_answer: OnAnswer, on_failure: OnFailure
    ) -> None:
        """Segments a scan and returns at once; one of on_answer and on_failure is called, unless it is cancelled.

        Args:
            on_progress: takes a step's name ("start", "load", then those of predict) and the fraction done.
            on_answer: takes the Prediction.

        Raises:
            BusyError: another scan is being segmented.
            BundleError: there is no such model.
        """
        if self.busy:
            raise BusyError("another scan is being segmented: wait for it or cancel it, then try again.")
        model = str(find_bundle(request.model).resolve())
        if self._process is not None and self._process.has_ended():
            self._stop()
        self._idle.stop()
        self._job_number += 1
        is_new = self._process is None
        message = request.message(self._job_number, model)
        try:
            process = self._process or self._make_process()
            for file, channel in zip(message.voxels_files, request.channels, strict=True):
                np.save(process.folder / file, channel.voxels)
        except OSError as error:
            self._stop()
            on_failure(worker_failures.from_exception(self._job_number, error))
            return
        self._begun = False
        self._job = Job(request, message, self._hello is not None, on_progress, on_answer, on_failure)
        if self._hello is not None:
            self._send(process, message)
            return
        on_progress("start", 0.0)
        if is_new:
            self._start(process)

    def cancel(self) -> None:
        """Drops the scan at once, without a call back; a new worker warms up in the background."""
        if self.busy:
            self._stop()
            with contextlib.suppress(OSError):  # the next segment() tells why no folder can be made
                self._start(self._make_process())

    def close(self) -> None:
        """Ends the worker and waits until it is gone with all its files."""
        self._stop()
        wait_for_ends()

    def wait(self, milliseconds: int) -> None:
        """Waits for news of the worker, at most so long; for callers that must not return before the end."""
        if self._process is not None:
            self._process.wait(milliseconds)

    def _make_process(self) -> WorkerProcess:
        self._process = WorkerProcess(
            self._parent_folder, self._command, self._receive, self._on_end, self._on_not_started
        )
        return self._process

    def _stop(self) -> None:
        process, worker = self._process, self.pid
        self._process, self._hello, self._job = None, None, None
        for timer in (self._idle, self._silence):
            timer.stop()
        if process is not None:
            process.kill(worker)

    def _start(self, process: WorkerProcess) -> None:
        self._silence.start()
        process.start()

    def _send(self, process: WorkerProcess, message: Segment) -> None:
        self._silence.start()
        process.send(message)

    def _receive(self, message: Message) -> None:
        job, process = self._job, self._process
        if process is None:
            return
        if isinstance(message, Hello):
            self._greet(message, process)
            return
        # A worker that could not read the request does not know its number.
        if job is None or message.job not in (job.message.job, worker_failures.UNKNOWN_JOB):
            return
        self._silence.stop()
        self._begun = True
        if isinstance(message, Progress):
            job.on_progress(message.step, message.fraction)
        elif isinstance(message, Segmented):
            self._take_answer(message, job, process)
        elif isinstance(message, Failure):
            self._fail(message)

    def _greet(self, hello: Hello, process: WorkerProcess) -> None:
        if (hello.protocol, hello.version) != (PROTOCOL_VERSION, __version__):
            self._fail(worker_failures.wrong_version(self._job_number, hello, __version__))
            return
        self._hello = hello
        self._silence.stop()
        if self._job is not None:
            self._send(process, self._job.message)
        else:
            self._idle.start()

    def _take_answer(self, message: Segmented, job: Job, process: WorkerProcess) -> None:
        try:
            label_map = np.load(process.folder / LABEL_MAP_FILE, allow_pickle=False)
            shape = job.request.channels[0].shape
            if label_map.shape != shape or label_map.dtype.kind != "u":
                raise RuntimeError(
                    f"the label map is {label_map.dtype} of {label_map.shape}, the scan {shape}"
                )
            prediction = message.to_prediction(label_map)
        except Exception as error:
            self._fail(dataclasses.replace(worker_failures.from_exception(message.job, error), refused=False))
            return
        self._end_job()
        job.on_answer(prediction)

    def _fail(self, failure: Failure) -> None:
        """Tells the failure; a worker that failed otherwise than by refusing is not used again."""
        output = self._process.output if self._process is not None else ""
        job = self._end_job()
        if not failure.refused:
            self._stop()
        if job is not None:
            details = "\n".join(part for part in (failure.details, output) if part)
            job.on_failure(dataclasses.replace(failure, details=details))

    def _end_job(self) -> Job | None:
        """The worker is idle again, and the scan's files are gone."""
        job, self._job = self._job, None
        self._idle.start()
        if self._process is not None and job is not None:
            for name in (*job.message.voxels_files, LABEL_MAP_FILE):
                with contextlib.suppress(OSError):  # Windows keeps what is open; it goes with the folder
                    (self._process.folder / name).unlink(missing_ok=True)
        return job

    def _on_end(self, exit_code: int, crashed: bool) -> None:
        job = self._job
        if job is not None and job.warm and not self._begun:  # it died before it was asked, unnoticed
            self._stop()
            try:
                self.segment(job.request, job.on_progress, job.on_answer, job.on_failure)
            except ValueError as error:  # the model is gone by now
                job.on_failure(worker_failures.from_exception(self._job_number, error))
            return
        output = self._process.output if self._process is not None else ""
        self._fail(worker_failures.ended(self._job_number, exit_code, crashed, output))

    def _on_not_started(self, reason: str) -> None:
        self._fail(worker_failures.not_started(self._job_number, self._command[0], reason))

    def _on_silence(self) -> None:
        self._fail(worker_failures.silent(self._job_number, self._silence.seconds))


@lru_cache(maxsize=1)
def shared_worker() -> WorkerClient:
    """The worker of this Slicer, for the panel and the console alike; it ends with Slicer."""
    client = WorkerClient(slicer.app.temporaryPath)
    slicer.app.connect("aboutToQuit()", client.close)
    return client
