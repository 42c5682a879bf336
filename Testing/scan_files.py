"""Scans in files for the tests of readers: each writer shapes its header byte by byte, so that no library mends it."""

import gzip

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from turns import oblique

from rareunet.volume_files import read_volume

SHAPE = (3, 4, 5)
VOXELS = np.arange(60, dtype=np.int16).reshape(SHAPE)
TWO = np.stack([VOXELS, VOXELS + 100])  # channels
MARKED = (1, 2, 3)  # z, y, x


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


def dicom(folder, positions=(0, 2, 4, 6), uid="1.2.3.4", tilt=0.0, modality="MR", title=""):
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
            "0008|103e": title,
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
