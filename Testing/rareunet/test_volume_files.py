"""Files: what is written is read back at the same place; what can't be read is refused clearly."""

import errno
import os
import sys
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from scan_files import (
    EXTENSIONS,
    GEOMETRIES,
    MARKED,
    SHAPE,
    TWO,
    VOXELS,
    dicom,
    nifti,
    oblique,
    refused,
    sitk,
)

from rareunet.volume import Volume
from rareunet.volume_files import (
    case_name,
    find_scans,
    read_volume,
    without_label_maps,
    write_label_map,
    write_volume,
)

# Round trips


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_round_trip(tmp_path, geometry, extension):
    path = tmp_path / f"scan{extension}"
    write_volume(path, Volume(VOXELS, GEOMETRIES[geometry]))
    volume = read_volume(path)
    np.testing.assert_allclose(volume.ijk_to_ras, GEOMETRIES[geometry], atol=1e-5)
    np.testing.assert_array_equal(volume.voxels[0], VOXELS)
    assert volume.voxels.dtype == np.int16
    assert volume.ijk_to_ras.dtype == np.float64
    assert volume.name == "scan"
    assert volume.notes == ()


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_round_trip_of_channels(tmp_path, extension):
    voxels = np.stack([VOXELS, VOXELS + 100])
    write_volume(tmp_path / f"scan{extension}", Volume(voxels, oblique()))
    volume = read_volume(tmp_path / f"scan{extension}")
    np.testing.assert_array_equal(volume.voxels, voxels)
    np.testing.assert_allclose(volume.ijk_to_ras, oblique(), atol=1e-5)


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_the_number_type_is_kept(tmp_path, dtype, extension):
    write_volume(tmp_path / f"scan{extension}", Volume(VOXELS.astype(dtype), np.eye(4)))
    voxels = read_volume(tmp_path / f"scan{extension}").voxels
    assert voxels.dtype == dtype
    assert voxels.flags.c_contiguous


@pytest.mark.parametrize(("dtype", "stored"), [("bool", "uint8"), ("float16", "float32")])
def test_types_that_files_lack_are_widened(tmp_path, dtype, stored):
    write_volume(tmp_path / "scan.nii", Volume(VOXELS.astype(dtype), np.eye(4)))
    assert read_volume(tmp_path / "scan.nii").voxels.dtype == stored


def test_a_marked_voxel_lies_at_the_same_place_in_every_format(tmp_path):
    # i = 3, j = 2, k = 1 by hand: (-11.25 - 3, 22.5 + 2 * 2, 33.125 + 3).
    marked = np.zeros(SHAPE, np.uint8)
    marked[MARKED] = 1
    for extension in EXTENSIONS:
        path = tmp_path / f"scan{extension}"
        write_volume(path, Volume(marked, GEOMETRIES["left-handed"]))
        k, j, i = np.argwhere(read_volume(path).voxels[0])[0]
        position = read_volume(path).ijk_to_ras @ (i, j, k, 1)
        np.testing.assert_allclose(position[:3], (-14.25, 26.5, 36.125), atol=1e-5)
        if extension != ".nii":
            # Read by the other library: SimpleITK's positions are LPS.
            point = sitk.ReadImage(str(path)).TransformIndexToPhysicalPoint((int(i), int(j), int(k)))
            np.testing.assert_allclose(point, (14.25, -26.5, 36.125), atol=1e-4)


# Channels in files, names, folders


def test_one_file_per_channel(tmp_path):
    paths = [tmp_path / "case_0000.nii.gz", tmp_path / "case_0001.nrrd"]
    write_volume(paths[0], Volume(VOXELS, oblique()))
    write_volume(paths[1], Volume(VOXELS.astype(np.float32) + 100, oblique()))
    volume = read_volume(paths)
    np.testing.assert_array_equal(volume.voxels, TWO)
    assert volume.voxels.dtype == np.float32
    assert volume.name == "case"


def test_a_channel_file_has_one_channel(tmp_path):
    write_volume(tmp_path / "a.nii", Volume(VOXELS, np.eye(4)))
    write_volume(tmp_path / "d.nii", Volume(TWO, np.eye(4)))
    refused([tmp_path / "a.nii", tmp_path / "d.nii"], "d has 2 channels")
    refused([], "no file")


def test_a_series_is_chosen_from_one_folder(tmp_path):
    write_volume(tmp_path / "a.nii", Volume(VOXELS, np.eye(4)))
    with pytest.raises(ValueError, match="series is chosen from one folder"):
        read_volume([tmp_path / "a.nii", tmp_path / "a.nii"], series="1.2.3")


def test_channel_files_on_different_grids_are_resampled_and_noted(tmp_path):
    write_volume(tmp_path / "a_0000.nii", Volume(VOXELS, np.eye(4)))
    write_volume(tmp_path / "a_0001.nrrd", Volume(VOXELS[:2], np.eye(4)))
    volume = read_volume([tmp_path / "a_0000.nii", tmp_path / "a_0001.nrrd"])
    assert volume.name == "a"
    assert volume.voxels.dtype == np.float32
    np.testing.assert_array_equal(volume.voxels[0], VOXELS)
    np.testing.assert_array_equal(volume.voxels[1, :2], VOXELS[:2])
    assert np.isnan(volume.voxels[1, 2]).all()
    assert volume.notes == ("Resampled to the grid of a_0000, since they lie on others: a_0001.",)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("x/scan.nii.gz", "scan"),
        ("SCAN.NII.GZ", "SCAN"),
        ("sub.01.nii", "sub.01"),
        ("a_0000.nrrd", "a_0000"),
        (["a_0000.nrrd", "a_0001.nrrd"], "a"),
    ],
)
def test_case_name(path, name):
    assert case_name(path) == name


def test_case_name_of_a_folder(tmp_path):
    (tmp_path / "1.2.840").mkdir()
    assert case_name(tmp_path / "1.2.840") == "1.2.840"


def test_scans_in_a_folder(tmp_path):
    for name in [
        "b.mha", "a_0001.nii.gz", "a_0000.nii.gz", "c_0000.nii",
        "scan_2023.nii", "scan_2024.nii", ".d.nii", "e.txt",
    ]:  # fmt: skip
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "f.nii").touch()
    a = [tmp_path / "a_0000.nii.gz", tmp_path / "a_0001.nii.gz"]
    rest = [tmp_path / "scan_2023.nii", tmp_path / "scan_2024.nii"]
    others = [tmp_path / "b.mha", [tmp_path / "c_0000.nii"], *rest]
    assert find_scans([tmp_path], channels=2) == [a, *others]
    assert find_scans([tmp_path], channels=1) == [a[:1], a[1], *others]


def test_cases_have_the_same_names_in_a_folder_and_as_files(tmp_path):
    """As nnU-Net's images have them, whose label map is a.nii.gz; neighbours change nothing."""
    files = [tmp_path / name for name in ("a_0000.nii.gz", "b.nii.gz", "scan_2023.nii.gz")]
    for names, neighbour in (
        (["a", "b", "scan_2023"], None),
        (["a", "a_0001", "b", "scan_2023"], "a_0001.nii.gz"),
    ):
        files = sorted(files if neighbour is None else [*files, tmp_path / neighbour])
        for file in files:
            file.touch()
        for given in ([tmp_path], files):
            assert [case_name(scan) for scan in find_scans(given, channels=1)] == names


def test_a_link_that_leads_nowhere_is_not_passed_over(tmp_path):
    (tmp_path / "gone.nii.gz").symlink_to(tmp_path / "moved.nii.gz")
    (tmp_path / "notes.txt").symlink_to(tmp_path / "moved.txt")
    assert find_scans([tmp_path], 1) == [tmp_path / "gone.nii.gz"]
    with pytest.raises(
        FileNotFoundError, match="gone.nii.gz is a link to .*moved.nii.gz, which does not exist"
    ):
        read_volume(tmp_path / "gone.nii.gz")


def test_a_file_is_itself(tmp_path):
    assert find_scans([tmp_path / "missing.nii", str(tmp_path / "x_0001.nii")], 1) == [
        tmp_path / "missing.nii",
        tmp_path / "x_0001.nii",
    ]


def test_named_channel_files_are_one_scan_for_a_model_with_several_channels(tmp_path):
    (tmp_path / "folder").mkdir()
    inside = tmp_path / "folder" / "c.nii"
    inside.touch()
    a, b, other = (
        [folder / f"{case}_000{i}.nii" for i in (0, 1)]
        for case, folder in (("a", tmp_path), ("b", tmp_path), ("a", tmp_path / "other"))
    )
    named = [a[1], b[0], other[0], a[0], tmp_path / "folder", other[1], b[1]]
    assert find_scans(named, 2) == [a, [b[0]], [other[0]], inside, other[1], b[1]]
    assert find_scans([*b, *a, *other], 2) == [b, a, other]
    assert find_scans(named, 1) == [a[1], b[:1], other[:1], a[:1], inside, other[1], b[1]]


def test_label_maps_beside_their_scans_are_set_apart(tmp_path):
    scans = [tmp_path / "a.nii", [tmp_path / "b_0000.nii"], tmp_path / "c_seg.nii", tmp_path / "maskless.nii"]
    label_maps = [tmp_path / name for name in ("a-label.nii.gz", "a_Labels.nrrd", "b_mask.nii", "a.seg.nii")]
    elsewhere = tmp_path / "labels" / "a-label.nii"
    assert without_label_maps([*scans, *label_maps, elsewhere]) == ([*scans, elsewhere], label_maps)


def test_a_dicom_folder_is_one_scan(tmp_path):
    folder = dicom(tmp_path / "knee")
    assert find_scans([folder], 1) == [folder]


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no scan"):
        find_scans([tmp_path], 1)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.nii\.gz does not exist"):
        read_volume(tmp_path / "missing.nii.gz")


@pytest.mark.parametrize("name", ["a.png", "a.nii.gz", "a.nii", "a.nrrd", "a.mha", "a.txt"])
def test_a_picture_is_not_a_scan(tmp_path, name):
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS[0].astype(np.uint8)), str(tmp_path / "a.png"))
    (tmp_path / "a.png").rename(tmp_path / name)
    refused(tmp_path / name, name)


def test_without_simpleitk(tmp_path, monkeypatch):
    path = tmp_path / "a.nrrd"
    write_volume(path, Volume(VOXELS, np.eye(4)))
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(ImportError, match="pip install SimpleITK"):
        read_volume(path)
    write_volume(tmp_path / "a.nii", Volume(VOXELS, np.eye(4)))
    assert read_volume(tmp_path / "a.nii").shape == SHAPE


# Label maps


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_label_map_lies_on_its_scan(tmp_path, geometry, extension):
    path = tmp_path / f"labels{extension}"
    write_label_map(path, (VOXELS % 3).astype(np.int64), Volume(VOXELS, GEOMETRIES[geometry]))
    labels = read_volume(path)
    np.testing.assert_allclose(labels.ijk_to_ras, GEOMETRIES[geometry], atol=1e-4)
    np.testing.assert_array_equal(labels.voxels[0], VOXELS % 3)
    assert labels.voxels.dtype == np.uint8


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_label_map_sets_both_forms_unless_sheared(tmp_path, geometry):
    write_label_map(tmp_path / "a.nii.gz", VOXELS, Volume(VOXELS, GEOMETRIES[geometry]))
    header = nibabel.load(tmp_path / "a.nii.gz").header
    assert header["sform_code"] == 1
    assert header["qform_code"] == (geometry != "sheared")
    np.testing.assert_allclose(header.get_sform(), GEOMETRIES[geometry], atol=1e-4)
    if geometry != "sheared":
        np.testing.assert_allclose(header.get_qform(), GEOMETRIES[geometry], atol=1e-4)
    assert header.get_xyzt_units()[0] == "mm"


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("units", [0, 2, 3])
def test_nifti_without_forms_gets_a_label_map_without_forms(tmp_path, channels, units):
    data = np.stack([VOXELS.T] * channels, axis=-1)
    spacing = np.diag([1, 2, 3, 1.0])
    path = nifti(tmp_path / "a.nii", data, spacing, sform_code=0, qform_code=0, xyzt_units=units)
    volume = read_volume(path)
    write_label_map(tmp_path / "labels.nii", VOXELS, volume)
    write_volume(tmp_path / "copy.nii", volume)
    for name in ("labels.nii", "copy.nii"):
        header = nibabel.load(tmp_path / name).header
        assert header["sform_code"] == header["qform_code"] == 0
        written = read_volume(tmp_path / name)
        np.testing.assert_allclose(written.ijk_to_ras, volume.ijk_to_ras, rtol=1e-6)
    scan, labels = sitk.ReadImage(str(path)), sitk.ReadImage(str(tmp_path / "labels.nii"))
    np.testing.assert_allclose(labels.GetSpacing(), scan.GetSpacing()[:3], rtol=1e-6)
    np.testing.assert_array_equal(labels.GetOrigin(), scan.GetOrigin()[:3])
    expected = np.reshape(scan.GetDirection(), (scan.GetDimension(),) * 2)[:3, :3].ravel()
    np.testing.assert_array_equal(labels.GetDirection(), expected)


@pytest.mark.parametrize(
    "forms",
    [
        pytest.param({"qform_code": 1, "sform_code": 2, "qoffset_x": 40.0}, id="forms that disagree"),
        pytest.param({"qform_code": 1, "sform_code": 1, "srow_x": {1: 1e-3}}, id="a little shear"),
        pytest.param({"qform_code": 1, "sform_code": 0, "qoffset_y": -7.0}, id="qform alone"),
        pytest.param({"qform_code": 0, "sform_code": 4, "srow_x": {3: 12.0}}, id="sform alone"),
        pytest.param({"qform_code": 1, "sform_code": 1, "xyzt_units": 3}, id="micrometres"),
    ],
)
def test_a_label_map_lies_on_its_scan_in_programs_that_follow_the_other_form(tmp_path, forms):
    """ITK follows the qform where there is one, nibabel the sform."""
    scan = nifti(tmp_path / "a.nii.gz", matrix=np.diag([1, 2, 3, 1.0]), **forms)
    write_label_map(tmp_path / "labels.nii.gz", VOXELS, read_volume(scan))
    one, other = (nibabel.load(path) for path in (scan, tmp_path / "labels.nii.gz"))
    np.testing.assert_allclose(other.affine, one.affine, atol=1e-5)
    one, other = (sitk.ReadImage(str(path)) for path in (scan, tmp_path / "labels.nii.gz"))
    for ask in ("GetOrigin", "GetSpacing", "GetDirection"):
        np.testing.assert_allclose(getattr(other, ask)(), getattr(one, ask)(), atol=1e-5)


def test_a_scan_that_was_moved_since_it_was_read_gets_forms(tmp_path):
    volume = read_volume(nifti(tmp_path / "a.nii", sform_code=0, qform_code=0))
    moved = replace(volume, ijk_to_ras=oblique())
    write_label_map(tmp_path / "labels.nii", VOXELS, moved)
    np.testing.assert_allclose(read_volume(tmp_path / "labels.nii").ijk_to_ras, oblique(), atol=1e-5)


@pytest.mark.parametrize(
    ("largest", "dtype"), [(0, "uint8"), (255, "uint8"), (256, "uint16"), (70000, "uint32")]
)
def test_label_map_takes_the_smallest_type(tmp_path, largest, dtype):
    labels = np.zeros(SHAPE, np.int64)
    labels[MARKED] = largest
    write_label_map(tmp_path / "a.nii.gz", labels, Volume(VOXELS, np.eye(4)))
    stored = read_volume(tmp_path / "a.nii.gz").voxels
    assert stored.dtype == dtype
    assert stored[0][MARKED] == largest


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((3, 4, 4), np.uint8), "size"),
        (np.zeros((1, 3, 4, 5), np.uint8), "size"),
        (np.zeros(SHAPE, np.float32), "whole numbers"),
        (np.full(SHAPE, -1), "whole numbers"),
    ],
)
def test_label_map_that_does_not_fit_is_refused(tmp_path, labels, message):
    with pytest.raises(ValueError, match=message):
        write_label_map(tmp_path / "a.nii.gz", labels, Volume(VOXELS, np.eye(4)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.png", "a", "a.mhd"])
def test_unknown_output_format_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"choose \.nii\.gz"):
        write_volume(tmp_path / name, Volume(VOXELS, np.eye(4)))


def full_disk(*_arguments, **_options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("where", ["save", "fsync", "replace"])
def test_full_disk_keeps_the_old_file(tmp_path, monkeypatch, where, extension):
    path, volume = tmp_path / f"a{extension}", Volume(VOXELS, np.eye(4))
    path.write_text("old")
    if where == "save" and extension in (".nrrd", ".mha"):

        def half_written(_image, name, **_options):
            with open(name, "wb") as file:
                file.write(b"half")
            raise RuntimeError("ITK ERROR: No space left on device")

        monkeypatch.setattr(sitk, "WriteImage", half_written)
    elif where == "save":
        monkeypatch.setattr(nibabel.Nifti1Image, "to_file_map", full_disk)
    else:
        monkeypatch.setattr(os, where, full_disk)
    with pytest.raises(OSError, match=r"No space left on device.*unchanged.*Free space") as caught:
        write_label_map(path, VOXELS, volume)
    assert path.name in str(caught.value)
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_missing_output_folder_is_a_clear_error(tmp_path):
    with pytest.raises(OSError, match="existing folder"):
        write_label_map(tmp_path / "no" / "a.nii.gz", VOXELS, Volume(VOXELS, np.eye(4)))


def test_an_old_file_is_replaced(tmp_path):
    for value in (1, 2):
        write_label_map(tmp_path / "a.nii.gz", np.full(SHAPE, value), Volume(VOXELS, np.eye(4)))
    assert read_volume(tmp_path / "a.nii.gz").voxels.max() == 2
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_others_may_read_the_output_as_the_umask_says(tmp_path):
    old = os.umask(0o022)
    try:
        write_label_map(tmp_path / "a.nii.gz", VOXELS, Volume(VOXELS, np.eye(4)))
    finally:
        os.umask(old)
    assert (tmp_path / "a.nii.gz").stat().st_mode & 0o777 == 0o644
