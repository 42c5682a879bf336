"""All chores: `nox` runs what CI runs, `nox -s demo` segments the sample scans; `nox -l` lists the rest."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True

HERE = Path(__file__).parent
CONSTRAINTS = ("-c", "constraints.txt")
STANDIN_PACKAGES = ("slicer-core", "PySide6-Essentials", "packaging")
TEST_PACKAGES = (*STANDIN_PACKAGES, "pytest", "psutil")
SYSTEM_PACKAGES = ("libegl1", "libgl1", "libosmesa6", "libxkbcommon0", "libdbus-1-3", "fonts-dejavu-core")


def install_project(session: nox.Session, *extras: str) -> None:
    """Installs the project as it lies here; constraints.txt pins torch so that no GPU build is pulled in."""
    wanted = f".[{','.join(extras)}]" if extras else "."
    session.install("-e", wanted, *CONSTRAINTS)


def install_system_packages(session: nox.Session) -> None:
    """Qt and the off-screen renderer need a few libraries that slim Debian and Ubuntu systems lack."""
    if not shutil.which("dpkg"):
        return
    query = subprocess.run(["dpkg", "-s", *SYSTEM_PACKAGES], capture_output=True, text=True)
    if query.returncode == 0:
        return
    if os.geteuid() != 0:
        session.warn(
            f"install these if the panel tests fail: sudo apt-get install {' '.join(SYSTEM_PACKAGES)}"
        )
        return
    session.run("apt-get", "update", "-q", external=True, silent=True)
    session.run("apt-get", "install", "-y", "-q", *SYSTEM_PACKAGES, external=True, silent=True)


@nox.session
def demo(session: nox.Session) -> None:
    """Segments the sample scans at four resolutions through the Slicer module, and draws the result."""
    install_system_packages(session)
    install_project(session, "train")  # Dice and low-resolution versions are the training package's
    session.install(*STANDIN_PACKAGES, *CONSTRAINTS)
    session.run("python", "Testing/demo/demo.py", *session.posargs, env={"QT_QPA_PLATFORM": "offscreen"})


@nox.session
def tests(session: nox.Session) -> None:
    """Runs the test suite; arguments after -- go to pytest."""
    install_system_packages(session)
    install_project(session, "train", "sweep")
    session.install(*TEST_PACKAGES, *CONSTRAINTS)
    environment = {"QT_QPA_PLATFORM": "offscreen", "OMP_NUM_THREADS": "2"}
    session.run("pytest", *session.posargs, env=environment)


@nox.session
def bench(session: nox.Session) -> None:
    """Prints what inference, a click on Apply, a training step and the start of a training cost. Names after -- choose:
    predictor, memory, worker, training, start_up, tiles; options like --large are theirs. A failure stops none."""
    install_system_packages(session)
    install_project(session, "train")
    session.install(*TEST_PACKAGES, *CONSTRAINTS)
    options = [word for word in session.posargs if word.startswith("-")]
    chosen = [word for word in session.posargs if word not in options]
    failed = []
    for name in chosen or ("predictor", "memory", "worker", "training", "start_up"):
        script = f"Testing/benchmarks/bench_{name}.py"
        try:
            session.run("python", script, *options, env={"QT_QPA_PLATFORM": "offscreen"})
        except CommandFailed:
            failed.append(name)
    if failed:
        session.error(f"beyond their limits: {', '.join(failed)}")


@nox.session
def stress(session: nox.Session) -> None:
    """Applies 200 times in a row while the run is cancelled, the worker killed and the scene closed."""
    install_system_packages(session)
    install_project(session, "train")
    session.install(*TEST_PACKAGES, *CONSTRAINTS)
    environment = {"QT_QPA_PLATFORM": "offscreen", "RAREUNET_STRESS_RUNS": "200"}
    session.run("pytest", "-s", "Testing/segment_panel/test_stress.py", *session.posargs, env=environment)


@nox.session
def lint(session: nox.Session) -> None:
    """Checks format and style."""
    session.install("ruff>=0.9")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Checks types of the plain Python packages."""
    install_project(session, "train", "sweep")
    session.install("mypy>=1.13", *CONSTRAINTS)
    session.run("mypy")
