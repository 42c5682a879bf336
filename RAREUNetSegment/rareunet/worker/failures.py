"""What went wrong with a job, as a cause and a next step for the user."""

from __future__ import annotations

import errno
import re
import traceback

from rareunet.errors import MemoryLadderError, first_line, is_out_of_memory
from rareunet.worker.protocol import PROTOCOL_VERSION, Failure, Hello

# What Slicer's launcher, through which PythonSlicer runs, says of a process that crashed; it ends with code 1 then.
LAUNCHER_CRASH = "exit abnormally"
UNKNOWN_JOB = 0  # jobs count from 1
GRAPHICS_CARD = re.compile(r"\b(cuda|cudnn|cublas|hip|mps)(?![a-z])", re.IGNORECASE)
LESS_MEMORY = (
    "Close other programs, place a smaller region of interest, or choose another device under Advanced;"
    " then press Apply again."
)
AGAIN = "Press Apply again, which starts the process anew. If it happens again, copy the report and send it."


def from_exception(job: int, error: BaseException) -> Failure:
    """The failure that an exception of the core means. A ValueError is the request's fault and says all itself."""
    details = "".join(traceback.format_exception(error))
    if isinstance(error, ValueError):
        return Failure(job, True, str(error).strip() or type(error).__name__, "", details)
    cause, next_step = _cause_and_next_step(error)
    return Failure(job, False, cause, next_step, details)


def _cause_and_next_step(error: BaseException) -> tuple[str, str]:
    told = first_line(error)
    if isinstance(error, MemoryLadderError):
        return str(error), ""
    if is_out_of_memory(error):
        return f"the memory is not enough for this scan ({told}).", LESS_MEMORY
    if isinstance(error, ImportError):
        package = error.name or "a package"
        return (
            f"the Python package {package} can't be loaded ({told}).",
            "Press Apply again and let it install what is missing; restart Slicer if it was updated just now.",
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "the disk of the temporary folder is full.", "Free some space and press Apply again."
    if isinstance(error, RuntimeError) and GRAPHICS_CARD.search(str(error)):
        return (
            f"the graphics card failed ({told}).",
            "Press Apply again; if it happens again, choose the processor under Advanced > Compute on.",
        )
    return f"the segmentation failed ({type(error).__name__}: {told}).", AGAIN


def ended(job: int, exit_code: int, crashed: bool, output: str) -> Failure:
    """The process ended in the middle of a job.

    Args:
        exit_code: its exit code, or the number of the signal that ended it.
        crashed: it was ended by a signal or an exception of the system.
        output: its last output, of which the last line is told.
    """
    if crashed or LAUNCHER_CRASH in output:
        code = f" (signal or code {exit_code})" if crashed else ""
        cause = f"the segmentation process was ended from outside or crashed{code}."
        next_step = (
            "The usual reason is too little memory: close other programs or place a smaller region of"
            " interest. Then press Apply again, which starts the process anew."
        )
        return Failure(job, False, cause, next_step)
    cause = f"the segmentation process ended before it answered (exit code {exit_code}).{_last_line(output)}"
    return Failure(job, False, cause, AGAIN)


def not_started(job: int, program: str, reason: str) -> Failure:
    return Failure(
        job,
        False,
        f"the segmentation process could not be started: {program} ({reason}).",
        "Press Apply again; if it happens again, reinstall Slicer, or check whether a virus scanner blocks it.",
    )


def silent(job: int, seconds: float) -> Failure:
    """The process runs, but neither says hello nor begins."""
    return Failure(
        job,
        False,
        f"the segmentation process did not answer within {seconds:.0f} s.",
        "Press Apply again, which starts the process anew. If it happens again, look whether a virus scanner holds up"
        " Slicer's Python, or install PyTorch anew in the module 'PyTorch'.",
    )


def wrong_version(job: int, hello: Hello, version: str) -> Failure:
    """The worker that answered is of another version than the panel."""
    return Failure(
        job,
        False,
        f"the segmentation process is of RAREUNet {hello.version} (protocol {hello.protocol}), the panel of"
        f" {version} (protocol {PROTOCOL_VERSION}): the extension was updated while Slicer was running.",
        "Restart Slicer.",
    )


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return f" It said last: {lines[-1]}" if lines else ""
