"""What DICOM files say of themselves, which GDCM does not tell: how many voxels are due."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rareunet.errors import unreadable_file


def pydicom() -> Any:
    """The package pydicom, imported on first use.

    Raises:
        ImportError: it is not installed; the message says how to go on.
    """
    try:
        import pydicom
    except ImportError as error:
        raise ImportError(
            "DICOM files need the package pydicom, which is not installed: run 'pip install pydicom', or convert the"
            " scan to .nii.gz."
        ) from error
    return pydicom


def check_voxels_whole(path: Path) -> None:
    """Refuses a file with fewer bytes of voxels than its size asks for: GDCM leaves the rest of its memory unset.

    Compressed voxels are left to GDCM, which can't unpack them if they are cut.

    Raises:
        ValueError: the file is incomplete.
    """
    needed = (
        "Rows",
        "Columns",
        "NumberOfFrames",
        "SamplesPerPixel",
        "BitsAllocated",
        "PhotometricInterpretation",
    )
    try:
        header = pydicom().dcmread(path, specific_tags=[*needed, "PixelData"], force=True)
        if "PixelData" not in header or header["PixelData"].is_undefined_length:
            return
        found, due = len(header.PixelData), _voxel_bytes(header)
    except (AttributeError, EOFError, TypeError, ValueError) as error:
        raise unreadable_file(path, error) from error
    if found < due:
        raise unreadable_file(path, ValueError(f"{found} bytes of voxels where {due} are due"))


def _voxel_bytes(header: Any) -> int:
    """How many bytes the voxels take by the size in a header."""
    samples = int(header.get("SamplesPerPixel") or 1)
    if str(header.get("PhotometricInterpretation")).endswith("_422"):
        samples = 2  # two of the three colours are stored for every other pixel alone
    pixels = int(header.get("NumberOfFrames") or 1) * header.Rows * header.Columns
    return (pixels * samples * header.BitsAllocated + 7) // 8
