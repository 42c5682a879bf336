"""Python packages that Slicer does not bring: looked for and installed on the first Apply, never on import."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

REQUIREMENTS = Path(__file__).parent.parent / "Resources" / "RAREUNetSegment-requirements.txt"
TORCH_VERSION = ">=2.3"  # the first that works with NumPy 2, which Slicer brings

# For who has no window to be asked in. slicer.util.exit, since Slicer stays open after such a line.
TORCH_COMMAND = (
    'Slicer --no-main-window --python-code "import PyTorchUtils, slicer.util;'
    f" PyTorchUtils.PyTorchUtilsLogic().installTorch(torchVersionRequirement='{TORCH_VERSION}'); slicer.util.exit()\""
)
OTHERS_COMMAND = f'PythonSlicer -m pip install -r "{REQUIREMENTS}"'


class MissingPackageError(RuntimeError):
    """A package is missing and was not installed; the message says what to do."""


def ensure_packages() -> None:
    """Installs what is missing, asking first. PyTorch only through its own extension, the rest by slicer.packaging.

    Raises:
        MissingPackageError: the PyTorch extension is missing, an installation was declined or failed, or there is no
            window to ask in; PyTorch is too old, or there is none for this computer.
    """
    import slicer.packaging
    import slicer.util

    torch_logic = torch_installer()
    requirements = slicer.packaging.load_requirements(REQUIREMENTS)
    missing = [requirement for requirement in requirements if not slicer.packaging.pip_check(requirement)]
    commands = [*([TORCH_COMMAND] if torch_logic else []), *([OTHERS_COMMAND] if missing else [])]
    if commands and slicer.util.mainWindow() is None:
        raise MissingPackageError(
            "\n".join(
                [
                    "Packages are missing, and Slicer has no window to ask whether to install them. Run once:",
                    *commands,
                ]
            )
        )
    if torch_logic:
        _install_torch(torch_logic)
    if missing:
        _install_others(missing)


def are_installed() -> bool:
    """Whether ensure_packages would have nothing to do."""
    import slicer.packaging

    return has_torch() and slicer.packaging.pip_check(slicer.packaging.load_requirements(REQUIREMENTS))


def has_torch() -> bool:
    """Whether PyTorch is there, in a version that TORCH_VERSION accepts."""
    from packaging.specifiers import SpecifierSet  # slicer.packaging needs it too

    version = _torch_version()
    return version is not None and SpecifierSet(TORCH_VERSION).contains(version, prereleases=True)


def _torch_version() -> str | None:
    """Of the installed PyTorch, None where there is none. Not by the extension's torchInstalled(): it imports torch,
    which would stay in Slicer and stop it meanwhile."""
    if importlib.util.find_spec("torch") is None:
        return None
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None  # what a failed uninstallation leaves, see torchInstalled()


def torch_installer() -> Any:
    """Logic of the PyTorch extension, which can bring the PyTorch that is missing; None where one is there.

    Raises:
        MissingPackageError: the extension is missing, there is a PyTorch in its way that is too old, or there is none
            for this computer.
    """
    if sys.platform == "darwin" and platform.machine() == "x86_64":
        raise MissingPackageError(
            "PyTorch has ended for Macs with Intel processors: its last version there, 2.2, does not work with the"
            " NumPy of this Slicer. On a Mac with Apple silicon install the Slicer made for it; else use another"
            " computer."
        )
    if has_torch():
        return None
    if version := _torch_version():
        raise MissingPackageError(
            f"PyTorch {version} is installed, and RAREUNet needs {TORCH_VERSION}. Open the module 'PyTorch Utils' of"
            " the extension 'PyTorch', click 'Uninstall PyTorch', restart Slicer and try again: RAREUNet then offers to"
            " install a newer one."
        )
    try:
        import PyTorchUtils
    except ModuleNotFoundError:
        raise MissingPackageError(
            "RAREUNet needs PyTorch, and the PyTorch extension that installs it is missing. Open the Extensions"
            " Manager, install the extension 'PyTorch', restart Slicer and try again."
        ) from None
    return PyTorchUtils.PyTorchUtilsLogic()


def _install_torch(torch_logic: Any) -> None:
    try:
        torch = torch_logic.installTorch(askConfirmation=True, torchVersionRequirement=TORCH_VERSION)
    except subprocess.CalledProcessError as error:
        raise _failed("PyTorch", error) from error
    if torch is None:
        raise MissingPackageError(
            "PyTorch was not installed, and RAREUNet can't work without it. Try again and accept, or install it in the"
            " module 'PyTorch Utils'."
        )


def _install_others(requirements: list[Any]) -> None:
    import slicer.packaging

    names = ", ".join(requirement.name for requirement in requirements)
    try:
        slicer.packaging.pip_ensure(requirements, requester="RAREUNet")
    except subprocess.CalledProcessError as error:
        raise _failed(names, error) from error
    except RuntimeError as error:  # how pip_ensure says that the user declined
        raise MissingPackageError(
            f"Not installed: {names}. RAREUNet can't work without. Try again and accept."
        ) from error


def _failed(names: str, error: subprocess.CalledProcessError) -> MissingPackageError:
    return MissingPackageError(
        f"Could not be installed: {names} (pip ended with code {error.returncode}; the Python console tells why). Check"
        " the internet connection and the space on the disk and try again, or install by hand: see 'Without internet'"
        " in the README."
    )


def python() -> str:
    """Slicer's Python; elsewhere the running one."""
    return shutil.which("PythonSlicer") or sys.executable
