"""Trains a RARE-UNet model without a window: the fit command, wherever Python runs.

    Slicer --no-main-window --python-script train.py -- --config FILE --output DIR
    PythonSlicer train.py --config FILE --output DIR
    python train.py --config FILE --output DIR
    torchrun --nproc-per-node 4 train.py --config FILE --output DIR fit.batch_size=4
                                (in Slicer's Python: PythonSlicer -m torch.distributed.run --nproc-per-node ...)

    train.py --install      installs what training needs beside PyTorch, which stays as it is
    train.py --help         lists all arguments

Exit codes: 0 done; 1 failed; 2 wrong arguments; 130 stopped and saved (0 where torchrun would start it again).
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE.parent / "Resources" / "RAREUNetTraining-requirements.txt"
TORCH = "torch>=2.3"  # the first that works with NumPy 2, which Slicer brings
# Slicer's own, or chosen for its hardware: pip must not replace them.
KEPT = ("torch", "numpy", "scipy", "SimpleITK")


def find_packages() -> None:
    """Makes the packages importable: they lie beside this folder when installed, in two folders in a checkout."""
    for folder in (HERE.parent, HERE.parents[1] / "RAREUNetSegment"):
        if folder.is_dir() and str(folder) not in sys.path:
            sys.path.insert(0, str(folder))


def requirements() -> dict[str, str]:
    """Lines of the requirements file by distribution name."""
    lines = [line.split("#")[0].strip() for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines()]
    return {re.split(r"[<>=!~;\[ ]", line)[0]: line for line in lines if line}


def missing_packages() -> list[str]:
    """Requirements that are not installed, or too old."""
    # It reads the versions of the others; --install brings them all.
    if importlib.util.find_spec("packaging") is None:
        return [requirements()["packaging"]]
    from packaging.requirements import Requirement

    missing = []
    for name, line in requirements().items():
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        version = version_of(name)
        if not version or not requirement.specifier.contains(version, prereleases=True):
            missing.append(line)
    return missing


def version_of(name: str) -> str:
    """Version of an installed distribution, '' for none."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def torch_problem() -> str:
    """What is wrong with PyTorch and what to do, '' if nothing."""
    in_slicers_python = importlib.util.find_spec("slicer") is not None
    if importlib.util.find_spec("torch") is None:
        advice = "install Slicer's extension PyTorch" if in_slicers_python else "pip install torch"
        return f"PyTorch is missing: {advice}, then start again."
    version = version_of("torch")
    if not version or importlib.util.find_spec("packaging") is None:  # nothing tells whether it is too old
        return ""
    from packaging.requirements import Requirement

    if Requirement(TORCH).specifier.contains(version, prereleases=True):
        return ""
    advice = "uninstall and install it in Slicer's module PyTorch Utils"
    if not in_slicers_python:
        advice = f'pip install --upgrade "{TORCH}"'
    return f"PyTorch {version} is too old, {TORCH} is needed: {advice}, then start again."


def install() -> int:
    """Installs the requirements by pip, which may not touch PyTorch and what belongs to Slicer."""
    pins = [f"{name}=={importlib.metadata.version(name)}" for name in KEPT if importlib.util.find_spec(name)]
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("\n".join(pins) + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "-r", str(REQUIREMENTS), "-c", str(constraints)]
        return subprocess.run(command).returncode


def in_slicer() -> bool:
    """Whether this is the Slicer application; PythonSlicer is plain Python with Slicer's packages."""
    slicer = sys.modules.get("slicer")
    return getattr(slicer, "app", None) is not None


def main(arguments: list[str]) -> int:
    arguments = arguments[1:] if arguments[:1] == ["--"] else arguments
    if in_slicer() and "LOCAL_RANK" in os.environ:
        print(
            "error: torchrun can't share a run out over Slicer applications: use"
            " PythonSlicer -m torch.distributed.run train.py ...",
            file=sys.stderr,
        )
        return 2
    if problem := torch_problem():
        print(f"error: {problem}", file=sys.stderr)
        return 1
    if arguments == ["--install"]:
        return install()
    if missing := missing_packages():
        command = f'"{sys.executable}" "{Path(__file__).resolve()}" --install'
        print(f"error: training needs {', '.join(missing)}. Install them by: {command}", file=sys.stderr)
        return 1
    find_packages()
    from rareunet_training.__main__ import main as run_command

    return run_command(["fit", *arguments])


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except KeyboardInterrupt:
        code = 130
    except Exception:  # Slicer would stay open after an exception
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    sys.exit(code)
