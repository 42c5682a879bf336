"""NRRD and MetaImage files: axes, headers that leave something open, damage."""

import os
import zlib

import numpy as np
import pytest
import SimpleITK as sitk
from scan_files import TWO, VOXELS, metaimage, nrrd, refused

from rareunet.volume import Volume
from rareunet.volume_files import read_volume, write_volume

SPACE = "space: left-posterior-superior\nspace origin: (1,2,3)"
FIRST = "sizes: 2 5 4 3\nspace directions: none (1,0,0) (0,2,0) (0,0,3)"
LAST = "space directions: (1,0,0) (0,2,0) (0,0,3) none"


@pytest.mark.parametrize(
    ("header", "data"),
    [
        (f"dimension: 4\n{SPACE}\n{FIRST}\nkinds: list domain domain domain", np.moveaxis(TWO, 0, 3)),
        (f"dimension: 4\n{SPACE}\n{FIRST}\nkinds: vector domain domain domain", np.moveaxis(TWO, 0, 3)),
        (f"dimension: 4\n{SPACE}\nsizes: 5 4 3 2\n{LAST}\nkinds: domain domain domain list", TWO),
    ],
)  # fmt: skip
def test_nrrd_list_axis_is_channels(tmp_path, header, data):
    volume = read_volume(nrrd(tmp_path / "a.nrrd", header, np.ascontiguousarray(data)))
    np.testing.assert_array_equal(volume.voxels, TWO)
    assert volume.notes == ()
    np.testing.assert_array_equal(
        volume.ijk_to_ras, [[-1, 0, 0, -1], [0, -2, 0, -2], [0, 0, 3, 3], [0, 0, 0, 1]]
    )


def test_nrrd_in_ras_space(tmp_path):
    header = "dimension: 3\nspace: right-anterior-superior\nsizes: 5 4 3\nspace origin: (1,2,3)\n"
    volume = read_volume(nrrd(tmp_path / "a.nrrd", header + "space directions: (1,0,0) (0,2,0) (0,0,3)"))
    np.testing.assert_array_equal(volume.ijk_to_ras, [[1, 0, 0, 1], [0, 2, 0, 2], [0, 0, 3, 3], [0, 0, 0, 1]])
    assert volume.notes == ()


@pytest.mark.parametrize(
    ("space", "x", "y"),
    [
        ("right-anterior-superior-time", 1, 1), ("RAST", 1, 1), ("left-anterior-superior-time", -1, 1),
        ("left-posterior-superior-time", -1, -1),
    ],
)  # fmt: skip
def test_nrrd_in_a_space_with_time(tmp_path, space, x, y):
    """ITK turns right-anterior-superior into its own axes, but not right-anterior-superior-time."""
    header = f"dimension: 4\nspace: {space}\nsizes: 5 4 3 1\nspace origin: (1,2,3,0)\n"
    header += "space directions: (1,0,0,0) (0,2,0,0) (0,0,3,0) (0,0,0,1)"
    volume = read_volume(nrrd(tmp_path / "a.nrrd", header))
    np.testing.assert_array_equal(
        volume.ijk_to_ras, np.diag([x, y, 1, 1]) @ [[1, 0, 0, 1], [0, 2, 0, 2], [0, 0, 3, 3], [0, 0, 0, 1]]
    )
    assert volume.notes == ()


IN_LPS = "space: LPS\nspace directions: (1,0,0) (0,2,0) (0,0,3)"
SPACING, PLACE = (
    "holds no spacing: 1 mm was assumed",
    "how the scan lies in the patient: x to the left, y to the back",
)


@pytest.mark.parametrize(
    ("header", "spacing", "notes"),
    [
        (IN_LPS, (3, 2, 1), []),
        (IN_LPS.replace("(0,0,3)", "none"), (1, 2, 1), ["gives an axis of space no direction"]),
        (IN_LPS.replace("(1,0,0)", "none"), (3, 2, 1), ["gives an axis of space no direction"]),
        (IN_LPS.replace("space d", "Space D"), (3, 2, 1), []),
        (IN_LPS.replace("LPS", "Right-Anterior-Superior"), (3, 2, 1), []),
        (IN_LPS.replace("LPS", "scanner-xyz"), (3, 2, 1), [PLACE]),
        (IN_LPS.replace("space: LPS", "space dimension: 3"), (3, 2, 1), [PLACE]),
        ("spacings: 1 2 3", (3, 2, 1), [PLACE]),
        ("space: LPS", (1, 1, 1), [SPACING, PLACE]),
        ("thicknesses: 1 2 3", (1, 1, 1), [SPACING, PLACE]),
    ],
)
def test_nrrd_notes_what_its_header_leaves_open(tmp_path, header, spacing, notes):
    volume = read_volume(nrrd(tmp_path / "a.nrrd", f"dimension: 3\nsizes: 5 4 3\n{header}"))
    assert volume.spacing_mm == spacing
    assert len(volume.notes) == len(notes)
    for note, part in zip(volume.notes, notes, strict=True):
        assert part in note


@pytest.mark.parametrize(
    ("header", "spacing", "notes"),
    [
        ("ElementSpacing = 1 2 3\nTransformMatrix = 1 0 0 0 1 0 0 0 1\n", (3, 2, 1), []),
        ("ElementSize = 1 2 3\nOrientation = 1 0 0 0 1 0 0 0 1\n", (3, 2, 1), []),
        ("ElementSpacing = 1 2 3\n", (3, 2, 1), [PLACE]),
        ("Rotation = 1 0 0 0 1 0 0 0 1\n", (1, 1, 1), [SPACING]),
        ("elementspacing = 1 2 3\n", (1, 1, 1), [SPACING, PLACE]),
    ],
)
def test_metaimage_notes_what_its_header_leaves_open(tmp_path, header, spacing, notes):
    volume = read_volume(metaimage(tmp_path / "a.mha", header))
    assert volume.spacing_mm == spacing
    assert len(volume.notes) == len(notes)
    for note, part in zip(volume.notes, notes, strict=True):
        assert part in note


def test_nrrd_time_axis_is_refused_with_its_cause(tmp_path):
    header = f"dimension: 4\n{SPACE}\nsizes: 5 4 3 2\n{LAST}\nkinds: domain domain domain time"
    refused(nrrd(tmp_path / "a.nrrd", header, TWO), "a.nrrd", "domain axes")


@pytest.mark.parametrize("spacing", ["9.5e-01", "950E-3", "+.95"])
def test_nrrd_and_metaimage_spacing_in_scientific_notation(tmp_path, spacing):
    path = nrrd(tmp_path / "a.nrrd", f"dimension: 3\nsizes: 5 4 3\nspacings: {spacing} 2 3")
    assert read_volume(path).spacing_mm == (3, 2, 0.95)
    path = metaimage(tmp_path / "a.mha", f"ElementSpacing = {spacing} 2 3\n")
    assert read_volume(path).spacing_mm == (3, 2, 0.95)


@pytest.mark.parametrize("spacing", ["0", "-1", "-.5", "1e-999", "nan", "inf", "wide"])
def test_nrrd_and_metaimage_bad_spacing(tmp_path, spacing):
    refused(
        nrrd(tmp_path / "a.nrrd", f"dimension: 3\nsizes: 5 4 3\nspacings: {spacing} 1 1"), "a.nrrd", "pacing"
    )
    refused(metaimage(tmp_path / "a.mha", f"ElementSpacing = {spacing} 1 1\n"), "a.mha", "pacing")


def test_nrrd_axis_that_is_not_of_space_has_no_spacing(tmp_path):
    header = "dimension: 4\nsizes: 2 5 4 3\nspacings: nan 1 2 3\nkinds: vector domain domain domain"
    volume = read_volume(nrrd(tmp_path / "a.nrrd", header, np.ascontiguousarray(np.moveaxis(TWO, 0, 3))))
    assert volume.spacing_mm == (3, 2, 1)
    assert len(volume.voxels) == 2


@pytest.mark.parametrize(
    ("unit", "factor", "note"),
    [
        ("mm", 1, ""),
        ("", 1, ""),
        ("um", 1e-3, "unit of length is um: it was converted to mm"),
        ("m", 1e3, "unit of length is m: it was converted to mm"),
        ("pixel", 1, "'pixel', which is not known: mm was assumed"),
        ("µm", 1e-3, "unit of length is µm: it was converted to mm"),
    ],
)
def test_nrrd_in_another_unit_is_converted(tmp_path, unit, factor, note):
    units = " ".join([f'"{unit}"'] * 3)
    header = f"dimension: 3\nsizes: 5 4 3\n{IN_LPS}\nspace origin: (1,2,3)\nspace units: {units}"
    volume = read_volume(nrrd(tmp_path / "a.nrrd", header))
    np.testing.assert_allclose(volume.ijk_to_ras[:3, 3], np.multiply([-1, -2, 3], factor))
    np.testing.assert_allclose(volume.spacing_mm, np.multiply([3, 2, 1], factor))
    assert len(volume.notes) == bool(note)
    assert note in "".join(volume.notes)


def test_nrrd_of_several_units_is_refused(tmp_path):
    header = f'dimension: 3\nsizes: 5 4 3\n{IN_LPS}\nspace units: "mm" "mm" "um"'
    refused(nrrd(tmp_path / "a.nrrd", header), "a.nrrd", "different units")


def test_metaimage_of_4_dimensions_is_channels(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(TWO, isVector=False), str(tmp_path / "a.mha"))
    volume = read_volume(tmp_path / "a.mha")
    np.testing.assert_array_equal(volume.voxels, TWO)
    np.testing.assert_array_equal(volume.ijk_to_ras, np.diag([-1, -1, 1, 1]))


@pytest.mark.parametrize("extension", [".nhdr", ".mhd"])
def test_header_beside_its_data(tmp_path, extension):
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS), str(tmp_path / f"a{extension}"))
    np.testing.assert_array_equal(read_volume(tmp_path / f"a{extension}").voxels[0], VOXELS)


def scan_of_noise(path):
    """Writes a compressed scan; returns its bytes."""
    noise = np.random.default_rng(0).integers(0, 1000, (12, 14, 16)).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(noise), str(path), useCompression=True)
    np.testing.assert_array_equal(read_volume(path).voxels[0], noise)
    return path.read_bytes()


def test_compressed_voxels_beside_their_header_are_checked_too(tmp_path):
    for header, data in (("a.nhdr", "a.raw.gz"), ("a.mhd", "a.zraw")):
        scan_of_noise(tmp_path / header)
        content = (tmp_path / data).read_bytes()
        (tmp_path / data).write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
        refused(tmp_path / header, header, "could not be read")


@pytest.mark.parametrize(
    ("size", "data", "cause"),
    [
        (lambda packed: f"CompressedDataSize = {len(packed) // 2}\n", VOXELS, "CompressedDataSize is"),
        (lambda packed: f"CompressedDataSize = {2 * len(packed)}\n", VOXELS, "CompressedDataSize is"),
        (lambda packed: "", VOXELS, "CompressedDataSize is missing"),
        (lambda packed: f"CompressedDataSize = {len(packed)}\n", VOXELS[:1], "40 bytes of voxels where 120 are due"),
    ],
)  # fmt: skip
def test_metaimage_whose_compressed_voxels_itk_would_make_up(tmp_path, size, data, cause):
    packed = zlib.compress(data.tobytes())
    refused(compressed_metaimage(tmp_path / "a.mha", size(packed), packed), "a.mha", cause)


def test_compressed_metaimage_is_read(tmp_path):
    packed = zlib.compress(VOXELS.tobytes())
    path = compressed_metaimage(tmp_path / "a.mha", f"CompressedDataSize = {len(packed)}\n", packed)
    np.testing.assert_array_equal(read_volume(path).voxels[0], VOXELS)


def compressed_metaimage(path, size, packed):
    header = metaimage(path, f"CompressedData = True\n{size}").read_bytes()[: -VOXELS.nbytes]
    path.write_bytes(header + packed)
    return path


def beside(path, header, data):
    """Writes a header of either format whose voxels lie in a file of their own."""
    (path.parent / "voxels").write_bytes(data)
    if path.suffix == ".nhdr":
        return nrrd(path, f"dimension: 3\nsizes: 5 4 3\n{IN_LPS}\n{header}data file: voxels", np.zeros(0))
    text = f"ElementSpacing = 1 2 3\nTransformMatrix = 1 0 0 0 1 0 0 0 1\n{header}"
    metaimage(path, text)
    path.write_bytes(path.read_bytes()[: -VOXELS.nbytes].replace(b"LOCAL", b"voxels"))
    return path


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a.nhdr", ""),
        ("a.nhdr", "byte skip: 7\n"),
        ("a.nhdr", "byte skip: -1\n"),
        ("a.mhd", ""),
        ("a.mhd", "HeaderSize = 7\n"),
        ("a.mhd", "HeaderSize = -1\n"),
    ],
)
def test_more_voxels_than_the_header_asks_for_are_told(tmp_path, name, header):
    skipped = bytes(7) if header else b""
    volume = read_volume(beside(tmp_path / name, header, skipped + VOXELS.tobytes()))
    np.testing.assert_array_equal(volume.voxels[0], VOXELS)
    assert volume.notes == ()
    if "-1" not in header:  # the last bytes are meant
        volume = read_volume(beside(tmp_path / name, header, skipped + VOXELS.tobytes() + bytes(10)))
        np.testing.assert_array_equal(volume.voxels[0], VOXELS)
        assert "There are 10 bytes of voxels more than the header asks for" in volume.notes[0]
        refused(
            beside(tmp_path / name, header, skipped + VOXELS.tobytes()[:-10]),
            "110 bytes of voxels where 120 are due",
        )


def test_voxels_after_their_header_are_counted(tmp_path):
    for path in (
        nrrd(tmp_path / "a.nrrd", f"dimension: 3\nsizes: 5 4 3\n{IN_LPS}"),
        metaimage(tmp_path / "a.mha", "ElementSpacing = 1 2 3\nTransformMatrix = 1 0 0 0 1 0 0 0 1\n"),
    ):
        content = path.read_bytes()
        assert read_volume(path).notes == ()
        path.write_bytes(content + bytes(40))
        assert "40 bytes of voxels more" in read_volume(path).notes[0]
        path.write_bytes(content[:-40])
        refused(path, path.name, "80 bytes of voxels where 120 are due")


@pytest.mark.parametrize("encoding", ["bzip2", "BZ2"])
def test_nrrd_compressed_by_bzip2_is_not_called_damaged(tmp_path, encoding):
    path = nrrd(tmp_path / "a.nrrd", f"dimension: 3\nsizes: 5 4 3\n{IN_LPS}")
    path.write_bytes(path.read_bytes().replace(b"encoding: raw", f"encoding: {encoding}".encode()))
    refused(path, "compressed by bzip2", "raw and gzip")


def test_nrrd_of_text_is_read(tmp_path):
    text = " ".join(map(str, VOXELS.ravel())).encode()
    path = nrrd(tmp_path / "a.nrrd", f"dimension: 3\nsizes: 5 4 3\n{IN_LPS}", np.frombuffer(text, np.uint8))
    path.write_bytes(path.read_bytes().replace(b"encoding: raw", b"encoding: ascii"))
    np.testing.assert_array_equal(read_volume(path).voxels[0], VOXELS)
    assert read_volume(path).notes == ()


def test_metaimage_with_fewer_files_than_slices(tmp_path):
    metaimage(tmp_path / "a.mhd", "")
    header = (tmp_path / "a.mhd").read_bytes()[: -VOXELS.nbytes].replace(b"LOCAL", b"LIST")
    for number, plane in enumerate(VOXELS):
        (tmp_path / f"{number}.raw").write_bytes(plane.tobytes())
    (tmp_path / "a.mhd").write_bytes(header + b"0.raw\n1.raw\n2.raw\n")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.mhd").voxels[0], VOXELS)
    (tmp_path / "a.mhd").write_bytes(header + b"0.raw\n1.raw\n")
    refused(tmp_path / "a.mhd", "lists 2 files for 3 slices")


@pytest.mark.parametrize(
    ("pattern", "files"),
    [("", 3), ("1", 3), ("1 3 1", 3), ("1 5 1", 5), ("0 4 2", 3), ("1 2 1", 2), ("0 3 2", 2), ("3 1 1", 0)],
)  # fmt: skip
def test_metaimage_whose_pattern_names_its_slices(tmp_path, pattern, files):
    """ITK leaves the memory of slices without a file unset."""
    metaimage(tmp_path / "a.mhd", "")
    header = (tmp_path / "a.mhd").read_bytes()[: -VOXELS.nbytes]
    for number in range(6):
        (tmp_path / f"{number}.raw").write_bytes(VOXELS[number % 3].tobytes())
    (tmp_path / "a.mhd").write_bytes(header.replace(b"LOCAL", b"%d.raw " + pattern.encode()))
    if files < 3:
        refused(tmp_path / "a.mhd", f"lists {files} files for 3 slices")
    else:
        start, _, step = (*map(int, pattern.split()), *(1, 3, 1)[len(pattern.split()) :])
        expected = VOXELS[[(start + step * n) % 3 for n in range(3)]]
        np.testing.assert_array_equal(read_volume(tmp_path / "a.mhd").voxels[0], expected)


@pytest.mark.parametrize("numbers", ["one two", "1 3", "1 3 0", "1 3 1 1"])
def test_metaimage_whose_pattern_is_wrong(tmp_path, numbers):
    """ITK never ends on a step of 0, which it makes of "1 3" for three slices too."""
    metaimage(tmp_path / "a.mhd", "")
    header = (tmp_path / "a.mhd").read_bytes()[: -VOXELS.nbytes]
    (tmp_path / "a.mhd").write_bytes(header.replace(b"LOCAL", b"%d.raw " + numbers.encode()))
    refused(tmp_path / "a.mhd", repr(numbers), "ElementDataFile")


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode on Windows")
@pytest.mark.parametrize("extension", [b"nrrd", b"mha"])
def test_a_name_that_is_no_utf_8_is_refused(tmp_path, extension):
    """SimpleITK would end the process."""
    name = os.fsdecode(b"M\xfcller." + extension)
    try:
        (tmp_path / name).write_bytes(b"")
    except OSError as error:
        pytest.skip(f"this file system takes no such name ({error})")
    refused(tmp_path / name, "rename it")


def test_compressed_voxels_after_a_long_header(tmp_path):
    """Slicer's .seg.nrrd has some ten lines for each segment: 120 of them take more than 64 kB."""
    image = sitk.GetImageFromArray(VOXELS)
    for segment in range(120):
        image.SetMetaData(f"Segment{segment}_Tags", "x" * 600)
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"), useCompression=True)
    content = (tmp_path / "a.nrrd").read_bytes()
    assert content.index(b"\n\n") > 1 << 16
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nrrd").voxels[0], VOXELS)
    (tmp_path / "a.nrrd").write_bytes(content[:-4] + bytes(4))
    refused(tmp_path / "a.nrrd", "a.nrrd", "could not be read")


@pytest.mark.parametrize("extension", [".nrrd", ".mha"])
def test_itk_files_damaged_or_2d(tmp_path, extension):
    path = tmp_path / f"a{extension}"
    write_volume(path, Volume(VOXELS, np.eye(4)))
    path.write_bytes(path.read_bytes()[:-20])
    refused(path, path.name, "could not be read")
    whole = scan_of_noise(path)
    for place in range(len(whole) // 2, len(whole) - 20, 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        refused(path, path.name, "could not be read")
    path.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))  # an interrupted copy
    refused(path, path.name, "could not be read")
    path.write_text("a report")
    refused(path, path.name, "could not be read")
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS[0]), str(path))
    refused(path, "2D image")
