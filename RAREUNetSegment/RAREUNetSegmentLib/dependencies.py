"""Python packages that Slicer does not bring: looked for and installed on the first Apply, never on import."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

REQUIREMENTS = Path(__file__).parent.parent / "Resources" / "RAREUNetSegment-requirements.txt"
TORCH_VERSION = ">=2.3"  # the first that works with NumPy 2, which Slicer brings


class MissingPackageError(RuntimeError):
    """A package is missing and was not installed; the message says what to do."""


def ensure_packages() -> None:
    """Installs what is missing, asking first. PyTorch only through its own extension, the rest by slicer.packaging.

    Raises:
        MissingPackageError: the PyTorch extension is missing, PyTorch was declined, or there is no window to ask in;
            or there is no PyTorch for this computer.
    """
    import slicer.packaging
    import slicer.util

    if sys.platform == "darwin" and platform.machine() == "x86_64":
        raise MissingPackageError(
            "PyTorch has ended for Macs with Intel processors: its last version there, 2.2, does not work with the"
            " NumPy of this Slicer. On a Mac with Apple silicon install the Slicer made for it; else use another"
            " computer."
        )
    requirements = slicer.packaging.load_requirements(REQUIREMENTS)
    others_missing = not slicer.packaging.pip_check(requirements)
    if (others_missing or not _has_torch()) and slicer.util.mainWindow() is None:
        raise MissingPackageError(
            "Packages are missing, and Slicer has no window to ask whether to install them. Run once:"
            f' PythonSlicer -m pip install "torch{TORCH_VERSION}" -r "{REQUIREMENTS}"'
        )
    _ensure_torch()
    if others_missing:
        slicer.packaging.pip_ensure(requirements, requester="RAREUNet")


def are_installed() -> bool:
    """Whether ensure_packages would have nothing to do."""
    import slicer.packaging

    return _has_torch() and slicer.packaging.pip_check(slicer.packaging.load_requirements(REQUIREMENTS))


def _has_torch() -> bool:
    # Not by the extension's torchInstalled(): it imports torch, which would stay in Slicer and stop it meanwhile.
    return importlib.util.find_spec("torch") is not None


def _ensure_torch() -> None:
    if _has_torch():
        return
    torch_logic = _pytorch_extension()
    if torch_logic is None:
        raise MissingPackageError(
            "RAREUNet needs PyTorch, and the PyTorch extension that installs it is missing. Open the Extensions"
            " Manager, install the extension 'PyTorch', restart Slicer and press Apply again."
        )
    if torch_logic.installTorch(askConfirmation=True, torchVersionRequirement=TORCH_VERSION) is None:
        raise MissingPackageError(
            "PyTorch was not installed, and RAREUNet can't segment without it. Press Apply again and accept, or"
            " install it in the module 'PyTorch'."
        )


def _pytorch_extension() -> Any:
    """Logic of the PyTorch extension; None where the extension is not installed."""
    try:
        import PyTorchUtils
    except ModuleNotFoundError:
        return None
    return PyTorchUtils.PyTorchUtilsLogic()


def python() -> str:
    """Slicer's Python; elsewhere the running one."""
    return shutil.which("PythonSlicer") or sys.executable
