"""Files: what is written is read back at the same place; what can't be read is refused clearly."""

import errno
import gzip
import logging
import os
import sys

import nibabel
import numpy as np
import pytest

from rareunet import volume_files
from rareunet.volume import Volume
from rareunet.volume_files import case_name, find_scans, read_volume, write_label_map, write_volume

sitk = pytest.importorskip("SimpleITK")

SHAPE = (3, 4, 5)
VOXELS = np.arange(60, dtype=np.int16).reshape(SHAPE)
MARKED = (1, 2, 3)  # z, y, x


def oblique():
    a, b = np.deg2rad(20), np.deg2rad(-35)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return matrix_of(about_z @ about_x, (0.5, 0.7, 3))


def matrix_of(directions, spacing, origin=(-11.25, 22.5, 33.125)):
    matrix = np.eye(4)
    matrix[:3, :3] = directions * np.asarray(spacing, dtype=float)
    matrix[:3, 3] = origin
    return matrix


def sheared():
    matrix = matrix_of(np.eye(3), (1, 1, 2))
    matrix[1, 2] = 0.5
    return matrix


GEOMETRIES = {
    "straight": matrix_of(np.eye(3), (1, 1, 1)),
    "anisotropic": matrix_of(np.eye(3), (0.4, 0.4, 6)),
    "left-handed": matrix_of(np.diag([-1, 1, 1]), (1, 2, 3)),
    "permuted": matrix_of(np.eye(3)[:, [2, 0, 1]], (1, 2, 3)),
    "oblique": oblique(),
    "sheared": sheared(),
}
EXTENSIONS = [".nii", ".nii.gz", ".nrrd", ".mha"]


def nifti(path, data=None, matrix=None, **header):
    """Writes (X, Y, Z[, C]) with header fields patched in the bytes, so that no library mends them."""
    data = VOXELS.T if data is None else data
    image = nibabel.Nifti1Image(data, np.eye(4) if matrix is None else matrix, dtype=data.dtype)
    image.set_sform(image.affine, 1)
    image.set_qform(image.affine, 1)
    content = bytearray(image.to_bytes())
    fields = np.frombuffer(content[:348], image.header.structarr.dtype).copy()[0]
    for name, value in header.items():
        if isinstance(value, dict):
            for index, number in value.items():
                fields[name][index] = number
        else:
            fields[name] = value
    content[:348] = fields.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def nrrd(path, header, data=VOXELS):
    text = f"NRRD0004\ntype: int16\nendian: little\nencoding: raw\n{header}\n\n"
    path.write_bytes(text.encode() + data.tobytes())
    return path


def metaimage(path, header):
    text = f"ObjectType = Image\nNDims = 3\nBinaryData = True\n{header}DimSize = 5 4 3\n"
    text += "ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    path.write_bytes(text.encode() + VOXELS.tobytes())
    return path


def dicom(folder, positions=(0, 2, 4, 6), uid="1.2.3.4", tilt=0.0, modality="MR"):
    """Writes 5 x 4 slices of 0.5 x 0.8 mm at (-10, 20 + tilt * z, z), LPS; value = 100 n + index."""
    folder.mkdir(exist_ok=True)
    for n, z in enumerate(positions):
        image = sitk.GetImageFromArray((np.arange(20) + 100 * n).reshape(1, 4, 5).astype(np.int16))
        image.SetSpacing((0.5, 0.8, 1))
        tags = {
            "0008|0060": modality,
            "0020|000d": "1.2.3",
            "0020|000e": uid,
            "0008|0018": f"{uid}.{n + 1}",
            "0020|0032": f"-10\\{20 + tilt * z}\\{z}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0020|0013": str(n),
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / f"{uid}_{9 - n}.dcm"))
        writer.Execute(image)
    return folder


def enhanced(folder, positions, orientation=(1, 0, 0, 0, 1, 0), slopes=()):
    """Writes one file of 5 x 4 frames of 0.5 x 0.8 mm (x, y) at (-10, 20, z), LPS; value = 100 n + index."""
    pydicom = pytest.importorskip("pydicom", reason="pydicom writes DICOM files of many frames")
    folder.mkdir(exist_ok=True)

    def group(**attributes):
        item = pydicom.Dataset()
        for keyword, value in attributes.items():
            setattr(item, keyword, value)
        return pydicom.Sequence([item])

    frames = []
    for n, z in enumerate(positions):
        frame = pydicom.Dataset()
        frame.PlanePositionSequence = group(ImagePositionPatient=[-10.0, 20.0, float(z)])
        if slopes:
            frame.PixelValueTransformationSequence = group(
                RescaleIntercept=1, RescaleSlope=slopes[n], RescaleType="US"
            )
        frames.append(frame)
    shared = pydicom.Dataset()
    shared.PixelMeasuresSequence = group(PixelSpacing=[0.8, 0.5], SliceThickness=2)
    shared.PlaneOrientationSequence = group(ImageOrientationPatient=list(orientation))
    file = pydicom.Dataset()
    file.file_meta = pydicom.dataset.FileMetaDataset()
    file.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
    file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.1"
    file.Modality, file.StudyInstanceUID, file.SeriesInstanceUID = "MR", "1.2.3", "1.2.3.4"
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated = file.BitsStored = 16
    file.HighBit, file.PixelRepresentation = 15, 1
    file.Rows, file.Columns, file.NumberOfFrames = 4, 5, len(positions)
    file.SharedFunctionalGroupsSequence = pydicom.Sequence([shared])
    file.PerFrameFunctionalGroupsSequence = pydicom.Sequence(frames)
    voxels = np.arange(20).reshape(1, 4, 5) + 100 * np.arange(len(positions)).reshape(-1, 1, 1)
    file.PixelData = voxels.astype("<i2").tobytes()
    file.save_as(folder / "frames.dcm", enforce_file_format=True)
    return folder


def refused(path, *words, **arguments):
    with pytest.raises(ValueError, match=r"\w") as caught:
        read_volume(path, **arguments)
    for word in words:
        assert word in str(caught.value)


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


# NIfTI


def test_nifti_trailing_and_fifth_dimensions(tmp_path):
    data = np.arange(120, dtype=np.int16).reshape(5, 4, 3, 2)
    assert read_volume(nifti(tmp_path / "a.nii", data[..., :1])).voxels.shape == (1, 3, 4, 5)
    assert read_volume(nifti(tmp_path / "b.nii", data[:, :, :, None, :])).voxels.shape == (2, 3, 4, 5)
    channels = read_volume(nifti(tmp_path / "c.nii", data)).voxels
    np.testing.assert_array_equal(channels[1], data[..., 1].T)
    refused(
        nifti(tmp_path / "d.nii", np.zeros((5, 4, 3, 2, 3), np.int16)), "d.nii", "(5, 4, 3, 2, 3)", "channels"
    )


def test_nifti_scaled_voxels_are_float32(tmp_path):
    voxels = read_volume(nifti(tmp_path / "a.nii", scl_slope=0.5, scl_inter=3)).voxels
    assert voxels.dtype == np.float32
    np.testing.assert_array_equal(voxels[0], VOXELS * 0.5 + 3)


@pytest.mark.parametrize("slope", [0, float("nan")])
def test_nifti_slope_that_means_none(tmp_path, slope):
    voxels = read_volume(nifti(tmp_path / "a.nii", scl_slope=slope, scl_inter=3)).voxels
    assert voxels.dtype == np.int16
    np.testing.assert_array_equal(voxels[0], VOXELS)


def test_nifti_of_the_other_byte_order_becomes_native(tmp_path):
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    nibabel.save(nibabel.Nifti1Image(VOXELS.T, np.eye(4), header), tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    assert volume.voxels.dtype.isnative
    np.testing.assert_array_equal(volume.voxels[0], VOXELS)


def test_nifti_without_sform_and_qform_is_noted(tmp_path):
    volume = read_volume(
        nifti(tmp_path / "a.nii", matrix=np.diag([1, 2, 3, 1.0]), sform_code=0, qform_code=0)
    )
    assert volume.spacing_mm == (3, 2, 1)
    assert "x to the left, y to the front" in volume.notes[0]


def test_nifti_takes_the_qform_where_the_sform_has_no_code(tmp_path):
    path = nifti(tmp_path / "a.nii", matrix=GEOMETRIES["oblique"], sform_code=0, srow_x=0)
    np.testing.assert_allclose(read_volume(path).ijk_to_ras, GEOMETRIES["oblique"], atol=1e-5)


@pytest.mark.parametrize(("shift", "noted"), [(0.005, False), (0.02, True), (50, True)])
def test_nifti_takes_the_sform_and_notes_another_qform(tmp_path, shift, noted):
    volume = read_volume(nifti(tmp_path / "a.nii", qoffset_x=shift))
    np.testing.assert_array_equal(volume.ijk_to_ras, np.eye(4))
    assert bool(volume.notes) == noted
    if noted:
        assert f"{shift:g} mm apart" in volume.notes[0]


@pytest.mark.parametrize(("pixdim", "noted"), [(1, False), (1.005, False), (1.02, True), (2, True)])
def test_nifti_notes_a_pixdim_that_the_sform_contradicts(tmp_path, pixdim, noted):
    path = nifti(tmp_path / "a.nii", qform_code=0, pixdim=dict.fromkeys((1, 2, 3), pixdim))
    volume = read_volume(path)
    assert volume.spacing_mm == (1, 1, 1)
    assert bool(volume.notes) == noted
    if noted:
        assert f"{pixdim:g} x {pixdim:g} x {pixdim:g} (pixdim), but 1 x 1 x 1" in volume.notes[0]


@pytest.mark.parametrize(("code", "factor"), [(1, 1000), (2, 1), (3, 0.001)])
def test_nifti_units_become_mm(tmp_path, code, factor):
    volume = read_volume(nifti(tmp_path / "a.nii", xyzt_units=code))
    np.testing.assert_allclose(volume.spacing_mm, (factor,) * 3)
    assert bool(volume.notes) == (code != 2)


@pytest.mark.parametrize("spacing", [0, -2, float("nan"), float("inf")])
@pytest.mark.parametrize("forms", [{}, {"sform_code": 0}, {"sform_code": 0, "qform_code": 0}])
def test_nifti_bad_spacing(tmp_path, spacing, forms):
    refused(nifti(tmp_path / "a.nii.gz", pixdim={2: spacing}, **forms), "spacing")


@pytest.mark.parametrize(("row", "message"), [({0: 0}, "spacing"), ({0: float("nan")}, "world matrix")])
def test_nifti_bad_sform(tmp_path, row, message):
    refused(nifti(tmp_path / "a.nii", srow_x=row), message)


def test_nibabel_says_nothing_while_reading_and_is_left_as_it_was(tmp_path, caplog):
    path = nifti(tmp_path / "a.nii", bitpix=3, qform_code=77)
    logger = logging.getLogger("nibabel.global")
    before = (logger.level, list(logger.filters), list(logger.handlers))
    read_volume(path)
    refused(nifti(tmp_path / "b.nii", pixdim={2: -1}), "spacing")
    assert caplog.records == []
    assert (logger.level, logger.filters, logger.handlers) == before
    nibabel.load(path)
    assert [record.name for record in caplog.records] == ["nibabel.global"] * len(caplog.records)
    assert caplog.records


def test_nifti_singular_sform(tmp_path):
    refused(nifti(tmp_path / "a.nii", srow_x={0: 1, 1: 1}, srow_y={0: 1, 1: 1}), "singular")


def test_nifti_colours(tmp_path):
    colours = np.zeros((5, 4, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(colours, np.eye(4)), tmp_path / "a.nii")
    refused(tmp_path / "a.nii", "colours")


def test_nifti_complex(tmp_path):
    refused(nifti(tmp_path / "a.nii", VOXELS.T.astype(np.complex64)), "real numbers")
    image = nibabel.Nifti1Image(VOXELS.T.astype(np.complex64), np.eye(4))
    image.header.set_slope_inter(2, 0)
    nibabel.save(image, tmp_path / "b.nii")
    refused(tmp_path / "b.nii", "real numbers")


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 1)])
def test_nifti_2d(tmp_path, shape):
    refused(nifti(tmp_path / "a.nii", np.zeros(shape, np.int16)), "3D scan")


def test_nifti_empty(tmp_path):
    refused(nifti(tmp_path / "a.nii", dim={3: 0}), "a")


@pytest.mark.parametrize("kind", ["cut", "changed", "checksum", "text", "no bytes"])
def test_nifti_damaged(tmp_path, kind):
    path = nifti(tmp_path / "a.nii.gz", np.random.default_rng(0).normal(size=(20, 20, 20)))
    content = bytearray(path.read_bytes())
    changed = content[:]
    changed[5000:5100] = b"x" * 100
    checksum = content[:]
    checksum[-6] ^= 1
    damaged = {
        "cut": content[:9000], "changed": changed, "checksum": checksum, "text": b"a report", "no bytes": b"",
    }  # fmt: skip
    path.write_bytes(damaged[kind])
    refused(path, "a.nii.gz", "could not be read", "again")


def test_nifti_cut_without_compression(tmp_path):
    path = nifti(tmp_path / "a.nii")
    path.write_bytes(path.read_bytes()[:400])
    refused(path, "a.nii", "could not be read")


def test_any_damage_of_the_header_is_a_value_error_or_harmless(tmp_path):
    path = nifti(tmp_path / "a.nii")
    content, random = path.read_bytes(), np.random.default_rng(1)
    for _ in range(150):
        changed = bytearray(content)
        for position in random.integers(0, 348, 4):
            changed[position] = random.integers(0, 256)
        # Sizes stay: a huge one would only test the memory.
        changed[40:56] = content[40:56]
        path.write_bytes(changed)
        try:
            read_volume(path)
        except ValueError as error:
            assert str(error)  # noqa: PT017 (reading may also succeed)


# NRRD and MetaImage

SPACE = "space: left-posterior-superior\nspace origin: (1,2,3)"
FIRST = "sizes: 2 5 4 3\nspace directions: none (1,0,0) (0,2,0) (0,0,3)"
LAST = "space directions: (1,0,0) (0,2,0) (0,0,3) none"
TWO = np.stack([VOXELS, VOXELS + 100])


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
    np.testing.assert_array_equal(
        volume.ijk_to_ras, [[-1, 0, 0, -1], [0, -2, 0, -2], [0, 0, 3, 3], [0, 0, 0, 1]]
    )


def test_nrrd_in_ras_space(tmp_path):
    header = "dimension: 3\nspace: right-anterior-superior\nsizes: 5 4 3\nspace origin: (1,2,3)\n"
    volume = read_volume(nrrd(tmp_path / "a.nrrd", header + "space directions: (1,0,0) (0,2,0) (0,0,3)"))
    np.testing.assert_array_equal(volume.ijk_to_ras, [[1, 0, 0, 1], [0, 2, 0, 2], [0, 0, 3, 3], [0, 0, 0, 1]])
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


# DICOM


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
    for path in folder.iterdir():  # an unknown tag in place of (0028,0030)
        path.write_bytes(path.read_bytes().replace(b"\x28\x00\x30\x00", b"\x28\x00\x3f\x00"))
    volume = read_volume(folder)
    assert volume.spacing_mm == (2, 1, 1)
    assert "no pixel spacing (0028,0030): 1 mm was assumed" in volume.notes[0]


@pytest.mark.parametrize("number", [9, 8, 6])  # first, middle and last slice
@pytest.mark.parametrize("size", [0, 60, 180, 600, -20])
def test_a_damaged_dicom_slice_is_named(tmp_path, number, size):
    path = dicom(tmp_path / "knee") / f"1.2.3.4_{number}.dcm"
    path.write_bytes(path.read_bytes()[:size])
    refused(tmp_path / "knee", "damaged or incomplete", path.name)


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
    dicom(dicom(tmp_path / "study"), positions=(0, 1, 2), uid="1.2.3.5")
    refused(tmp_path / "study", "2 DICOM series", "1.2.3.4 (5 x 4 x 4)", "1.2.3.5 (5 x 4 x 3)", "--series")
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


def test_dicom_frames_without_a_place_are_noted(tmp_path):
    folder = enhanced(tmp_path / "capture", (0, 2, 4))
    file = folder / "frames.dcm"
    for tag in (b"\x20\x00\x32\x00", b"\x20\x00\x37\x00", b"\x28\x00\x30\x00"):  # unknown tags in their place
        file.write_bytes(file.read_bytes().replace(tag, tag[:2] + b"\xfd\x00"))
    volume = read_volume(folder)
    assert volume.shape == (3, 4, 5)
    assert [note[:30] for note in volume.notes] == [
        "The slices hold no pixel spaci",
        "The slices do not say how they",
    ]


@pytest.mark.parametrize(
    ("tag", "old", "new", "words"),
    [
        (b"\x20\x00\x37\x00", b"1\\0\\0\\0\\1\\0", b"1\\0\\0\\0\\0\\1", "different orientations"),
        (b"\x28\x00\x30\x00", b".8\\.5", b".9\\.5", "different pixel spacings"),
        (b"\x20\x00\x32\x00", b"-10\\", b"-10 ", "slices without a position"),
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
        path.write_bytes(path.read_bytes().replace(b"\x20\x00\x37\x00", b"\x20\x00\x3f\x00"))
    volume = read_volume(folder)
    assert "how they lie in the patient (0020,0037)" in volume.notes[0]
    assert volume.spacing_mm == pytest.approx((2, 0.8, 0.5))


def test_dicom_nearly_even_slices_are_fine(tmp_path):
    assert read_volume(dicom(tmp_path / "knee", (0, 2, 4.1, 6))).spacing_mm[0] == pytest.approx(2)


def test_dicom_single_slice_and_single_file(tmp_path):
    folder = dicom(tmp_path / "knee", (0,))
    refused(folder, "single slice")
    refused(next(folder.iterdir()), "folder that holds its whole series")


def test_folder_without_dicom(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    refused(tmp_path, "without DICOM")


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
    assert find_scans([tmp_path], channels=1) == [*a, *others]  # numbered scans


def test_a_file_is_itself(tmp_path):
    assert find_scans([tmp_path / "missing.nii", str(tmp_path / "x_0000.nii")], 1) == [
        tmp_path / "missing.nii",
        tmp_path / "x_0000.nii",
    ]


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


def test_a_scan_that_was_moved_since_it_was_read_gets_forms(tmp_path):
    volume = read_volume(nifti(tmp_path / "a.nii", sform_code=0, qform_code=0))
    moved = Volume(volume.voxels, oblique(), "a", volume.notes)
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
        monkeypatch.setattr(volume_files.os, where, full_disk)
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
