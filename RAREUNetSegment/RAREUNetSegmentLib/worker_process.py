"""One worker process with its private folder: bytes in, messages out."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import deque
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import qt

import rareunet
from rareunet.worker.folder import PrivateFolder
from rareunet.worker.protocol import Message, ProtocolError, decode, encode
from RAREUNetSegmentLib.dependencies import python

PACKAGE_FOLDER = Path(rareunet.__file__).parent.parent
LINES_KEPT = 40
END_MILLISECONDS = 3000  # a killed process ends within this
LONGEST_LINE = 4_000_000  # bytes; whatever is longer is no message

_living: set[WorkerProcess] = set()  # a QProcess must not be destroyed before its process has ended


def worker_command() -> tuple[str, tuple[str, ...]]:
    """Program and first arguments that start a worker: Slicer's own Python, outside Slicer the running one."""
    return python(), ("-m", "rareunet.worker")


class WorkerProcess:
    """A worker from its start to its end. Its folder is removed when it has ended, in whatever way.

    Args:
        parent_folder: where to make the private folder.
        command: program and first arguments.
        on_message: takes every message.
        on_end: takes the exit code and whether it crashed; not called after kill().
        on_not_started: takes the reason.
    """

    def __init__(
        self,
        parent_folder: str,
        command: tuple[str, tuple[str, ...]],
        on_message: Callable[[Message], None],
        on_end: Callable[[int, bool], None],
        on_not_started: Callable[[str], None],
    ) -> None:
        self._folder = PrivateFolder(parent_folder)
        self._on_message, self._on_end, self._on_not_started = on_message, on_end, on_not_started
        self._killed = False
        self._unread = b""
        self._output: deque[str] = deque(maxlen=LINES_KEPT)
        self._process = qt.QProcess()
        self._slots = {
            "readyReadStandardOutput()": self._read_messages,
            "readyReadStandardError()": self._read_errors,
            "finished(int,QProcess::ExitStatus)": self._finish,
            "errorOccurred(QProcess::ProcessError)": self._fail_to_start,
        }
        for name, slot in self._slots.items():
            self._process.connect(name, slot)
        self._process.setProcessEnvironment(_environment())
        # -m puts the working directory first on the path: it must not be where a user keeps a file torch.py.
        self._process.setWorkingDirectory(str(PACKAGE_FOLDER))
        self._command = command

    def start(self) -> None:
        _living.add(self)
        program, arguments = self._command
        self._process.start(program, [*arguments, "--folder", str(self.folder)])

    @property
    def folder(self) -> Path:
        """The private folder."""
        return self._folder.path

    @property
    def output(self) -> str:
        """The last lines that it printed, whatever is no message included."""
        return "\n".join(self._output)

    def send(self, message: Message) -> None:
        self._process.write(encode(message))

    def has_ended(self) -> bool:
        """Looks at the process itself: a killed one is noticed before the event loop tells of it."""
        return self._process.state() == qt.QProcess.NotRunning or self._process.waitForFinished(0)

    def wait(self, milliseconds: int) -> None:
        """Waits for output, at most so long."""
        self._process.waitForReadyRead(milliseconds)

    def kill(self, worker: int | None = None) -> None:
        """Ends it at once; nothing is called back any more.

        Args:
            worker: the process number that it said hello with, if it did. Slicer's PythonSlicer is a launcher: the
                process that was started is the parent of the one that computes.
        """
        self._killed = True
        if self._process.state() == qt.QProcess.NotRunning:
            self._release()
        elif worker is not None and worker > 1:
            with contextlib.suppress(OSError):  # it has ended already
                os.kill(worker, getattr(signal, "SIGKILL", signal.SIGTERM))
        self._process.kill()

    def _read_messages(self) -> None:
        *lines, self._unread = (self._unread + self._process.readAllStandardOutput().data()).split(b"\n")
        if len(self._unread) > LONGEST_LINE:
            lines, self._unread = [*lines, self._unread], b""
        for line in lines:
            try:
                message = decode(line)
            except ProtocolError as error:  # a library's print before the worker took its stdout away
                if line.strip():
                    self._output.append(str(error))
                continue
            self._tell(partial(self._on_message, message))

    def _read_errors(self) -> None:
        text = self._process.readAllStandardError().data().decode("utf-8", "replace")
        self._output.extend(line for line in text.splitlines() if line.strip())

    def _finish(self, exit_code: int, status: Any) -> None:
        self._read_errors()
        self._read_messages()
        crashed = status == qt.QProcess.CrashExit
        self._tell(partial(self._on_end, exit_code, crashed))
        self._release()

    def _fail_to_start(self, error: Any) -> None:
        if error == qt.QProcess.FailedToStart:
            reason = self._process.errorString()
            self._tell(partial(self._on_not_started, reason))
            self._release()

    def _tell(self, news: Callable[[], None]) -> None:
        """Calls back later, in order: a dialog shown by who is told must not stand within a signal of the QProcess,
        which may be gone when it closes.
        """
        _later().call(lambda: None if self._killed else news())

    def _release(self) -> None:
        if self._killed:
            self._folder.remove()
        _later().call(self._let_go)  # not within a signal of the QProcess either

    def _let_go(self) -> None:
        self._folder.remove()  # after the last message, which may name a file
        for name, slot in self._slots.items():
            self._process.disconnect(name, slot)
        self._slots = {}
        _living.discard(self)


class _Later:
    """Calls functions from the event loop, in order. One timer serves all: Slicer's own QTimer.singleShot makes one for
    each call and keeps it, with what it calls, until Slicer ends (slicerqt.py)."""

    def __init__(self) -> None:
        self._functions: deque[Callable[[], object]] = deque()
        self._timer = single_shot(0, self._call_next)

    def call(self, function: Callable[[], object]) -> None:
        self._functions.append(function)
        self._timer.start()

    def _call_next(self) -> None:
        function = self._functions.popleft()
        if self._functions:  # before the call: it may show a dialog, and others go on meanwhile
            self._timer.start()
        function()


@lru_cache(maxsize=1)
def _later() -> _Later:
    return _Later()


def wait_for_ends() -> None:
    """Waits until every killed worker has ended, so that its folder is gone."""
    for worker in list(_living):
        if worker._killed and worker._process.state() != qt.QProcess.NotRunning:
            worker._process.waitForFinished(END_MILLISECONDS)


def single_shot(seconds: float, function: Callable[[], None]) -> Any:
    """A timer that calls once, so long after each start()."""
    timer = qt.QTimer()
    timer.setSingleShot(True)
    timer.setInterval(round(1000 * seconds))
    timer.connect("timeout()", function)
    return timer


class SilenceTimer:
    """Calls once after so long without restart or stop. A block of the event loop, in which nothing can be heard,
    counts as one tick of the time however long it lasts."""

    TICKS = 10

    def __init__(self, seconds: float, function: Callable[[], None]) -> None:
        self.seconds = seconds
        self._function = function
        self._ticks = 0
        self._timer = qt.QTimer()
        self._timer.connect("timeout()", self._tick)

    def start(self) -> None:
        """Begins to count, anew if it counted already."""
        self._ticks = 0
        self._timer.start(round(1000 * self.seconds / self.TICKS))

    def stop(self) -> None:
        self._timer.stop()

    def _tick(self) -> None:
        self._ticks += 1
        if self._ticks == self.TICKS:
            self.stop()
            self._function()


def _environment() -> Any:
    """Slicer's own, which PythonSlicer needs, with the folder of rareunet on the path."""
    environment = qt.QProcessEnvironment.systemEnvironment()
    folders = [str(PACKAGE_FOLDER), environment.value("PYTHONPATH")]
    environment.insert("PYTHONPATH", os.pathsep.join(folder for folder in folders if folder))
    return environment
