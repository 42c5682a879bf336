"""Folders with a DICOM series, read by SimpleITK."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rareunet.errors import unreadable_file
from rareunet.files.dicom_frames import place_frames
from rareunet.files.dicom_headers import check_voxels_whole
from rareunet.files.dicom_slices import NO_SPACING, SHEARED, UNPLACED, check_alike, is_sheared, slice_step
from rareunet.files.itk import LPS_TO_RAS, check_name, simpleitk, volume_of_itk
from rareunet.volume import Volume
from rareunet.wording import some, times

SERIES_DESCRIPTION = "0008|103e"


def is_dicom_file(path: Path) -> bool:
    """Whether a file is DICOM, by its first bytes or its extension: reports count too, a DICOMDIR does not."""
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
        ImportError: SimpleITK or pydicom is not installed.
    """
    sitk = simpleitk()
    for path in (folder, *folder.iterdir()):
        check_name(path)
    find = sitk.ImageSeriesReader
    files = {uid: find.GetGDCMSeriesFileNames(str(folder), uid) for uid in find.GetGDCMSeriesIDs(str(folder))}
    damaged = _damaged_files(folder, {Path(file).name for names in files.values() for file in names})
    if damaged:
        raise ValueError(
            f"{folder} holds DICOM files that are damaged or incomplete: {some(damaged, 3)}. Copy or export the series"
            " again, or remove them if they do not belong to it."
        )
    if not files:
        raise ValueError(
            f"{folder} is a folder without DICOM images: give a scan's file, or the folder of one series."
        )
    if series not in files and (series is not None or len(files) > 1):
        found = ", ".join(f"{uid} ({_describe_series(sitk, names)})" for uid, names in files.items())
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
    for file in names:
        check_voxels_whole(Path(file))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(names)
    try:
        headers = [_dicom_header(sitk, file) for file in names]
        # ITK chooses the type by the first slice, but each slice has its own rescale slope.
        types = {header.GetPixelID() for header in headers}
        if len(types) > 1 or sitk.sitkFloat64 in types:
            reader.SetOutputPixelType(sitk.sitkFloat32)
        volume = volume_of_itk(reader.Execute(), name)
    except RuntimeError as error:
        raise unreadable_file(folder, error) from error
    if len(headers) == 1:
        return place_frames(Path(names[0]), volume)
    return _place_slices(folder, headers, volume)


def _place_slices(folder: Path, headers: Sequence[Any], volume: Volume) -> Volume:
    """ITK stacks along the normal of the slices; their positions also tell of a tilted gantry."""
    positions = _numbers_of(headers, "0020|0032", 3)
    orientations, spacings = _numbers_of(headers, "0020|0037", 6), _numbers_of(headers, "0028|0030", 2)
    if len(positions) < len(headers):
        raise ValueError(
            f"{folder}: slices without a position (0020,0032) can't be stacked. Export the series again."
        )
    check_alike(folder, orientations, spacings)
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 2] = LPS_TO_RAS[:3, :3] @ slice_step(folder, np.array(positions))
    notes = []
    if not spacings and np.allclose(volume.spacing_mm[1:], 1):
        notes.append(NO_SPACING)
    if not orientations:
        notes.append(UNPLACED)
    if is_sheared(matrix):
        notes.append(SHEARED)
    return Volume(volume.voxels, matrix, volume.name, tuple(notes))


def _numbers_of(headers: Sequence[Any], tag: str, number: int) -> list[list[float]]:
    """The numbers of a tag, from each slice that holds so many."""
    rows = []
    for header in headers:
        words = header.GetMetaData(tag).split("\\") if header.HasMetaDataKey(tag) else []
        with contextlib.suppress(ValueError):
            rows += [[float(word) for word in words]] if len(words) == number else []
    return rows


def _dicom_header(sitk: Any, file: str) -> Any:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(file)
    reader.ReadImageInformation()
    return reader


def _describe_series(sitk: Any, names: Sequence[str]) -> str:
    """What the scanner calls the series, if it does, and its size."""
    header = _dicom_header(sitk, names[0])
    size = times((*header.GetSize()[:2], len(names)))
    title = (
        header.GetMetaData(SERIES_DESCRIPTION).strip() if header.HasMetaDataKey(SERIES_DESCRIPTION) else ""
    )
    return f"{title!r}, {size}" if title else size
