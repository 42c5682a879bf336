"""Packages that are missing: the panel opens without them, and Apply asks before it installs them."""

import platform
import sys

import pytest
from new_slicer import in_a_new_slicer
from segment_helpers import MODULE, add_scan, finish_run, segmentations

PACKAGED_MODELS = """
import rareunet.installed_models
from pathlib import Path
rareunet.installed_models.PACKAGED_MODELS = Path({folder!r})
"""
CHOOSE_A_SCAN = """
from segment_helpers import add_scan, finish_run
panel._parameterNode.inputVolume = add_scan()
"""
SHOW_THE_LINE = """
print(panel.ui.outlookLabel.text)
assert panel.ui.applyButton.enabled
"""
APPLY = """
from RAREUNetSegmentLib.worker_client import shared_worker
panel.ui.applyButton.click()
finish_run(panel)
shared_worker().close()
assert not slicer.app.dialogs, slicer.app.dialogs
print(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode"), "torch" in sys.modules)
"""


def test_opens_before_any_package_is_installed(models):
    before = PACKAGED_MODELS.format(folder=str(models))
    missing = ("torch", "nibabel", "safetensors", "fastjsonschema")
    said = in_a_new_slicer(MODULE, CHOOSE_A_SCAN + SHOW_THE_LINE, before, missing)
    assert "1.0 x 1.0 x 1.0 mm: enters at depth 0." in said


def test_packages_are_ensured_on_apply_only(panel, slicer_app):
    import slicer.packaging

    slicer.packaging.missing.add("nibabel")
    slicer.packaging.set_torch_present(False)
    panel._parameterNode.inputVolume = add_scan()
    assert slicer.packaging.calls == []
    panel.ui.applyButton.click()
    assert [call.function for call in slicer.packaging.calls] == ["installTorch", "pip_ensure"]
    assert slicer.packaging.calls[1].options["requester"] == "RAREUNet"
    finish_run(panel)
    assert len(segmentations()) == 1


def test_apply_does_not_import_torch_into_slicer(models):
    """In a process of its own: this one may have imported it for other tests."""
    said = in_a_new_slicer(MODULE, CHOOSE_A_SCAN + APPLY, PACKAGED_MODELS.format(folder=str(models)))
    assert said.splitlines()[-1] == "1 False"


def test_missing_pytorch_extension_says_what_to_do(panel, slicer_app):
    import slicer.packaging

    slicer.packaging.remove_pytorch_utils()
    slicer.packaging.set_torch_present(False)
    panel._parameterNode.inputVolume = add_scan()
    panel.ui.applyButton.click()
    (dialog,) = slicer_app.dialogs
    assert "install the extension 'PyTorch'" in dialog.text
    assert len(slicer_app.takeSlotExceptions()) == 1  # tryWithErrorDisplay lets it go on to the console
    assert panel.ui.applyButton.enabled
    assert segmentations() == []


def test_declined_pytorch(panel, slicer_app):
    import slicer.packaging

    slicer.packaging.set_torch_present(False)
    slicer_app.dialogAnswers.append(False)
    panel._parameterNode.inputVolume = add_scan()
    panel.ui.applyButton.click()
    assert "PyTorch was not installed" in slicer_app.dialogs[-1].text
    assert len(slicer_app.takeSlotExceptions()) == 1


def lack(package):
    import slicer.packaging

    if package == "torch":
        slicer.packaging.set_torch_present(False)
    else:
        slicer.packaging.missing.add(package)


def test_declined_packages(panel, slicer_app):
    """slicer.packaging raises RuntimeError then, and nobody could tell that from a failed run."""
    from RAREUNetSegmentLib.dependencies import MissingPackageError

    lack("nibabel")
    slicer_app.dialogAnswers.append(False)
    with pytest.raises(MissingPackageError, match="Not installed: nibabel. .* Try again and accept"):
        panel.logic.process(add_scan())


@pytest.mark.parametrize(("package", "name"), [("torch", "PyTorch"), ("nibabel", "nibabel")])
def test_failed_installation(panel, slicer_app, package, name):
    import slicer.packaging

    from RAREUNetSegmentLib.dependencies import MissingPackageError

    lack(package)
    slicer.packaging.unreachable.add(package)
    with pytest.raises(MissingPackageError, match=f"Could not be installed: {name} .*Check the internet"):
        panel.logic.process(add_scan())


@pytest.mark.parametrize("version", ["2.2.2", "2.2.2+cu121", "2.3.0", "2.9.0.dev20250801+cpu"])
def test_a_pytorch_that_is_too_old_is_told(panel, monkeypatch, version):
    from RAREUNetSegmentLib import dependencies

    versions = dependencies.importlib.metadata.version
    monkeypatch.setattr(
        dependencies.importlib.metadata,
        "version",
        lambda name: version if name == "torch" else versions(name),
    )
    assert dependencies.are_installed() == (version > "2.3")
    if version < "2.3":
        with pytest.raises(
            dependencies.MissingPackageError, match=r"2\.2\.2.* is installed.*'PyTorch Utils'"
        ):
            panel.logic.process(add_scan())


@pytest.mark.parametrize(
    ("missing", "command", "other"),
    [
        (
            "torch",
            r"Slicer --no-main-window --python-code \"import PyTorchUtils.*'>=2\.3'.*exit\(\)\"",
            "pip",
        ),
        ("nibabel", 'PythonSlicer -m pip install -r ".*-requirements.txt"', "PyTorchUtils"),
    ],
)
def test_without_a_window_nobody_is_asked(panel, monkeypatch, missing, command, other):
    """The question would wait for ever, unseen."""
    import slicer.packaging
    import slicer.util

    from RAREUNetSegmentLib.dependencies import MissingPackageError

    lack(missing)
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: None)
    with pytest.raises(MissingPackageError, match=command) as told:
        panel.logic.process(add_scan())
    assert other not in str(told.value)
    assert slicer.packaging.calls == []


def test_the_command_for_a_slicer_without_a_window_installs_pytorch_and_ends(slicer_app):
    import slicer.packaging

    from RAREUNetSegmentLib.dependencies import TORCH_COMMAND

    _, code, _ = TORCH_COMMAND.split('"')
    lack("torch")
    with pytest.raises(SystemExit):  # the stand-in's way to end
        exec(code, {})
    assert [call.requirements for call in slicer.packaging.calls] == [("torch>=2.3",)]


def test_a_mac_without_a_pytorch_is_told_so_before_anything_is_downloaded(panel, monkeypatch):
    import slicer.packaging

    from RAREUNetSegmentLib.dependencies import MissingPackageError

    slicer.packaging.set_torch_present(False)
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    with pytest.raises(MissingPackageError, match="Intel processors"):
        panel.logic.process(add_scan())
    assert slicer.packaging.calls == []


def test_self_test_installs_nothing_in_a_test_run(panel, slicer_app, monkeypatch):
    import slicer
    import slicer.packaging

    slicer.packaging.missing.add("nibabel")
    slicer_app.setTestingEnabled(True)
    try:
        slicer.selfTests["RAREUNetSegment"]()
    finally:
        slicer_app.setTestingEnabled(False)
    assert slicer.packaging.missing == {"nibabel"}
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
