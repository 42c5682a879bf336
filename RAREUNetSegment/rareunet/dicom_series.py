"""Folders with a DICOM series, read by SimpleITK."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rareunet.errors import unreadable_file
from rareunet.itk_files import LPS_TO_RAS, simpleitk, volume_of_itk
from rareunet.volume import Volume

UNEVEN_SLICES = 0.1  # of the usual distance between slices
SAME_POSITION_DECIMALS = 3  # of a slice's position, mm


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
        ValueError: no series, none of this UID, several without a UID, uneven slices, or a damaged file.
        ImportError: SimpleITK is not installed.
    """
    sitk = simpleitk()
    find = sitk.ImageSeriesReader
    files = {uid: find.GetGDCMSeriesFileNames(str(folder), uid) for uid in find.GetGDCMSeriesIDs(str(folder))}
    damaged = _damaged_files(folder, {Path(file).name for names in files.values() for file in names})
    if damaged:
        some = ", ".join(damaged[:3]) + (f" and {len(damaged) - 3} more" if len(damaged) > 3 else "")
        raise ValueError(
            f"{folder} holds DICOM files that are damaged or incomplete: {some}. Copy or export the series"
            " again, or remove them if they do not belong to it."
        )
    if not files:
        raise ValueError(
            f"{folder} is a folder without DICOM images: give a scan's file, or the folder of one series."
        )
    if series not in files and (series is not None or len(files) > 1):
        found = ", ".join(f"{uid} ({_size_of_series(sitk, names)})" for uid, names in files.items())
        raise ValueError(
            f"{folder} holds {len(files)} DICOM series: {found}. Choose one by its UID"
            " (--series, or the argument series of read_volume), or put it in a folder of its own."
        )
    return _read_dicom_files(folder, name, files[series or next(iter(files))])


def _damaged_files(folder: Path, slices: set[str]) -> list[str]:
    """Names of the files beside the slices that GDCM leaves out of every series, though they are slices too.

    It also leaves out DICOM files that are no images, such as reports and presentation states: those are of
    another class than the slices. An empty file tells by its name: IM0038 beside IM0001 ... IM0037.
    """
    classes = {_sop_class(folder / name) for name in slices}
    patterns = {re.sub(r"\d+", "0", name) for name in slices}
    damaged = []
    for file in sorted(folder.iterdir()):
        if file.name in slices or file.name.startswith(".") or not file.is_file():
            continue
        if is_dicom_file(file):
            if _sop_class(file) in {*classes, None}:
                damaged.append(file.name)
        elif file.stat().st_size == 0 and re.sub(r"\d+", "0", file.name) in patterns:
            damaged.append(file.name)
    return damaged


def _sop_class(path: Path) -> bytes | None:
    """What kind of DICOM object a file holds, as its first bytes say; None where they don't."""
    with path.open("rb") as file:
        # Element (0002,0002) up to the next one of its group, so that a cut UID does not count.
        found = re.search(rb"\x02\x00\x02\x00UI..([\d.]+)\x00?\x02\x00", file.read(512), flags=re.DOTALL)
    return found and found[1]


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
    notes = []
    if not headers[0].HasMetaDataKey("0028|0030") and np.allclose(volume.spacing_mm[1:], 1):
        notes.append("The slices hold no pixel spacing (0028,0030): 1 mm was assumed.")
    # ITK stacks along the normal; the positions also tell of a tilted gantry.
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 2] = LPS_TO_RAS[:3, :3] @ step
    normal = np.cross(matrix[:3, 0], matrix[:3, 1])
    aligned = abs(normal @ matrix[:3, 2]) / np.linalg.norm(normal) / np.linalg.norm(step)
    if aligned <= 0.9999:
        notes.append(
            "The slices are shifted against each other (a tilted gantry): the world matrix is sheared."
        )
    return Volume(volume.voxels, matrix, volume.name, tuple(notes))


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
    # GDCM does not sort images at one position side by side: their distances would only look uneven.
    if len(np.unique(positions.round(SAME_POSITION_DECIMALS), axis=0)) < len(positions):
        raise ValueError(
            f"{folder} holds several images at one slice position: split it into one series per scan."
        )
    steps = np.diff(positions, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    usual = np.median(steps, axis=0)
    off = np.linalg.norm(steps - usual, axis=1)
    worst = int(off.argmax())
    if off[worst] > UNEVEN_SLICES * np.linalg.norm(usual):
        raise ValueError(
            f"{folder} has uneven slices: {lengths[worst]:.3g} mm between slices {worst + 1} and {worst + 2}"
            f" of {len(headers)}, elsewhere {np.linalg.norm(usual):.3g} mm. Export the whole series again."
        )
    return (positions[-1] - positions[0]) / (len(headers) - 1)
