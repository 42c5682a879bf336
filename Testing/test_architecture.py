"""Imports run one way, as ARCHITECTURE.md draws them."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE, TRAINING = ROOT / "RAREUNetSegment" / "rareunet", ROOT / "RAREUNetTraining" / "rareunet_training"
SEGMENT_LIB = ROOT / "RAREUNetSegment" / "RAREUNetSegmentLib"
SLICERS_OWN = {"slicer", "qt", "ctk", "vtk", "RAREUNetSegmentLib", "RAREUNetTrainingLib"}
# Each uses only what stands before it.
LAYERS = (
    "setting_rules", "configuration", "data", "check", "model", "evaluation", "monitoring", "reports", "training",
    "sweep", "commands", "__main__",
)  # fmt: skip


def imported(path):
    """Names of the modules that a file imports when it runs, in functions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    ]
    skipped = {id(inner) for node in for_types for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports relatively, where this test can't follow"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files(package):
    return sorted(package.rglob("*.py"))


@pytest.mark.parametrize("package", [CORE, TRAINING], ids=lambda package: package.name)
def test_plain_packages_know_nothing_of_slicer(package):
    assert len(files(package)) > 40
    for path in files(package):
        assert not {name.split(".")[0] for name in imported(path)} & SLICERS_OWN, path


def test_the_core_knows_nothing_of_the_training():
    for path in files(CORE):
        assert not any(name.startswith("rareunet_training") for name in imported(path)), path


def test_the_segment_module_knows_nothing_of_the_training():
    paths = [*files(SEGMENT_LIB), SEGMENT_LIB.parent / "RAREUNetSegment.py"]
    assert len(paths) > 15
    for path in paths:
        used = {name.split(".")[0] for name in imported(path)}
        assert not used & {"rareunet_training", "RAREUNetTrainingLib", "RAREUNetTraining"}, path


def test_each_folder_of_the_training_uses_those_below_it():
    present = {path.relative_to(TRAINING).with_suffix("").parts[0] for path in files(TRAINING)} - {"__init__"}
    assert present == set(LAYERS)
    used = 0
    for path in files(TRAINING):
        layer = path.relative_to(TRAINING).with_suffix("").parts[0]
        for name in imported(path):
            top, _, rest = name.partition(".")
            below = rest.split(".")[0]
            if top == "rareunet_training" and below in LAYERS and layer in LAYERS:
                used += 1
                assert LAYERS.index(below) <= LAYERS.index(layer), (
                    f"{path} imports {name}, which lies above it"
                )
    assert used > 100


def test_only_the_command_line_uses_the_commands():
    for path in files(CORE):
        folder = path.relative_to(CORE).parts[0]
        if folder not in ("commands", "__main__.py"):
            assert not any(name.startswith("rareunet.commands") for name in imported(path)), path
