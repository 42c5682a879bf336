"""Scripts/train.py where it has to run: in plain Python, in Slicer, and under torchrun; on real scans."""

import importlib.metadata
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from rareunet import Predictor, read_volume
from rareunet_training.monitoring.history_file import read_history

ROOT = Path(__file__).parents[2]
TRAIN = ROOT / "RAREUNetTraining" / "Scripts" / "train.py"
DATA = ROOT / "Testing" / "data" / "hippocampus"
SCAN = ROOT / "Resources" / "SampleData" / "hippocampus_050.nii.gz"

PYTHON = [sys.executable]
SLICER = [sys.executable, "-m", "standin.run_script"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
STILL_RUNNING = 99  # the stand-in's exit code where Slicer would not end


def train(launcher, *words, environment=()):
    return subprocess.run(
        [*launcher, str(TRAIN), *map(str, words)],
        capture_output=True, encoding="utf-8", timeout=600,
        env={
            **os.environ, "OMP_NUM_THREADS": "1", "QT_QPA_PLATFORM": "offscreen",
            "PYTHONPATH": str(ROOT / "Testing") if launcher is SLICER else "", **dict(environment),
        },
    )  # fmt: skip


def arguments(output, *words):
    config = ROOT / "RAREUNetTraining" / "Scripts" / "hippocampus.toml"
    return [
        "--config", config, "--output", output, f"data.folder={DATA}", "data.exclude=[]", "data.folds=''",
        "data.fold_count=6", "fit.epochs=2", "fit.validate_every=2", "fit.device=cpu", "fit.precision=float32",
        'model.network={"filters": 8, "max_filters": 64}', *words,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("launcher", "separator"), [(SLICER, ["--"]), (TORCHRUN, [])], ids=["Slicer", "torchrun"]
)
def test_two_epochs_on_twelve_real_scans(tmp_path, launcher, separator):
    """From files to a bundle that segments a scan that was not among them."""
    run = train(launcher, *separator, *arguments(tmp_path / "out"))
    assert run.returncode == 0, run.stderr[-3000:]
    assert "10 training and 2 validation cases" in run.stdout
    assert run.stdout.count("10 training and 2 validation cases") == 1  # one process speaks
    rows = read_history(tmp_path / "out" / "history.csv")
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[1]["loss total"] < rows[0]["loss total"]
    assert {name for name in rows[1] if name.startswith("dice ")} >= {"dice scale 1 (aligned)"}
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files >= {"curves.png", "validation.png", "check.html", "check.json", "config.json", "scores.csv"}
    state = json.loads((tmp_path / "out" / "progress.json").read_text(encoding="utf-8"))
    assert (state["state"], Path(state["bundle"])) == ("finished", tmp_path / "out" / "hippocampus")
    predictor = Predictor(tmp_path / "out" / "hippocampus", "cpu")
    assert {row["cases"] for row in predictor.bundle.resolution_card} == {2}
    scan = read_volume(SCAN)
    assert predictor.predict(scan).label_map.shape == scan.shape


@pytest.mark.parametrize("launcher", [PYTHON, SLICER], ids=["Python", "Slicer"])
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--help"], 0, "usage:"),
        (["--config", "none.toml", "--output", "out"], 1, "none.toml can't be read"),
        (["--output", "out"], 2, "--config"),
    ],
)
def test_exit_codes_are_those_of_the_command(tmp_path, monkeypatch, launcher, words, code, message):
    """In Slicer too, which goes on running after a script that only returns or raises."""
    monkeypatch.chdir(tmp_path)
    run = train(launcher, *words)
    assert run.returncode == code
    assert message in run.stdout + run.stderr
    assert "Traceback" not in run.stderr


def test_unexpected_exception_ends_slicer_too(tmp_path):
    """A folder where a file is due raises deep inside; Slicer must not stay open."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "monai.py").write_text("raise RuntimeError('broken installation')")
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path / "broken"), str(ROOT / "Testing")])}
    run = train(SLICER, *arguments(tmp_path / "out"), environment=environment.items())
    assert run.returncode == 1
    assert run.returncode != STILL_RUNNING
    assert "broken installation" in run.stderr


def test_slicer_application_refuses_torchrun(tmp_path):
    run = train(SLICER, *arguments(tmp_path / "out"), environment={"LOCAL_RANK": "0"}.items())
    assert run.returncode == 2
    assert "PythonSlicer -m torch.distributed.run" in run.stderr


def test_missing_packages_are_named_with_the_command_that_installs_them(tmp_path):
    """Without its site packages but torch, Python lacks what training needs."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("")
    import packaging

    (tmp_path / "packaging").symlink_to(Path(packaging.__file__).parent)
    run = train([sys.executable, "-S"], "--config", "x", environment={"PYTHONPATH": str(tmp_path)}.items())
    assert run.returncode == 1
    assert "monai" in run.stderr
    assert f'"{TRAIN}" --install' in run.stderr


def test_missing_package_that_reads_versions_is_named_too(tmp_path):
    """packaging itself, in a bare Python with PyTorch."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("")
    run = train([sys.executable, "-S"], "--config", "x", environment={"PYTHONPATH": str(tmp_path)}.items())
    assert run.returncode == 1
    assert re.search(r'^error: training needs packaging.* Install them by: .*" --install$', run.stderr, re.M)
    assert "Traceback" not in run.stderr


def test_missing_pytorch_is_named(tmp_path):
    run = train([sys.executable, "-S"], "--config", "x")
    assert run.returncode == 1
    assert "PyTorch is missing" in run.stderr


def test_pytorch_that_is_too_old_is_told(tmp_path):
    import packaging

    (tmp_path / "torch").mkdir()
    (tmp_path / "torch-2.2.2+cu121.dist-info").mkdir()
    metadata = tmp_path / "torch-2.2.2+cu121.dist-info" / "METADATA"
    metadata.write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.2.2+cu121\n")
    (tmp_path / "packaging").symlink_to(Path(packaging.__file__).parent)
    run = train([sys.executable, "-S"], "--install", environment={"PYTHONPATH": str(tmp_path)}.items())
    assert run.returncode == 1
    assert "PyTorch 2.2.2+cu121 is too old, torch>=2.3 is needed: pip install --upgrade" in run.stderr


def test_every_part_asks_for_the_same_pytorch():
    from RAREUNetSegmentLib.dependencies import TORCH_VERSION

    asked = runpy.run_path(str(TRAIN), run_name="train")["TORCH"]
    assert asked == f"torch{TORCH_VERSION}"
    assert f'"{asked}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_install_leaves_pytorch_and_slicers_packages_as_they_are(monkeypatch):
    namespace = runpy.run_path(str(TRAIN), run_name="train")
    seen = []

    def run(command):
        constraints = Path(command[command.index("-c") + 1]).read_text(encoding="utf-8").split()
        seen.append((command, constraints))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    assert namespace["main"](["--install"]) == 0
    ((command, constraints),) = seen
    assert command[:4] == [sys.executable, "-m", "pip", "install"]
    assert Path(command[5]).name == "RAREUNetTraining-requirements.txt"
    versions = {name: importlib.metadata.version(name) for name in ("torch", "numpy", "scipy", "SimpleITK")}
    assert constraints == [f"{name}=={version}" for name, version in versions.items()]


def test_requirements_cover_what_training_imports():
    """What the project and its training extra ask for, so that train.py --install is enough."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lists = [text.split(start, 1)[1].split("]", 1)[0] for start in ("\ndependencies = [", "\ntrain = [")]
    names = {re.split(r"[<>=; ]", word)[0] for part in lists for word in re.findall(r'"([^"]+)"', part)}
    requirements = runpy.run_path(str(TRAIN), run_name="train")["requirements"]()
    # PyTorch's extension brings the first two, and training reads no DICOM.
    assert names - set(requirements) == {"torch", "numpy", "pydicom"}
