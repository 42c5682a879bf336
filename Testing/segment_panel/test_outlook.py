"""The line above Apply: what will happen to the scan, and how well that went on others."""

from dataclasses import replace

import numpy as np
from segment_helpers import add_scan, finish_run, save_tiny_model, segmentations
from turns import turned_world


def test_line_before_apply(panel):
    node = add_scan(ijk_to_ras=np.diag([1.0, 1.0, 4.0, 1.0]), array=np.ones((8, 20, 20)))
    panel._parameterNode.inputVolume = node
    assert panel.ui.outlookLabel.text.splitlines() == [
        "1.0 x 1.0 x 4.0 mm: enters at depth 0, z at depth 2.",
        "Expected Dice 0.80 ± 0.05 (40 scans, slices of 4 mm).",
    ]
    assert panel.ui.applyButton.enabled
    node.SetSpacing(2, 2, 2)
    assert panel.ui.outlookLabel.text.startswith("2.0 x 2.0 x 2.0 mm: enters at depth 1.")
    assert "not measured near this voxel size" in panel.ui.outlookLabel.text


def test_line_tells_what_to_expect_of_the_ticked_structures(panel, models):
    names = panel._facts.structure_names
    card = {"condition": "native", "spacing_mm": [1, 1, 1], "cases": 9, "dice_mean": 0.75, "dice_sd": 0.1}
    measured = card | {"dice_by_label": dict(zip(names, (0.81, 0.69), strict=True))}
    panel._parameterNode.model = save_tiny_model(models, "measured", resolution_card=(measured,)).name
    panel._parameterNode.inputVolume = add_scan()
    assert "Expected Dice 0.75 ± 0.10 (Front 0.81, Back 0.69; 9 scans, native)." in panel.ui.outlookLabel.text
    panel._parameterNode.leftOut = '{"measured": ["Back"]}'
    assert "Expected Dice 0.81 (Front; 9 scans, native)." in panel.ui.outlookLabel.text


def test_line_follows_anatomical_axes(panel):
    """A scan of thick sagittal slices: k runs to the right, so that x is the coarse axis."""
    node = add_scan(np.ones((8, 20, 20)), [[0, 0, 4, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    panel._parameterNode.inputVolume = node
    assert panel.ui.outlookLabel.text.startswith("4.0 x 1.0 x 1.0 mm: enters at depth 0, x at depth 2.")


def test_line_tells_of_a_turned_scan(panel):
    """What the core will do with it, before any package is there."""
    matrix = turned_world(40, 0) @ np.diag([1.0, 1.0, 3.0, 1.0])
    panel._parameterNode.inputVolume = add_scan(np.ones((8, 20, 20)), matrix)
    text = panel.ui.outlookLabel.text
    resampled = "1.0 x 1.0 x 1.0 mm along the patient's axes (resampled: the scan is turned by 40 degrees)"
    assert text.startswith(f"{resampled}: enters at depth 0.")
    # That of thick slices: straightening does not bring back what they lost.
    assert "Expected Dice 0.80" in text


def test_line_is_silent_of_it_where_the_model_has_learnt_turned_scans():
    from RAREUNetSegmentLib.models import read_model
    from RAREUNetSegmentLib.outlook import outlook_for

    facts = replace(read_model("hippocampus"), straighten_turned=False)
    view = outlook_for(facts, (8, 20, 20), turned_world(40, 0) @ np.diag([1.0, 1.0, 4.0, 1.0]))
    assert view.route.startswith("1.0 x 1.0 x 4.0 mm: enters at depth 0, z at depth 2")
    assert not view.warnings


def test_fixed_depth_changes_the_line(panel):
    panel._parameterNode.inputVolume = add_scan()
    panel.ui.entryDepthComboBox.setCurrentIndex(2)
    assert "enters at depth 1" in panel.ui.outlookLabel.text
    assert "resampled" in panel.ui.outlookLabel.text


def test_accuracy_of_the_automatic_route_is_not_told_of_another_one(panel):
    panel._parameterNode.inputVolume = add_scan()
    assert "Expected Dice 0.88" in panel.ui.outlookLabel.text
    panel.ui.entryDepthComboBox.setCurrentIndex(4)
    assert "Accuracy was not measured for this entry depth." in panel.ui.outlookLabel.text
    panel.ui.entryDepthComboBox.setCurrentIndex(1)  # what the spacing leads to
    assert "Expected Dice 0.88" in panel.ui.outlookLabel.text


def test_field_of_view_too_large_does_not_block_since_apply_refuses_as_clearly(panel, slicer_app):
    panel._parameterNode.inputVolume = add_scan(np.random.default_rng(0).normal(size=(80, 70, 90)))
    panel.ui.applyButton.click()
    finish_run(panel)
    (dialog,) = slicer_app.dialogs
    for text in (dialog.text, panel.ui.resultLabel.text):
        assert "shows 90 x 70 x 80 mm" in text
        assert "place a region of interest of about that size around the structure" in text
    assert segmentations() == []


def test_padding_does_not_count_to_the_field_of_view(panel, slicer_app):
    content = np.random.default_rng(0).normal(100, 20, (24, 26, 28))
    panel._parameterNode.inputVolume = add_scan(np.pad(content, 30))
    assert "Unless the rest is padding, Apply will refuse" in panel.ui.outlookLabel.text
    panel.ui.applyButton.click()
    finish_run(panel)
    assert slicer_app.dialogs == []
    assert len(segmentations()) == 1


def test_field_of_view_too_large_until_a_region_is_placed(panel):
    node = add_scan(np.random.default_rng(0).normal(size=(80, 70, 90)))
    panel._parameterNode.inputVolume = node
    assert "90 x 70 x 80 mm" in panel.ui.outlookLabel.text
    assert "place a region of interest" in panel.ui.outlookLabel.text
    panel.ui.forceCheckBox.setChecked(True)
    assert "Apply will refuse" not in panel.ui.outlookLabel.text
    assert "expect false findings" in panel.ui.outlookLabel.text
    panel.ui.forceCheckBox.setChecked(False)
    panel.ui.placeRegionButton.click()
    assert "⚠" not in panel.ui.outlookLabel.text
    region = panel._parameterNode.regionOfInterest
    assert tuple(region.GetSize()) == (28, 30, 32)
    region.SetCenter(500, 0, 0)
    assert not panel.ui.applyButton.enabled
    assert "outside the scan" in panel.ui.outlookLabel.text
