"""One real scan, stored in all 48 axis orders and flips and turned in space: the answer stays where the anatomy is."""

from pathlib import Path

import numpy as np
import pytest
from segment_helpers import MODULE, add_scan
from turns import STORAGES, as_before, stored_otherwise, turned_world

from rareunet import Predictor, Volume, read_volume, write_label_map
from rareunet.volume_files import write_volume

SAMPLE = Path(__file__).parents[1] / "Resources" / "SampleData" / "hippocampus_050.nii.gz"


@pytest.fixture(scope="module")
def predictor():
    return Predictor(device="cpu")


@pytest.fixture(scope="module")
def scan():
    return read_volume(SAMPLE)


@pytest.fixture(scope="module")
def expected(predictor, scan):
    """The label map of the scan as it is."""
    return predictor.predict(scan).label_map


def dice(a, b):
    return 2 * np.count_nonzero((a == b) & (a > 0)) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.mark.parametrize(("order", "flips"), STORAGES)
def test_files_in_every_orientation_agree(order, flips, scan, expected, predictor, tmp_path):
    write_volume(tmp_path / "scan.nii.gz", stored_otherwise(scan, order, flips))
    read = read_volume(tmp_path / "scan.nii.gz")
    write_label_map(tmp_path / "label.nii.gz", predictor.predict(read).label_map, read)
    label = read_volume(tmp_path / "label.nii.gz")
    assert label.shape == read.shape
    assert label.ijk_to_ras == pytest.approx(read.ijk_to_ras, abs=1e-4)
    assert dice(as_before(label.voxels[0], order, flips), expected) >= 0.999


@pytest.mark.parametrize(("order", "flips"), STORAGES)
def test_slicer_nodes_in_every_orientation_agree(order, flips, scan, expected, slicer_app):
    import slicer

    import standin

    standin.load_module(MODULE)
    from RAREUNetSegment import RAREUNetSegmentLogic

    volume = stored_otherwise(scan, order, flips)
    # Not through a file: Slicer turns left-handed axes over when it reads one.
    volume_node = add_scan(volume.voxels[0], volume.ijk_to_ras)
    node = RAREUNetSegmentLogic().process(volume_node, device="cpu")
    label_map = np.zeros(volume.shape, dtype=np.uint8)
    for number, segment_id in enumerate(node.GetSegmentation().GetSegmentIDs(), start=1):
        label_map[slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume_node) > 0] = number
    assert dice(as_before(label_map, order, flips), expected) >= 0.999


@pytest.mark.parametrize("degrees", [10, 20])
def test_oblique_scan_gives_the_same_voxels(degrees, scan, expected, predictor):
    oblique = Volume(scan.voxels, turned_world(degrees, 2) @ scan.ijk_to_ras, scan.name)
    assert dice(predictor.predict(oblique).label_map, expected) >= 0.999
