"""One real scan, stored in all 48 axis orders and flips and turned in space: the answer stays where the anatomy is."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from rareunet import Predictor, Volume, read_volume, write_label_map
from rareunet.geometry import Reorientation
from rareunet.volume_files import write_volume

SAMPLE = Path(__file__).parents[1] / "Resources" / "SampleData" / "hippocampus_050.nii.gz"
STORAGES = [
    (order, flips)
    for order in itertools.permutations(range(3))
    for flips in itertools.product((False, True), repeat=3)
]


@pytest.fixture(scope="module")
def predictor():
    return Predictor(device="cpu")


@pytest.fixture(scope="module")
def scan():
    return read_volume(SAMPLE)


@pytest.fixture(scope="module")
def expected(predictor, scan):
    """The label map of the scan as it is, in canonical axes."""
    return canonical(predictor.predict(scan).label_map, scan.ijk_to_ras)


def stored(scan, order, flips):
    """The same scan with its array axes in another order and direction."""
    storage = Reorientation(order, flips)
    voxels = np.ascontiguousarray(storage.apply(scan.voxels))
    return Volume(voxels, storage.matrix(scan.ijk_to_ras, scan.shape), scan.name)


def canonical(label_map, ijk_to_ras):
    return Reorientation.to_ras(ijk_to_ras).apply(np.asarray(label_map)[np.newaxis])[0]


def dice(a, b):
    return 2 * np.count_nonzero((a == b) & (a > 0)) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.mark.parametrize(("order", "flips"), STORAGES)
def test_files_in_every_orientation_agree(order, flips, scan, expected, predictor, tmp_path):
    write_volume(tmp_path / "scan.nii.gz", stored(scan, order, flips))
    read = read_volume(tmp_path / "scan.nii.gz")
    write_label_map(tmp_path / "label.nii.gz", predictor.predict(read).label_map, read)
    label = read_volume(tmp_path / "label.nii.gz")
    assert label.shape == read.shape
    assert label.ijk_to_ras == pytest.approx(read.ijk_to_ras, abs=1e-4)
    assert dice(canonical(label.voxels[0], label.ijk_to_ras), expected) >= 0.999


@pytest.mark.parametrize(("order", "flips"), STORAGES)
def test_slicer_nodes_in_every_orientation_agree(order, flips, scan, expected, slicer_app, tmp_path):
    import slicer

    import standin

    standin.load_module(str(Path(__file__).parents[1] / "RAREUNetSegment" / "RAREUNetSegment.py"))
    from RAREUNetSegment import RAREUNetSegmentLogic

    write_volume(tmp_path / "scan.nii.gz", stored(scan, order, flips))
    volume_node = slicer.util.loadVolume(str(tmp_path / "scan.nii.gz"))
    node = RAREUNetSegmentLogic().process(volume_node, device="cpu")
    label_map = np.zeros(slicer.util.arrayFromVolume(volume_node).shape, dtype=np.uint8)
    for number, segment_id in enumerate(node.GetSegmentation().GetSegmentIDs(), start=1):
        label_map[slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume_node) > 0] = number
    matrix = slicer.util.arrayFromVTKMatrix(ijk_to_ras(volume_node))
    assert dice(canonical(label_map, matrix), expected) >= 0.999


def ijk_to_ras(volume_node):
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    return matrix


@pytest.mark.parametrize("degrees", [10, 20])
def test_oblique_scan_gives_the_same_voxels(degrees, scan, expected, predictor):
    angle = np.deg2rad(degrees)
    turned = np.eye(4)
    turned[:3, :3] = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    oblique = Volume(scan.voxels, turned @ scan.ijk_to_ras, scan.name)
    assert dice(predictor.predict(oblique).label_map, expected) >= 0.999
