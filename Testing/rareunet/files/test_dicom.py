"""Folders of DICOM slices, and files of many frames."""

import numpy as np
import pytest
from scan_files import dicom, enhanced, refused, sitk

from rareunet.volume_files import read_volume

POSITION, ORIENTATION, SPACING = b"\x20\x00\x32\x00", b"\x20\x00\x37\x00", b"\x28\x00\x30\x00"
PIXELS = b"\xe0\x7f\x10\x00OW\0\0"  # tag (7fe0,0010), explicit VR


def without(file, *tags):
    for tag in tags:  # unknown ones in their place
        file.write_bytes(file.read_bytes().replace(tag, tag[:2] + b"\xfd\x00"))


def change(path, tag, old, new):
    """Puts another value in place of a tag's in a file of implicit VR, padded to an even length."""
    start, _, rest = path.read_bytes().partition(tag)
    old, new = (text + b" " * (len(text) % 2) for text in (old, new))
    assert rest[4:].startswith(old)
    path.write_bytes(start + tag + len(new).to_bytes(4, "little") + new + rest[4 + len(old) :])


def as_explicit(file):
    """ITK writes the implicit VR, whose tags have no type."""
    pydicom = pytest.importorskip("pydicom")
    dataset = pydicom.dcmread(file)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset["PixelData"].VR = "OW"
    dataset.save_as(file, implicit_vr=False, little_endian=True)
    return file


def test_dicom_series(tmp_path):
    volume = read_volume(dicom(tmp_path / "knee"))
    assert volume.voxels.shape == (1, 4, 4, 5)
    assert volume.voxels[0, 2, 1, 3] == 208
    assert volume.name == "knee"
    assert volume.notes == ()
    expected = [[-0.5, 0, 0, 10], [0, -0.8, 0, -20], [0, 0, 2, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(volume.ijk_to_ras, expected, atol=1e-6)


def test_dicom_with_a_tilted_gantry_is_sheared_and_noted(tmp_path):
    volume = read_volume(dicom(tmp_path / "head", tilt=0.25))
    np.testing.assert_allclose(volume.ijk_to_ras[:3, 2], (0, -0.5, 2), atol=1e-6)
    assert "tilted" in volume.notes[0]


def test_dicom_slices_with_their_own_slope(tmp_path):
    folder = dicom(tmp_path / "abdomen", modality="CT")
    path = folder / "1.2.3.4_7.dcm"  # the third slice, voxels 200 ... 219
    slope = b"\x28\x00\x53\x10\x02\x00\x00\x00"  # tag and length, implicit VR
    content = path.read_bytes()
    assert slope + b"1 " in content
    path.write_bytes(content.replace(slope + b"1 ", slope + b".5"))
    voxels = read_volume(folder).voxels
    assert voxels.dtype == np.float32
    np.testing.assert_array_equal(voxels[0, 2, 0], (100, 100.5, 101, 101.5, 102))
    np.testing.assert_array_equal(voxels[0, 3, 0], (300, 301, 302, 303, 304))


def test_dicom_without_pixel_spacing_is_noted(tmp_path):
    folder = dicom(tmp_path / "knee")
    for path in folder.iterdir():
        without(path, SPACING)
    volume = read_volume(folder)
    assert volume.spacing_mm == (2, 1, 1)
    assert "no pixel spacing (0028,0030): 1 mm was assumed" in volume.notes[0]


@pytest.mark.parametrize("number", [9, 8, 6])  # first, middle and last slice
@pytest.mark.parametrize("size", [0, 60, 180, 600, -20])
def test_a_damaged_dicom_slice_is_named(tmp_path, number, size):
    path = dicom(tmp_path / "knee") / f"1.2.3.4_{number}.dcm"
    path.write_bytes(path.read_bytes()[:size])
    refused(tmp_path / "knee", "damaged or incomplete", path.name)


def test_dicom_with_fewer_voxels_than_its_size_asks_for(tmp_path):
    """GDCM leaves the rest of its memory unset."""
    for file in (
        enhanced(tmp_path / "frames", (0, 2, 4)) / "frames.dcm",
        as_explicit(dicom(tmp_path / "slices") / "1.2.3.4_8.dcm"),
    ):
        start, tag, pixels = file.read_bytes().partition(PIXELS)
        due = len(pixels) - 4
        assert pixels[:4] == due.to_bytes(4, "little")
        assert read_volume(file.parent).shape[1:] == (4, 5)
        file.write_bytes(start + tag + (due - 10).to_bytes(4, "little") + pixels[4:-10])
        refused(file.parent, file.name, f"{due - 10} bytes of voxels where {due} are due", "incomplete")


def test_many_damaged_dicom_slices_are_counted(tmp_path):
    folder = dicom(tmp_path / "knee", range(8))
    for n in range(2, 7):
        (folder / f"1.2.3.4_{n}.dcm").write_bytes(b"")
    refused(folder, "1.2.3.4_2.dcm, 1.2.3.4_3.dcm, 1.2.3.4_4.dcm and 2 more")


def test_an_empty_dicom_slice_without_extension_is_named(tmp_path):
    folder = dicom(tmp_path / "knee")
    for n in range(6, 10):
        (folder / f"1.2.3.4_{n}.dcm").rename(folder / f"IM{n:04d}")
    assert read_volume(folder).shape == (4, 4, 5)
    (folder / "IM0010").touch()
    refused(folder, "damaged or incomplete", "IM0010")


def test_other_files_beside_a_dicom_series_are_passed_over(tmp_path):
    folder = dicom(tmp_path / "knee")
    for name in (".DS_Store", "._1.2.3.4_6.dcm", "DONE", "report_1.txt"):
        (folder / name).touch()
    (folder / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (folder / "notes.txt").write_text("right knee")
    (folder / "sub.dcm").mkdir()
    # A report: the bytes of a slice, cut before its pixels, and of another class than MR images.
    slice_bytes = (folder / "1.2.3.4_6.dcm").read_bytes()[:600]
    assert b"1.2.840.10008.5.1.4.1.1.4\0" in slice_bytes
    report = slice_bytes.replace(b"5.1.4.1.1.4\0", b"5.1.4.1.1.88")
    (folder / "report.dcm").write_bytes(report)
    volume = read_volume(folder)
    assert volume.shape == (4, 4, 5)
    assert volume.notes == ()


def test_dicom_several_series(tmp_path):
    dicom(dicom(tmp_path / "study"), positions=(0, 1, 2), uid="1.2.3.5", title="T1 sag ")
    refused(
        tmp_path / "study",
        "2 DICOM series",
        "1.2.3.4 (5 x 4 x 4)",
        "1.2.3.5 ('T1 sag', 5 x 4 x 3)",
        "--series",
    )
    refused(tmp_path / "study", "2 DICOM series", series="9.9")
    assert read_volume(tmp_path / "study", series="1.2.3.5").shape == (3, 4, 5)


@pytest.mark.parametrize(
    ("positions", "words"),
    [
        ((0, 2, 6, 8), ["uneven", "4 mm between slices 2 and 3 of 4", "elsewhere 2 mm"]),
        ((0, 2, 4, 6.3), ["uneven", "2.3 mm"]),
        ((0, 2, 2, 4), ["several images at one slice position"]),
        ((0, 2, 4, 6, 0, 2, 4, 6), ["several images at one slice position"]),
    ],
)
def test_dicom_uneven_slices(tmp_path, positions, words):
    refused(dicom(tmp_path / "knee", positions), "knee", *words)


def test_dicom_frames_lie_where_they_say(tmp_path):
    expected = [[-0.5, 0, 0, 10], [0, -0.8, 0, -20], [0, 0, 2.5, 0], [0, 0, 0, 1]]
    for positions, order in (((0, 2.5, 5), (0, 1, 2)), ((5, 2.5, 0), (2, 1, 0)), ((2.5, 0, 5), (1, 0, 2))):
        volume = read_volume(enhanced(tmp_path / "knee", positions))
        np.testing.assert_allclose(volume.ijk_to_ras, expected, atol=1e-6)
        assert volume.voxels[0, :, 0, 0].tolist() == [100 * n for n in order]
        assert volume.notes == ()


def test_dicom_frames_with_their_own_slope(tmp_path):
    voxels = read_volume(enhanced(tmp_path / "knee", (2, 0, 4), slopes=(2, 1, 0.5))).voxels
    np.testing.assert_allclose(voxels[0, :, 0, 1], (1 + 101, 1 + 2 * 1, 1 + 0.5 * 201))
    assert read_volume(enhanced(tmp_path / "knee", (2, 0, 4), slopes=(1, 1, 1))).voxels[0, 0, 0, 0] == 101


def test_dicom_frames_that_make_no_scan_are_refused(tmp_path):
    refused(enhanced(tmp_path / "gap", (0, 2, 4, 10, 12, 14)), "gap", "uneven slices", "6 mm between")
    refused(enhanced(tmp_path / "time", (0, 2, 4, 0, 2, 4)), "several images at one slice position")


def test_dicom_frames_without_a_position_are_refused(tmp_path):
    folder = enhanced(tmp_path / "capture", (0, 5, 10))
    without(folder / "frames.dcm", POSITION)
    refused(folder, "frames.dcm", "slices without a position (0020,0032)", ".nii.gz")


@pytest.mark.parametrize("told", [2, 4])
def test_dicom_frames_of_another_number_than_places_are_refused(tmp_path, told):
    pydicom = pytest.importorskip("pydicom")
    file = enhanced(tmp_path / "knee", range(0, 2 * told, 2)) / "frames.dcm"
    dataset = pydicom.dcmread(file)
    dataset.NumberOfFrames, dataset.PixelData = 3, bytes(3 * 4 * 5 * 2)
    dataset.save_as(file)
    refused(tmp_path / "knee", f"has 3 frames, but says of {told} where they lie")


def test_dicom_frames_without_a_spacing_are_noted(tmp_path):
    folder = enhanced(tmp_path / "capture", (0, 2, 4))
    without(folder / "frames.dcm", SPACING)
    volume = read_volume(folder)
    assert volume.spacing_mm == (2, 1, 1)
    assert "no pixel spacing" in volume.notes[0]


def test_dicom_files_of_many_frames_in_one_series_are_refused(tmp_path):
    folder = enhanced(tmp_path / "knee", (0, 2, 4))
    (folder / "more.dcm").write_bytes(
        (folder / "frames.dcm").read_bytes().replace(b"1.2.3.4.1", b"1.2.3.4.2")
    )
    refused(folder, "2 files of one DICOM series", "frames.dcm, more.dcm", "folder of its own")


@pytest.mark.parametrize("numbers", [b"-.5\\.5", b".80\\0 ", b".8\\nan", b".8\\inf"])
def test_dicom_pixel_spacing_that_is_not_positive_is_refused(tmp_path, numbers):
    folder = dicom(tmp_path / "knee")
    for path in folder.iterdir():
        change(path, SPACING, b".8\\.5", numbers)
    refused(folder, "knee", "pixel spacing", "must be positive")


@pytest.mark.parametrize(
    "cosines", ["0\\0\\0\\0\\0\\0", "1\\0\\0\\1\\0\\0", "2\\0\\0\\0\\1\\0", "1\\0\\0\\.5\\1\\0"]
)  # fmt: skip
def test_dicom_orientation_that_is_none_is_refused(tmp_path, cosines):
    folder = dicom(tmp_path / "knee")
    for path in folder.iterdir():
        change(path, ORIENTATION, b"1\\0\\0\\0\\1\\0", cosines.encode())
    refused(folder, "knee", "(0020,0037)", "right angles")
    frames = enhanced(tmp_path / "frames", (0, 2, 4), [float(cosine) for cosine in cosines.split("\\")])
    refused(frames, "frames.dcm", "(0020,0037)", "right angles")


def test_dicom_orientation_is_brought_to_length_1(tmp_path):
    folder = dicom(tmp_path / "knee")
    for path in folder.iterdir():
        change(path, ORIENTATION, b"1\\0\\0\\0\\1\\0", b".995\\0\\0\\0\\1\\0")
    assert read_volume(folder).spacing_mm == pytest.approx((2, 0.8, 0.5))


@pytest.mark.parametrize("numbers", [[9], [8, 6], [9, 8, 7]])  # 9 is the first slice
def test_dicom_slices_without_a_spacing_or_orientation_are_as_the_others(tmp_path, numbers):
    folder = dicom(tmp_path / "knee")
    expected = read_volume(folder)
    for number in numbers:
        without(folder / f"1.2.3.4_{number}.dcm", SPACING, ORIENTATION)
    volume = read_volume(folder)
    np.testing.assert_allclose(volume.ijk_to_ras, expected.ijk_to_ras, atol=1e-6)
    np.testing.assert_array_equal(volume.voxels, expected.voxels)
    assert volume.notes == ()


def test_dicom_slices_whose_distance_drifts_are_refused(tmp_path):
    """Each step is within a tenth of the usual one, yet the middle is a slice's distance off."""
    positions = [n * (1 + 0.003 * n) for n in range(37)]
    refused(
        dicom(tmp_path / "knee", positions),
        "uneven",
        "from 1 to 1.21 mm",
        "slice 19 of 37 lies 0.972 mm from",
    )
    refused(enhanced(tmp_path / "frames", positions), "uneven", "slice 19 of 37")
    assert read_volume(dicom(tmp_path / "few", positions[:20])).shape[0] == 20  # at most a third of a step


@pytest.mark.parametrize(
    ("tag", "old", "new", "words"),
    [
        (ORIENTATION, b"1\\0\\0\\0\\1\\0", b"1\\0\\0\\0\\0\\1", "different orientations"),
        (SPACING, b".8\\.5", b".9\\.5", "different pixel spacings"),
        (POSITION, b"-10\\", b"-10 ", "slices without a position"),
    ],
)
def test_dicom_slices_that_differ_are_refused(tmp_path, tag, old, new, words):
    folder = dicom(tmp_path / "knee")
    path = folder / "1.2.3.4_7.dcm"
    start, _, rest = path.read_bytes().partition(tag)
    assert old in rest
    path.write_bytes(start + tag + rest.replace(old, new, 1))
    refused(folder, "knee", words)


def test_dicom_slices_without_an_orientation_are_noted(tmp_path):
    folder = dicom(tmp_path / "knee")
    for path in folder.iterdir():
        without(path, ORIENTATION)
    volume = read_volume(folder)
    assert "how they lie in the patient (0020,0037)" in volume.notes[0]
    assert volume.spacing_mm == pytest.approx((2, 0.8, 0.5))


def test_dicom_nearly_even_slices_are_fine(tmp_path):
    assert read_volume(dicom(tmp_path / "knee", (0, 2, 4.1, 6))).spacing_mm[0] == pytest.approx(2)


def test_dicom_single_slice_and_single_file(tmp_path):
    folder = dicom(tmp_path / "knee", (0,))
    refused(folder, "single slice")
    refused(next(folder.iterdir()), "folder that holds its whole series")


def test_a_damaged_dicom_file_of_many_frames_is_named(tmp_path):
    file = enhanced(tmp_path / "knee", (0, 2, 4)) / "frames.dcm"
    file.write_bytes(file.read_bytes()[:-20])
    refused(tmp_path / "knee", "damaged or incomplete", "frames.dcm")
    report = file.read_bytes().replace(b"5.1.4.1.1.4.1\0", b"5.1.4.1.1.88.1")  # no image
    file.write_bytes(report)
    refused(tmp_path / "knee", "without DICOM images")


@pytest.mark.parametrize("size", range(132, 340, 5))
def test_a_cut_dicom_slice_is_never_passed_over(tmp_path, size):
    """Its class may be cut too, and then looks like another one."""
    path = dicom(tmp_path / "knee") / "1.2.3.4_6.dcm"
    path.write_bytes(path.read_bytes()[:size])
    refused(tmp_path / "knee", "damaged or incomplete", path.name)


def test_dicom_frames_without_an_orientation_are_refused(tmp_path):
    folder = enhanced(tmp_path / "knee", (0, 2, 4))
    without(folder / "frames.dcm", ORIENTATION)
    refused(folder, "do not say how they lie in the patient (0020,0037): frames.dcm")
    dicom(folder, uid="1.2.3.5")  # a good series beside it
    (folder / "cut.dcm").write_bytes((folder / "frames.dcm").read_bytes()[:300])
    refused(folder, "(0020,0037): frames.dcm", "remove them")


def test_dicom_slices_of_different_sizes_are_refused(tmp_path):
    folder = dicom(tmp_path / "knee")
    path = folder / "1.2.3.4_7.dcm"
    rows, columns = b"\x28\x00\x10\x00\x02\0\0\0", b"\x28\x00\x11\x00\x02\0\0\0"
    content = path.read_bytes()
    assert rows + b"\x04\0" in content
    path.write_bytes(content.replace(rows + b"\4", rows + b"\5").replace(columns + b"\5", columns + b"\4"))
    refused(folder, "different sizes", "5 x 4 pixels in the first, 4 x 5 in slice 3")


def test_dicom_slices_without_a_preamble_are_read(tmp_path):
    folder = dicom(tmp_path / "knee")
    expected = read_volume(folder)
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[132:])
    volume = read_volume(folder)
    np.testing.assert_array_equal(volume.voxels, expected.voxels)
    np.testing.assert_allclose(volume.ijk_to_ras, expected.ijk_to_ras)


@pytest.mark.parametrize(
    ("syntax", "name"),
    [("1.2.840.10008.1.2.4.201", "High-Throughput JPEG 2000"), ("1.2.840.10008.1.2.4.107", "HEVC")],
)
def test_dicom_in_an_encoding_that_cant_be_read_is_named(tmp_path, syntax, name):
    """GDCM lists the first in a series, and leaves the second out."""
    pydicom = pytest.importorskip("pydicom")
    folder = dicom(tmp_path / "knee")
    for path in folder.iterdir():
        dataset = pydicom.dcmread(as_explicit(path))
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = pydicom.encaps.encapsulate([dataset.PixelData])
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(path)
    refused(folder, "encoding", name, "uncompressed")


def test_many_dicom_series_are_counted(tmp_path):
    for number in range(11):
        dicom(tmp_path / "study", (0, 1), f"1.2.3.{10 + number}")
    refused(tmp_path / "study", "11 DICOM series", "1.2.3.10 (5 x 4 x 2)", "and 3 more")


def test_itk_does_not_warn_of_a_dicom_series(tmp_path, capfd):
    """It finds a distance that differs by more than a thousandth uneven, and a folder without a series odd."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    read_volume(dicom(tmp_path / "knee", (0, 2, 4.1, 6)))
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "without DICOM")
    assert capfd.readouterr().err == ""
    assert sitk.ProcessObject.GetGlobalWarningDisplay() == shown


def test_folder_without_dicom(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    refused(tmp_path, "without DICOM")
