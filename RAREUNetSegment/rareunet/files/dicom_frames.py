"""DICOM files of many frames (enhanced MR and CT): what each frame says of itself, which SimpleITK does not tell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rareunet.errors import unreadable_file
from rareunet.files.dicom_headers import pydicom


def read_frames(file: Path) -> list[dict[str, Any]]:
    """The attributes of each frame by keyword: its own, and those that all frames share; empty where it tells none.

    Raises:
        ValueError: the header is damaged.
        ImportError: pydicom is not installed.
    """
    read = pydicom().dcmread
    try:
        header = read(file, stop_before_pixels=True, force=True)  # a preamble may lack, as GDCM has it
        own = header.get("PerFrameFunctionalGroupsSequence") or [()] * int(header.get("NumberOfFrames") or 1)
        shared = header.get("SharedFunctionalGroupsSequence") or ()
        return [dict(pair for groups in (*shared, frame) for pair in _attributes(groups)) for frame in own]
    except Exception as error:  # pydicom raises many kinds for a damaged file
        raise unreadable_file(file, error) from error


def lacks_orientation(file: Path) -> bool:
    """Whether it is a file of many frames that do not say how they lie, on which GDCM refuses its whole folder."""
    try:
        frames = read_frames(file)
    except ValueError:
        return False
    return len(frames) > 1 and not all(frame.get("ImageOrientationPatient") for frame in frames)


def _attributes(groups: Any) -> Iterator[tuple[str, Any]]:
    """Keyword and value of every attribute that the standard's functional groups hold."""
    for group in groups:
        if group.VR == "SQ" and not group.tag.is_private:
            for item in group.value:
                yield from ((element.keyword, element.value) for element in item if element.keyword)


def in_own_scale(voxels: np.ndarray, frames: list[dict[str, Any]]) -> np.ndarray:
    """Brings frames to their own scale.

    Args:
        voxels: (C, Z, Y, X) in the first frame's rescale slope and intercept, as SimpleITK reads them.
        frames: the frames' attributes, in the same order.

    Returns:
        float32 where the scales differ, else the voxels as they are.
    """
    scales = [(float(f.get("RescaleSlope") or 1), float(f.get("RescaleIntercept") or 0)) for f in frames]
    if len(set(scales)) == 1:
        return voxels
    slope, intercept = np.array(scales, dtype=np.float32).T[:, np.newaxis, :, np.newaxis, np.newaxis]
    stored = (voxels.astype(np.float32) - intercept[:, :1]) / slope[:, :1]
    return stored * slope + intercept
