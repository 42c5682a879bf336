"""NRRD and MetaImage files by SimpleITK.

They store LPS coordinates; a Volume is RAS. SimpleITK is imported on first use, since only its own
formats need it.
"""

from __future__ import annotations

import contextlib
import errno
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rareunet.errors import unreadable_file
from rareunet.files.itk_headers import check_text_header
from rareunet.volume import Volume

ITK_READERS = {".nrrd": "NrrdImageIO", ".nhdr": "NrrdImageIO", ".mha": "MetaImageIO", ".mhd": "MetaImageIO"}
LONGER = (
    "There are {} bytes of voxels more than the header asks for: the last ones were left out. If the first ones should"
    " have been, or if slices lack in the header, the scan is shifted or cut."
)
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def simpleitk() -> Any:
    """The module SimpleITK, imported on first use.

    Raises:
        ImportError: it is not installed; the message says how to go on.
    """
    try:
        import SimpleITK
    except ImportError as error:
        raise ImportError(
            "NRRD, MetaImage and DICOM need the package SimpleITK, which is not installed: run"
            " 'pip install SimpleITK', or convert the scan to .nii.gz."
        ) from error
    return SimpleITK


@contextlib.contextmanager
def quiet_itk() -> Iterator[None]:
    """Keeps ITK's warnings on headers that it mends from stderr: what matters becomes a note."""
    process = simpleitk().ProcessObject
    shown = process.GetGlobalWarningDisplay()
    process.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        process.SetGlobalWarningDisplay(shown)


@quiet_itk()
def read_itk(path: Path, name: str, reader: str) -> Volume:
    """Reads an NRRD or MetaImage file.

    Args:
        path: the file.
        name: what to call the scan.
        reader: ITK's image reader for the format, from ITK_READERS.

    Returns:
        voxels (C, Z, Y, X) in the stored type.

    Raises:
        ValueError: unreadable, 2D, or without a usable geometry.
        ImportError: SimpleITK is not installed.
    """
    sitk = simpleitk()
    check_name(path)
    facts = check_text_header(path)
    try:
        file = sitk.ImageFileReader()
        file.SetImageIO(reader)
        file.SetFileName(str(path))
        file.ReadImageInformation()
        more = _bytes_beyond(path, file, facts.voxel_bytes)
        image = file.Execute()
    except RuntimeError as error:
        raise unreadable_file(path, error) from error
    volume = volume_of_itk(image, name, (*facts.notes, *([LONGER.format(more)] if more else [])))
    scale = np.diag([*(facts.unit_mm * np.array(facts.flips)), 1.0])
    return replace(volume, ijk_to_ras=scale @ volume.ijk_to_ras)


def _bytes_beyond(path: Path, file: Any, found: int | None) -> int:
    """How many bytes of voxels there are beyond those that a header asks for; refuses fewer.

    Args:
        path: the file, for the message.
        file: SimpleITK's reader, which has read the header.
        found: how many bytes there are; None where that is not known.
    """
    pixel = simpleitk().Image([1] * file.GetDimension(), file.GetPixelID(), file.GetNumberOfComponents())
    due = math.prod(file.GetSize()) * pixel.GetNumberOfComponentsPerPixel() * pixel.GetSizeOfPixelComponent()
    if found is not None and found < due:
        raise unreadable_file(path, ValueError(f"{found} bytes of voxels where {due} are due"))
    return 0 if found is None else found - due


def check_name(path: Path) -> None:
    """Raises ValueError for a name that is no UTF-8, on which SimpleITK would end the process."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        name = str(path).encode(errors="surrogateescape").decode(errors="replace")
        raise ValueError(f"the name of {name} has characters that are no UTF-8: rename it.") from None


def volume_of_itk(image: Any, name: str, notes: tuple[str, ...] = ()) -> Volume:
    """Turns a SimpleITK image into a Volume.

    Args:
        image: of 3 dimensions, of 4 (channels last), or with pixels of several components.
        name: what to call the scan.
        notes: what reading the file had to assume.

    Returns:
        voxels (C, Z, Y, X) in the image's type; the world matrix goes to RAS, mm.

    Raises:
        ValueError: a 2D image, or no usable geometry.
    """
    n = image.GetDimension()
    if n < 3:
        raise ValueError(f"{name} is a 2D image of {image.GetSize()} pixels: a 3D scan is needed.")
    voxels = simpleitk().GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1:
        voxels = np.ascontiguousarray(np.moveaxis(voxels, -1, 0))
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(image.GetDirection(), (n, n))[:3, :3] * image.GetSpacing()[:3]
    matrix[:3, 3] = image.GetOrigin()[:3]
    return Volume(voxels, LPS_TO_RAS @ matrix, name, notes)


def save_itk(path: Path, voxels: np.ndarray, ijk_to_ras: np.ndarray) -> None:
    """Saves voxels (C, Z, Y, X) as compressed .nrrd or .mha, several channels as components of each pixel.

    Args:
        path: file to write; its extension chooses the format.
        voxels: (C, Z, Y, X), of a type that ITK knows.
        ijk_to_ras: (4, 4) world matrix, mm.

    Raises:
        OSError: the file can't be written.
        ImportError: SimpleITK is not installed.
    """
    sitk = simpleitk()
    several = len(voxels) > 1
    image = sitk.GetImageFromArray(np.moveaxis(voxels, 0, -1) if several else voxels[0], isVector=several)
    matrix = LPS_TO_RAS @ ijk_to_ras
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((matrix[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(matrix[:3, 3].tolist())
    try:
        sitk.WriteImage(image, str(path), useCompression=True)
        sitk.ReadImage(str(path))  # a disk that fills up with the last bytes goes unnoticed otherwise
    except RuntimeError as error:
        raise OSError(errno.EIO, " ".join(str(error).split("ERROR:")[-1].split())) from error
