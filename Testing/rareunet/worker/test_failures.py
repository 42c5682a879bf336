"""What each kind of failure says to the user."""

import errno

import pytest
import torch

from rareunet.errors import FieldOfViewError, MemoryLadderError
from rareunet.worker.failures import ended, from_exception, not_started, silent, wrong_version
from rareunet.worker.protocol import Hello


def raised(error):
    try:
        raise error
    except BaseException as caught:
        return from_exception(4, caught)


def test_a_users_mistake_is_told_as_it_is():
    failure = raised(FieldOfViewError("the scan is too large: place a region."))
    assert (failure.job, failure.refused, failure.next_step) == (4, True, "")
    assert failure.cause == "the scan is too large: place a region."
    assert "FieldOfViewError" in failure.details


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: not enough memory"),
        RuntimeError("MPS backend out of memory"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_too_little_memory(error):
    failure = raised(error)
    assert not failure.refused
    assert "memory is not enough" in failure.cause
    assert "smaller region of interest" in failure.next_step


def test_the_ladders_own_words_are_told_as_they_are():
    failure = raised(MemoryLadderError("the memory is not enough: allow more."))
    assert (failure.cause, failure.next_step) == ("the memory is not enough: allow more.", "")
    assert not failure.refused


def test_real_allocation_failure_of_torch():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert "memory is not enough" in from_exception(1, caught.value).cause


@pytest.mark.parametrize(
    ("error", "cause", "advice"),
    [
        (RuntimeError("CUDA error: device-side assert triggered"), "graphics card failed", "processor"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"), "graphics card failed", "processor"),
        (ModuleNotFoundError("No module named 'nibabel'", name="nibabel"), "package nibabel", "install"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk", "Free some space"),
        (RuntimeError("the timestamps differ"), "RuntimeError: the timestamps differ", "copy the report"),
        (KeyError("x"), "KeyError", "copy the report"),
    ],
)
def test_causes_and_next_steps(error, cause, advice):
    failure = raised(error)
    assert not failure.refused
    assert cause in failure.cause
    assert advice in failure.next_step
    assert type(error).__name__ in failure.details


def test_a_process_that_ended():
    crash = ended(1, 9, True, "Killed")
    assert "signal or code 9" in crash.cause
    assert "memory" in crash.next_step
    behind_a_launcher = ended(
        1, 1, False, "error: [/opt/Slicer/bin/python-real] exit abnormally - Report the problem."
    )
    assert behind_a_launcher.cause == "the segmentation process was ended from outside or crashed."
    assert behind_a_launcher.next_step == crash.next_step
    left = ended(1, 1, False, "Traceback\nImportError: libomp is missing\n")
    assert left.cause.endswith("exit code 1). It said last: ImportError: libomp is missing")


def test_a_process_that_never_was():
    assert "/no/python (execve failed)" in not_started(1, "/no/python", "execve failed").cause


def test_a_process_that_says_nothing():
    failure = silent(3, 180.0)
    assert failure.cause == "the segmentation process did not answer within 180 s."
    assert "Press Apply again" in failure.next_step
    assert not failure.refused


def test_an_extension_that_was_updated_meanwhile():
    failure = wrong_version(1, Hello(2, "0.3.0", 5), "0.2.0")
    assert "0.3.0 (protocol 2)" in failure.cause
    assert failure.next_step == "Restart Slicer."
