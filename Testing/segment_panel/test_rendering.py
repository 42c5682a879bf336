"""The result as the views show it. Set RAREUNET_SCREENSHOTS to a folder to keep the pictures and look at them."""

import os
from pathlib import Path

import numpy as np
import pytest
from segment_helpers import MODULE, FakePredictor, answer_by, make_labels, save_tiny_model

from rareunet.volume_files import read_volume

SAMPLES = MODULE.parent.parent / "Resources" / "SampleData"
ORANGE, BLUE = (230, 96, 66), (64, 156, 214)


@pytest.fixture
def folder(tmp_path):
    kept = os.environ.get("RAREUNET_SCREENSHOTS")
    if not kept:
        return tmp_path
    Path(kept).mkdir(parents=True, exist_ok=True)
    return Path(kept)


class ReferencePredictor(FakePredictor):
    """Answers with the sample scan's own label map."""

    def predict(self, volume, *arguments, **options):
        prediction = super().predict(volume, *arguments, **options)
        prediction.label_map = (
            read_volume(SAMPLES / "hippocampus_050-label.nii.gz").voxels[0].astype(np.uint8)
        )
        prediction.warnings = []
        for label in self.bundle.labels:
            count = np.count_nonzero(prediction.label_map == label.value)
            prediction.volumes_ml[label.name] = count * float(np.prod(volume.spacing_mm)) / 1000
        return prediction


@pytest.fixture
def panel(slicer_app, tmp_path, monkeypatch):
    import slicer.util

    import standin
    from rareunet import installed_models

    save_tiny_model(
        tmp_path / "packaged", "hippocampus", title="Hippocampus, anterior and posterior (T1 MRI)"
    )
    monkeypatch.setattr(installed_models, "PACKAGED_MODELS", tmp_path / "packaged")
    slicer.util.loadVolume(str(SAMPLES / "hippocampus_050.nii.gz"))
    module = standin.load_module(MODULE)
    representation = module.widgetRepresentation()
    widget = representation.self()
    labels = make_labels((1, 2), ("Anterior hippocampus", "Posterior hippocampus"))
    answer_by(ReferencePredictor(labels))
    representation.enter()
    yield widget
    standin.unload_module(module)


def pixels(path):
    """(H, W, 3) integers."""
    import vtk
    from vtk.util import numpy_support

    reader = vtk.vtkPNGReader()
    reader.SetFileName(str(path))
    reader.Update()
    image = reader.GetOutput()
    width, height, _ = image.GetDimensions()
    values = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    return values.reshape(height, width, -1)[::-1, :, :3].astype(int)


def share_of_hue(image, color, least_saturation=40):
    """Part of the pixels whose hue is that of the colour, whatever their brightness."""
    saturated = np.ptp(image, axis=-1) > least_saturation
    directions = image - image.mean(axis=-1, keepdims=True)
    wanted = np.array(color) - np.mean(color)
    cosine = directions @ wanted / (np.linalg.norm(directions, axis=-1) * np.linalg.norm(wanted) + 1e-9)
    return np.mean(saturated & (cosine > 0.97))


def test_slices_show_both_structures(panel, folder):
    import slicer.util

    from standin.rendering import render_slice

    panel.ui.applyButton.click()
    volume = slicer.util.getFirstNodeByName("hippocampus_050")
    (node,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    points = [node.GetSegmentCenterRAS(i) for i in node.GetSegmentation().GetSegmentIDs()]
    middle = np.mean(points, axis=0)
    path = render_slice(volume, folder / "segment_sagittal.png", "Sagittal", middle)
    image = pixels(path)
    assert share_of_hue(image, ORANGE) > 0.002
    assert share_of_hue(image, BLUE) > 0.002


def test_3d_view_shows_both_structures(panel, folder):
    from standin.rendering import render_3d

    panel.ui.applyButton.click()
    panel.ui.show3DButton.click()
    image = pixels(render_3d(folder / "segment_3d.png"))
    assert share_of_hue(image, ORANGE) > 0.01
    assert share_of_hue(image, BLUE, 60) > 0.01


def test_panel_before_and_after(panel, folder):
    from standin.rendering import grab_widget

    before = pixels(grab_widget(panel.parent, folder / "segment_panel_before.png"))
    panel.ui.applyButton.click()
    panel.ui.advancedSection.collapsed = False
    after = pixels(grab_widget(panel.parent, folder / "segment_panel_after.png"))
    assert after.shape[0] > before.shape[0]
    assert share_of_hue(after, ORANGE) > share_of_hue(before, ORANGE)
