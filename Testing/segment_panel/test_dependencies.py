"""Packages that are missing: the panel opens without them, and Apply asks before it installs them."""

import platform
import sys

import pytest
from new_slicer import in_a_new_slicer
from segment_helpers import MODULE, add_scan, finish_run, segmentations

PACKAGED_MODELS = """
import rareunet.bundle
from pathlib import Path
rareunet.bundle.PACKAGED_MODELS = Path({folder!r})
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


@pytest.mark.parametrize("missing", ["torch", "nibabel"])
def test_without_a_window_nobody_is_asked(panel, monkeypatch, missing):
    """The question would wait for ever, unseen."""
    import slicer.packaging
    import slicer.util

    from RAREUNetSegmentLib.dependencies import MissingPackageError

    if missing == "torch":
        slicer.packaging.set_torch_present(False)
    else:
        slicer.packaging.missing.add(missing)
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: None)
    with pytest.raises(MissingPackageError, match='PythonSlicer -m pip install "torch>=2.3" -r '):
        panel.logic.process(add_scan())
    assert slicer.packaging.calls == []


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
