"""What the CMake lists install is all of it, and runs from the one flat folder it is installed into."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rareunet.bundle_format import verify

ROOT = Path(__file__).parent.parent
MODULES = ("RAREUNetSegment", "RAREUNetTraining")
PACKAGED_MODEL = "rareunet/models/hippocampus/"

RUN_INSTALLED = """
import os, sys
installed, testing = sys.argv[1:]
sys.path[:0] = [testing]
import numpy, standin, slicer, slicer.util
standin.start()
for name in ("RAREUNetTraining", "RAREUNetSegment"):
    standin.load_module(os.path.join(installed, name + ".py")).widgetRepresentation().enter()
for name in ("rareunet", "rareunet_training", "RAREUNetSegmentLib"):
    assert __import__(name).__file__.startswith(installed), __import__(name).__file__
slicer.selfTests["RAREUNetTraining"]()
from RAREUNetSegment import RAREUNetSegmentLogic
volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "made")
noise = numpy.random.default_rng(0).normal(100, 20, (36, 50, 35)).astype(numpy.float32)
slicer.util.updateVolumeFromArray(volume, noise)
node = RAREUNetSegmentLogic().process(volume, device="cpu")
print("SEGMENTS", node.GetSegmentation().GetNumberOfSegments())
sys.stdout.flush()
os._exit(0)
"""


def cmake_list(module, variable):
    """Entries of set(VARIABLE ...) in a module's CMakeLists.txt."""
    text = (ROOT / module / "CMakeLists.txt").read_text(encoding="utf-8")
    found = re.search(rf"set\({variable}\s+([^)]*)\)", text)
    assert found, f"{module}/CMakeLists.txt has no {variable}"
    return [entry.replace("${MODULE_NAME}", module) for entry in found[1].split()]


def installed_files(module):
    return [*cmake_list(module, "MODULE_PYTHON_SCRIPTS"), *cmake_list(module, "MODULE_PYTHON_RESOURCES")]


def files_of_the_tree(module):
    """Files of a module's folder that belong into the package."""
    folder = ROOT / module
    paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    hidden = (path for path in paths if any(part.startswith((".", "__pycache__")) for part in path.parts))
    return {path.as_posix() for path in set(paths) - set(hidden)} - {"CMakeLists.txt"}


def test_the_model_is_undamaged_in_a_clone_that_has_windows_line_ends(tmp_path):
    if not (ROOT / ".git").exists():
        pytest.skip("this tree is not a git repository, so it can't be cloned")
    clone = ["git", "clone", "-q", "-c", "core.autocrlf=true", str(ROOT), str(tmp_path / "clone")]
    subprocess.run(clone, check=True, timeout=120)
    verify(tmp_path / "clone" / "RAREUNetSegment" / PACKAGED_MODEL)


@pytest.mark.parametrize("module", MODULES)
def test_every_file_is_listed_once(module):
    listed = installed_files(module)
    assert len(listed) == len(set(listed))
    missing = files_of_the_tree(module) - set(listed)
    assert not missing, f"not in {module}/CMakeLists.txt and hence not packaged: {sorted(missing)}"
    absent = set(listed) - files_of_the_tree(module)
    assert not absent, f"in {module}/CMakeLists.txt but not in the tree: {sorted(absent)}"


@pytest.mark.parametrize("module", MODULES)
def test_only_the_module_file_lies_in_the_modules_folder(module):
    """Slicer loads every .py there as a module."""
    assert [path.name for path in (ROOT / module).glob("*.py")] == [f"{module}.py"]


def test_no_two_modules_install_the_same_file():
    first, second = (set(installed_files(module)) for module in MODULES)
    assert not first & second


def test_nothing_is_imported_that_slicer_lacks():
    """Files that Slicer loads at start-up name no installed package outside functions."""
    paths = [ROOT / m / f"{m}.py" for m in MODULES] + sorted(
        (ROOT / MODULES[0] / "RAREUNetSegmentLib").glob("*.py")
    )
    for path in paths:
        found = re.findall(
            r"^(?:import|from) (torch|nibabel|safetensors|fastjsonschema|monai|scipy)\b",
            path.read_text(encoding="utf-8"),
            re.M,
        )
        assert not found, f"{path.name} imports {found} at file scope"


def test_runs_from_the_installed_folder(tmp_path):
    for module in MODULES:
        for name in installed_files(module):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / module / name, tmp_path / name)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {
        "QT_QPA_PLATFORM": "offscreen",
        "PYTHONPATH": str(tmp_path),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-c", RUN_INSTALLED, str(tmp_path), str(ROOT / "Testing")]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "SEGMENTS 2" in run.stdout


def test_catalogue_entries():
    entry = json.loads((ROOT / "RAREUNet.json").read_text(encoding="utf-8"))
    assert entry["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert entry["build_dependencies"] == ["PyTorch"]
    assert {"category", "scm_url"} <= entry.keys()
    description = (ROOT / "RAREUNet.s4ext").read_text(encoding="utf-8")
    lines = dict(
        line.split(maxsplit=1) for line in description.splitlines() if line and not line.startswith("#")
    )
    assert (lines["depends"], lines["category"]) == ("PyTorch", entry["category"])
    assert lines["scmurl"] == entry["scm_url"]
    top = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert 'set(EXTENSION_DEPENDS "PyTorch")' in top
    assert f'set(EXTENSION_HOMEPAGE "{lines["homepage"]}")' in top
    for module in MODULES:
        assert f"add_subdirectory({module})" in top


@pytest.mark.parametrize("path", ["RAREUNet.png", *(f"{m}/Resources/Icons/{m}.png" for m in MODULES)])
def test_icons_are_128_pixels(path):
    header = (ROOT / path).read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big")) == (128, 128)


def test_requirements_leave_slicers_own_packages_alone():
    text = (ROOT / "RAREUNetSegment/Resources/RAREUNetSegment-requirements.txt").read_text(encoding="utf-8")
    names = [re.split(r">=", line) for line in text.splitlines() if line and not line.startswith("#")]
    assert all(len(parts) == 2 for parts in names)
    assert not {parts[0].lower() for parts in names} & {"torch", "numpy", "scipy", "simpleitk", "vtk"}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(parts[0] in readme for parts in names)  # what the first Apply downloads is told


def test_readme_tells_what_the_models_card_tells():
    bundle = json.loads(
        (ROOT / "RAREUNetSegment" / PACKAGED_MODEL / "bundle.json").read_text(encoding="utf-8")
    )
    readme = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    head = next(index for index, line in enumerate(readme) if line.startswith("| scan as |"))
    for row, line in zip(bundle["resolution_card"], readme[head + 2 :], strict=False):
        dice = [row["dice_mean"], row["dice_sd"], *row["dice_by_label"].values(), row["world_dice_mean"]]
        error = [row["volume_error_percent_mean"], row["volume_error_percent_sd"]]
        assert line.split("|")[1].strip() == row["condition"]
        numbers = re.findall(r"[-+]?\d+\.?\d*", line.split("|", 2)[2])
        assert [float(number) for number in numbers] == [*(round(x, 3) for x in dice), *map(round, error)]
    assert not readme[head + 2 + len(bundle["resolution_card"])]  # the table ends there
