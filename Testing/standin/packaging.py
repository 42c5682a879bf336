"""slicer.packaging (Slicer 5.12, Base/Python/slicer/packaging.py): records what would be installed, installs
nothing.

Also the module PyTorchUtils of the PyTorch extension (fepegar/SlicerPyTorch), whose torch can be set missing.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of a function that would install: its name, the requirements as text, and the other
    arguments.
    """

    function: str
    requirements: tuple[str, ...]
    options: dict[str, Any]


calls: list[Call] = []
missing: set[str] = set()  # distribution names that pip_check is to report as not installed
unreachable: set[str] = set()  # distribution names that pip is to fail at, as without internet
_hidden_torch: list[Any] = []  # torch while it is set missing: what sys.modules held, None for nothing


def reset() -> None:
    """Forget the calls; every package counts as it is in this environment again."""
    calls.clear()
    missing.clear()
    unreachable.clear()
    set_torch_present(True)


def set_torch_present(present: bool) -> None:
    """False: importing torch raises ModuleNotFoundError and importlib finds no such package, until True."""
    if not present and not _hidden_torch:
        _hidden_torch.append(sys.modules.get("torch"))
        sys.modules["torch"] = None  # type: ignore[assignment]  # as importlib documents it
    elif present and _hidden_torch:
        module = _hidden_torch.pop()
        del sys.modules["torch"]
        if module is not None:
            sys.modules["torch"] = module


def load_requirements(path: str | Path) -> list[Requirement]:
    """Comments, empty lines and pip options are left out."""
    lines = (line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def pip_check(req: str | Requirement | list[str | Requirement]) -> bool:
    """Whether every requirement is installed here, in an accepted version, and not in ``missing``."""
    return all(_is_installed(requirement) for requirement in _to_requirements(req))


def pip_ensure(
    requirements: str | Requirement | list[str | Requirement],
    constraints: str | Path | None = None,
    skip_packages: list[str] | None = None,
    prompt_install: bool = True,
    prompt_restart: bool = True,
    requester: str | None = None,
    skip_in_testing: bool = True,
    show_progress: bool = True,
) -> list[str] | None:
    """Recorded; asks, then "installs" by taking the packages out of ``missing``.

    Raises:
        RuntimeError: the user declined.
        subprocess.CalledProcessError: a package is ``unreachable``.
    """
    options = {key: value for key, value in locals().items() if key != "requirements"}
    wanted = [requirement for requirement in _to_requirements(requirements) if not pip_check(requirement)]
    if not wanted:
        return None
    import slicer.util

    if skip_in_testing and slicer.app.testingEnabled():
        return None
    if prompt_install and not slicer.util.confirmOkCancelDisplay(
        f"{len(wanted)} Python packages need to be installed."
    ):
        raise RuntimeError("User declined package installation")
    calls.append(Call("pip_ensure", tuple(map(str, wanted)), options))
    _fail_if_unreachable({requirement.name for requirement in wanted})
    missing.difference_update(requirement.name for requirement in wanted)
    return None


def pip_install(requirements: str | list[str], **options: Any) -> None:
    calls.append(Call("pip_install", tuple(map(str, _to_requirements(requirements))), options))


def pip_uninstall(requirements: str | list[str], **options: Any) -> None:
    calls.append(Call("pip_uninstall", tuple(map(str, _to_requirements(requirements))), options))


def isPipInstallInProgress() -> bool:
    return False


class PyTorchUtilsLogic:
    """The part of PyTorchUtilsLogic (PyTorchUtils/PyTorchUtils.py of the PyTorch extension) that other
    modules use.
    """

    @staticmethod
    def torchInstalled() -> bool:
        """Recorded, because it imports torch into Slicer, as the extension does."""
        calls.append(Call("torchInstalled", (), {}))
        try:
            import torch  # noqa: F401
        except ModuleNotFoundError:
            return False
        return True

    def installTorch(
        self,
        askConfirmation: bool = False,
        forceComputationBackend: str | None = None,
        torchVersionRequirement: str | None = None,
        torchvisionVersionRequirement: str | None = None,
    ) -> Any:
        """Recorded. Returns the torch module, or None when the user declines, as the extension does."""
        import slicer.util

        options = {key: value for key, value in locals().items() if key not in ("self", "slicer")}
        ask = askConfirmation and not slicer.app.commandOptions().testingEnabled
        if ask and not slicer.util.confirmOkCancelDisplay("PyTorch will be downloaded and installed."):
            return None
        calls.append(Call("installTorch", ("torch" + (torchVersionRequirement or ""),), options))
        _fail_if_unreachable({"torch"})
        set_torch_present(True)
        return self.torch

    @property
    def torch(self) -> Any:
        try:
            import torch
        except ModuleNotFoundError:
            return self.installTorch()
        return torch

    def getDevice(self) -> Any:
        return self.torch.device("cuda") if self.torch.cuda.is_available() else "cpu"


def install_pytorch_utils() -> None:
    """Make ``import PyTorchUtils`` work, as with the PyTorch extension installed."""
    module = types.ModuleType("PyTorchUtils", "The PyTorch extension's module, stood in.")
    module.PyTorchUtilsLogic = PyTorchUtilsLogic
    sys.modules["PyTorchUtils"] = module


def remove_pytorch_utils() -> None:
    """As without the PyTorch extension: ``import PyTorchUtils`` raises ModuleNotFoundError."""
    sys.modules.pop("PyTorchUtils", None)


def _fail_if_unreachable(names: set[str]) -> None:
    if names & unreachable:
        raise subprocess.CalledProcessError(1, "pip install")


def _to_requirements(requirements: str | Requirement | list[str | Requirement]) -> list[Requirement]:
    if isinstance(requirements, str):
        requirements = list(requirements.split())
    if isinstance(requirements, Requirement):
        requirements = [requirements]
    return [Requirement(r) if isinstance(r, str) else r for r in requirements]


def _is_installed(requirement: Requirement) -> bool:
    if requirement.marker and not requirement.marker.evaluate():
        return True
    if requirement.name in missing:
        return False
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return requirement.specifier.contains(version, prereleases=True)
