"""Errors that a user can mend; the message says what was found, what is accepted and what to do."""

import re
from pathlib import Path


class BundleError(ValueError):
    """A model bundle is unknown, damaged or contradicts itself."""


class FieldOfViewError(ValueError):
    """A scan shows far more than the model was trained on: it needs a region of interest."""


class DeviceError(ValueError):
    """A device was asked for that this computer does not have or that does not work."""


class MemoryLadderError(MemoryError):
    """Not even the last rung of the memory ladder fits."""


OUT_OF_MEMORY = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "_alloc_failed",  # cuDNN's and cuBLAS's status
    "unable to find a valid cudnn algorithm",  # what cuDNN says where no algorithm's working memory fits
    "unable to find an engine",
)


def is_out_of_memory(error: BaseException) -> bool:
    """PyTorch has a class for it on CUDA alone; the CPU, MPS and the libraries on CUDA say it in words. MONAI raises
    another error from it, which does not."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or any(words in str(cause).lower() for words in OUT_OF_MEMORY):
            return True
        cause = cause.__cause__
    return False


def first_line(error: BaseException) -> str:
    """The first line of an error's message, without its full stop; its kind where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def message_of(error: BaseException) -> str:
    """An error's message, without the number that the system's errors begin with where they name no file."""
    if isinstance(error, OSError) and error.strerror and error.filename is None:
        return str(error.strerror)
    return str(error)


def unreadable_file(path: Path, error: BaseException) -> ValueError:
    """Names the file, the cause in a library's message (its last sentence in SimpleITK) and the next step.

    Args:
        path: file or folder.
        error: what the library raised.

    Returns:
        the error to raise in its place.
    """
    cause = re.sub(r"^.*ERROR: (\w+\(0x\w+\): )?", "", str(error), flags=re.DOTALL)
    cause = " ".join(cause.split()) or type(error).__name__
    return ValueError(
        f"{path} could not be read ({cause.rstrip('.')}): it is damaged, incomplete or not the kind of"
        " image that its name says. Copy, download or export it again."
    )
