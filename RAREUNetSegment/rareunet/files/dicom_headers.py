"""What DICOM files say of themselves, which GDCM does not tell: their kind, encoding, voxels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rareunet.errors import unreadable_file

BEFORE_META_BYTES = 144  # preamble, DICM and the group's length, which counts from there
SYNTAX = "1.2.840.10008.1.2"  # and what may follow it in what GDCM reads:
UNCOMPRESSED = ("", ".1", ".1.99", ".2")
COMPRESSED = (".5", ".4.50", ".4.51", ".4.57", ".4.70", ".4.80", ".4.81", ".4.90", ".4.91")  # RLE, JPEG's
READABLE_SYNTAXES = {SYNTAX + rest for rest in (*UNCOMPRESSED, *COMPRESSED)}
SIZE = ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "PhotometricInterpretation")


def pydicom() -> Any:
    """The package pydicom, imported on first use.

    Raises:
        ImportError: it is not installed; the message says how to go on.
    """
    try:
        import pydicom
        import pydicom.filereader
        import pydicom.uid
    except ImportError as error:
        raise ImportError(
            "DICOM files need the package pydicom, which is not installed: run 'pip install pydicom', or convert the"
            " scan to .nii.gz."
        ) from error
    return pydicom


def sop_class(path: Path) -> str | None:
    """UID of the kind of DICOM object that a file holds; None where it is damaged, or does not say."""
    meta = _meta(path)
    return meta and meta.get("MediaStorageSOPClassUID")


def is_image_class(uid: str) -> bool:
    """Whether a kind of object has a picture, other than reports and presentation states."""
    return "Image Storage" in pydicom().uid.UID(uid).name


def check_readable_syntax(folder: Path, files: Sequence[Path]) -> None:
    """Names the encoding of files that GDCM could not read, if it is one that it does not know.

    Raises:
        ValueError: there is such a file.
    """
    for file in files:
        meta = _meta(file)
        if meta and meta.TransferSyntaxUID not in READABLE_SYNTAXES:
            raise ValueError(
                f"{folder} holds DICOM files in an encoding that can't be read here: {meta.TransferSyntaxUID.name}"
                f" ({file.name}). Export the series uncompressed."
            )


def _meta(path: Path) -> Any:
    """The file meta information (group 0002); None where it is damaged, cut or missing."""
    read = pydicom().filereader.read_file_meta_info
    try:
        meta = read(path)
        end = BEFORE_META_BYTES + int(meta.get("FileMetaInformationGroupLength") or 0)
    except Exception:  # pydicom raises many kinds for a damaged file
        return None
    # In a file that ends within it a UID may be cut, and looks like another one.
    return meta if "TransferSyntaxUID" in meta and path.stat().st_size >= end else None


def check_voxels_whole(path: Path) -> None:
    """Refuses a file with fewer bytes of voxels than its size asks for: GDCM leaves the rest of its memory unset.

    Compressed voxels are left to GDCM, which can't unpack them if they are cut, and so is what pydicom can't read.

    Raises:
        ValueError: the file is incomplete.
    """
    read = pydicom().dcmread
    try:
        header = read(path, specific_tags=[*SIZE, "PixelData"], force=True)
        pixels = header["PixelData"]
        due = 0 if pixels.is_undefined_length else _voxel_bytes(header)
    except Exception:  # of many kinds
        return
    if len(pixels.value) < due:
        raise unreadable_file(path, ValueError(f"{len(pixels.value)} bytes of voxels where {due} are due"))


def _voxel_bytes(header: Any) -> int:
    """How many bytes the voxels take by the size in a header."""
    samples = int(header.get("SamplesPerPixel") or 1)
    if str(header.get("PhotometricInterpretation")).endswith("_422"):
        samples = 2  # two of the three colours are stored for every other pixel alone
    pixels = int(header.get("NumberOfFrames") or 1) * header.Rows * header.Columns
    return (pixels * samples * header.BitsAllocated + 7) // 8
