"""Folders with a DICOM series, read by SimpleITK."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rareunet.errors import unreadable_file
from rareunet.files.dicom_frames import in_own_scale, lacks_orientation, read_frames
from rareunet.files.dicom_headers import check_readable_syntax, check_voxels_whole, is_image_class, sop_class
from rareunet.files.dicom_slices import stack_slices
from rareunet.files.itk import check_name, quiet_itk, simpleitk, volume_of_itk
from rareunet.volume import Volume
from rareunet.wording import some, times

MOST_SERIES = 8  # of a folder's that a message lists
SERIES_DESCRIPTION = "0008|103e"
PLACES = {  # what a slice says of its place: keyword -> tag, how many numbers
    "ImagePositionPatient": ("0020|0032", 3),
    "ImageOrientationPatient": ("0020|0037", 6),
    "PixelSpacing": ("0028|0030", 2),
}


def is_dicom_file(path: Path) -> bool:
    """Whether a file is DICOM, by its first bytes or its extension: reports count too, a DICOMDIR does not."""
    if path.name == "DICOMDIR" or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM" or path.suffix.lower() in (".dcm", ".ima")


@quiet_itk()
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
    try:
        files = {
            uid: find.GetGDCMSeriesFileNames(str(folder), uid) for uid in find.GetGDCMSeriesIDs(str(folder))
        }
    except RuntimeError as error:
        _check_orientations(folder)
        raise unreadable_file(folder, error) from error
    left_out = _slices_left_out(folder, {Path(file).name for names in files.values() for file in names})
    if left_out:
        check_readable_syntax(folder, left_out)
        raise ValueError(
            f"{folder} holds DICOM files that are damaged or incomplete: {some([file.name for file in left_out], 3)}."
            " Copy or export the series again, or remove them if they do not belong to it."
        )
    if not files:
        raise ValueError(
            f"{folder} is a folder without DICOM images: give a scan's file, or the folder of one series."
        )
    if series not in files and (series is not None or len(files) > 1):
        found = [f"{uid} ({_describe_series(sitk, names)})" for uid, names in files.items()]
        raise ValueError(
            f"{folder} holds {len(files)} DICOM series: {some(found, MOST_SERIES)}. Choose one by its UID"
            " (--series, or the argument series of read_volume), or put it in a folder of its own."
        )
    return _read_dicom_files(folder, name, files[series or next(iter(files))])


def _check_orientations(folder: Path) -> None:
    files = [file for file in sorted(folder.iterdir()) if is_dicom_file(file)]
    unplaced = [file.name for file in files if lacks_orientation(file)]
    if unplaced:
        raise ValueError(
            f"{folder} holds DICOM files whose frames do not say how they lie in the patient (0020,0037):"
            f" {some(unplaced, 3)}. Export them again, or remove them if they do not belong to the series."
        )


def _slices_left_out(folder: Path, slices: set[str]) -> list[Path]:
    """The files that GDCM leaves out of every series though they are slices too, since it can't read them.

    It also leaves out DICOM files that are no images, such as reports and presentation states: those are of
    another class than the slices. An empty file tells by its name: IM0038 beside IM0001 ... IM0037.
    """
    classes = {sop_class(folder / name) for name in slices}
    patterns = {re.sub(r"\d+", "0", name) for name in slices}
    left_out = []
    for file in sorted(folder.iterdir()):
        if file.name in slices or file.name.startswith(".") or not file.is_file():
            continue
        if is_dicom_file(file):
            uid = sop_class(file)
            if uid is None or uid in classes or (not classes and is_image_class(uid)):
                left_out.append(file)
        elif file.stat().st_size == 0 and re.sub(r"\d+", "0", file.name) in patterns:
            left_out.append(file)
    return left_out


def _read_dicom_files(folder: Path, name: str, names: Sequence[str]) -> Volume:
    """Reads the slices of one series, or one multi-frame file, in the order of their positions."""
    sitk = simpleitk()
    for file in names:
        check_voxels_whole(Path(file))
    try:
        headers = [_dicom_header(sitk, file) for file in names]
        _check_sizes(folder, headers)
        frames = _frames(folder, names, headers)
        slices = frames or [_place_of(header) for header in headers]
        positions, orientations, spacings = (_rows(slices, keyword) for keyword in PLACES)
        source, else_spacing = Path(names[0]) if frames else folder, headers[0].GetSpacing()[1::-1]
        stack = stack_slices(source, positions, orientations, spacings, else_spacing)
        volume = volume_of_itk(_read_image(sitk, names, headers), name)
    except RuntimeError as error:
        check_readable_syntax(folder, [Path(file) for file in names])
        raise unreadable_file(folder, error) from error
    voxels = in_own_scale(volume.voxels, frames) if frames else volume.voxels
    if (np.diff(stack.order) != 1).any():
        voxels = voxels[:, stack.order]
    return Volume(voxels, stack.ijk_to_ras, name, stack.notes)


def _check_sizes(folder: Path, headers: Sequence[Any]) -> None:
    first, *others = (header.GetSize()[:2] for header in headers)
    for number, size in enumerate(others, start=2):
        if size != first:
            raise ValueError(
                f"{folder} holds slices of different sizes: {times(first)} pixels in the first, {times(size)} in slice"
                f" {number}. Export the slices that belong together as one series."
            )


def _frames(folder: Path, names: Sequence[str], headers: Sequence[Any]) -> list[dict[str, Any]]:
    """The attributes of each frame of a multi-frame file; empty for files of one slice each."""
    several = [file for file, header in zip(names, headers, strict=True) if header.GetSize()[2] > 1]
    if several and len(names) > 1:
        raise ValueError(
            f"{folder} holds {len(names)} files of one DICOM series of which {len(several)} have many frames"
            f" ({some([Path(file).name for file in several], 3)}): each such file is a scan of its own. Put it into a"
            " folder of its own."
        )
    if not several:
        return []
    frames, number = read_frames(Path(names[0])), headers[0].GetSize()[2]
    if len(frames) != number:
        raise ValueError(
            f"{names[0]} has {number} frames, but says of {len(frames)} where they lie. Export the series again."
        )
    return frames


def _read_image(sitk: Any, names: Sequence[str], headers: Sequence[Any]) -> Any:
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")  # by itself ITK takes files without a preamble for no DICOM
    reader.SetFileNames(names)
    # ITK chooses the type by the first slice, but each slice has its own rescale slope.
    types = {header.GetPixelID() for header in headers}
    if len(types) > 1 or sitk.sitkFloat64 in types:
        reader.SetOutputPixelType(sitk.sitkFloat32)
    return reader.Execute()


def _place_of(header: Any) -> dict[str, list[str]]:
    """What a slice says of its place: keyword -> its numbers, as words."""
    return {
        keyword: header.GetMetaData(tag).split("\\")
        for keyword, (tag, _) in PLACES.items()
        if header.HasMetaDataKey(tag)
    }


def _rows(slices: Sequence[Mapping[str, Any]], keyword: str) -> list[list[float]]:
    """The numbers that each slice holds under a keyword; empty where it does not hold as many as are due."""
    _, number = PLACES[keyword]
    rows = []
    for attributes in slices:
        row: list[float] = []
        with contextlib.suppress(ValueError):
            row = [float(word) for word in attributes.get(keyword) or ()]
        rows.append(row if len(row) == number else [])
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
