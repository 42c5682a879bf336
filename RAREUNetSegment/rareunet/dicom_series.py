"""Folders with a DICOM series, read by SimpleITK."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rareunet.errors import unreadable_file
from rareunet.itk_files import LPS_TO_RAS, simpleitk, volume_of_itk
from rareunet.volume import Volume

UNEVEN_SLICES = 0.1  # of the usual distance between slices


def is_dicom_file(path: Path) -> bool:
    """Whether a file holds a DICOM image, by its first bytes or its extension; a DICOMDIR does not."""
    if path.name == "DICOMDIR" or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM" or path.suffix.lower() in (".dcm", ".ima")


def read_dicom_series(folder: Path, name: str, series: str | None) -> Volume:
    """Reads a folder's only series, or the one that is asked for.

    Args:
        folder: holds the files of one or several series.
        name: what to call the scan.
        series: UID of the series; None for the only one.

    Returns:
        voxels (C, Z, Y, X) in the stored type, or float32 where the slices' scales differ.

    Raises:
        ValueError: no series, none of this UID, several without a UID, uneven slices, or unreadable.
        ImportError: SimpleITK is not installed.
    """
    sitk = simpleitk()
    find = sitk.ImageSeriesReader
    files = {uid: find.GetGDCMSeriesFileNames(str(folder), uid) for uid in find.GetGDCMSeriesIDs(str(folder))}
    if not files:
        raise ValueError(
            f"{folder} is a folder without DICOM images: give a scan's file, or the folder of one series."
        )
    if series not in files and (series is not None or len(files) > 1):
        found = ", ".join(f"{uid} ({_size_of_series(sitk, names)})" for uid, names in files.items())
        raise ValueError(
            f"{folder} holds {len(files)} DICOM series: {found}. Name one of these, or put it in a folder."
        )
    return _read_dicom_files(folder, name, files[series or next(iter(files))])


def _read_dicom_files(folder: Path, name: str, names: Sequence[str]) -> Volume:
    """Reads the slices of one series, in the order of their positions, or one multi-frame file."""
    sitk = simpleitk()
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(names)
    try:
        headers = [_dicom_header(sitk, file) for file in names]
        step = _slice_step(folder, headers) if len(headers) > 1 else None
        # ITK chooses the type by the first slice, but each slice has its own rescale slope.
        types = {header.GetPixelID() for header in headers}
        if len(types) > 1 or sitk.sitkFloat64 in types:
            reader.SetOutputPixelType(sitk.sitkFloat32)
        volume = volume_of_itk(reader.Execute(), name)
    except RuntimeError as error:
        raise unreadable_file(folder, error) from error
    if step is None:
        return volume
    # ITK stacks along the normal; the positions also tell of a tilted gantry.
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 2] = LPS_TO_RAS[:3, :3] @ step
    normal = np.cross(matrix[:3, 0], matrix[:3, 1])
    aligned = abs(normal @ matrix[:3, 2]) / np.linalg.norm(normal) / np.linalg.norm(step)
    tilted = "The slices are shifted against each other (a tilted gantry): the world matrix is sheared."
    return Volume(volume.voxels, matrix, volume.name, () if aligned > 0.9999 else (tilted,))


def _dicom_header(sitk: Any, file: str) -> Any:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(file)
    reader.ReadImageInformation()
    return reader


def _size_of_series(sitk: Any, names: Sequence[str]) -> str:
    return " x ".join(str(n) for n in (*_dicom_header(sitk, names[0]).GetSize()[:2], len(names)))


def _slice_step(folder: Path, headers: Sequence[Any]) -> np.ndarray:
    """Vector from one slice to the next (LPS, mm); refuses missing, uneven and coinciding slices."""
    if not all(header.HasMetaDataKey("0020|0032") for header in headers):
        raise ValueError(
            f"{folder}: slices without a position (0020,0032) can't be stacked. Export the series again."
        )
    positions = np.array([[float(p) for p in h.GetMetaData("0020|0032").split("\\")] for h in headers])
    steps = np.diff(positions, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    usual = np.median(steps, axis=0)
    if lengths.min() < 1e-3:
        raise ValueError(
            f"{folder} holds several images at one slice position: split it into one series per scan."
        )
    off = np.linalg.norm(steps - usual, axis=1)
    worst = int(off.argmax())
    if off[worst] > UNEVEN_SLICES * np.linalg.norm(usual):
        raise ValueError(
            f"{folder} has uneven slices: {lengths[worst]:.3g} mm between slices {worst + 1} and {worst + 2}"
            f" of {len(headers)}, elsewhere {np.linalg.norm(usual):.3g} mm. Export the whole series again."
        )
    return (positions[-1] - positions[0]) / (len(headers) - 1)
