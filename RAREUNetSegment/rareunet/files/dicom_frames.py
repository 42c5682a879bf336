"""DICOM files of many frames (enhanced MR and CT): what each frame says of itself, which SimpleITK does not tell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rareunet.files.dicom_headers import pydicom
from rareunet.files.dicom_slices import NO_SPACING, SHEARED, UNPLACED, check_alike, is_sheared, slice_step
from rareunet.files.itk import LPS_TO_RAS
from rareunet.volume import Volume


def place_frames(file: Path, volume: Volume) -> Volume:
    """Puts the frames of a file where they say that they lie, each in its own scale.

    Args:
        file: the DICOM file.
        volume: its frames as SimpleITK stacks them, (1, Z, Y, X), in the first frame's scale.

    Returns:
        the frames in the order of their positions; as they were, with notes, where they have none.

    Raises:
        ValueError: uneven, coinciding or differing frames.
        ImportError: pydicom is not installed.
    """
    header = pydicom().dcmread(
        file, stop_before_pixels=True, force=True
    )  # a preamble may lack, as GDCM has it
    frames = [_of_frame(header, frame) for frame in header.get("PerFrameFunctionalGroupsSequence", ())]
    positions, orientations, spacings = (
        np.array([[float(number) for number in frame[keyword]] for frame in frames if frame.get(keyword)])
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    )
    if not len(volume.voxels[0]) == len(positions) == len(orientations) == len(spacings):
        told = {element.keyword for element in header.iterall()}
        notes = [] if {"PixelSpacing", "ImagerPixelSpacing"} & told else [NO_SPACING]
        notes += [] if "ImageOrientationPatient" in told else [UNPLACED]
        return Volume(volume.voxels, volume.ijk_to_ras, volume.name, (*volume.notes, *notes))
    check_alike(file, orientations, spacings)
    along_row, along_column = orientations[0].reshape(2, 3)
    between_rows, between_columns = spacings[0]
    order = np.argsort(positions @ np.cross(along_row, along_column), kind="stable")
    step = slice_step(file, positions[order])
    columns = (between_columns * along_row, between_rows * along_column, step, positions[order[0]])
    matrix = LPS_TO_RAS @ np.vstack([np.column_stack(columns), [0, 0, 0, 1]])
    notes = [*volume.notes, *([SHEARED] if is_sheared(matrix) else [])]
    return Volume(_in_own_scale(volume.voxels, frames)[:, order], matrix, volume.name, tuple(notes))


def _of_frame(header: Any, frame: Any) -> dict[str, Any]:
    """The attributes of a frame by keyword: its own, and those that all frames share."""
    shared = header.get("SharedFunctionalGroupsSequence", ())
    return {keyword: value for groups in (*shared, frame) for keyword, value in _attributes(groups)}


def _attributes(groups: Any) -> Iterator[tuple[str, Any]]:
    """Keyword and value of every attribute that the standard's functional groups hold."""
    for group in groups:
        if group.VR == "SQ" and not group.tag.is_private:
            for item in group.value:
                yield from ((element.keyword, element.value) for element in item if element.keyword)


def _in_own_scale(voxels: np.ndarray, frames: list[dict[str, Any]]) -> np.ndarray:
    """Frames (C, Z, Y, X) in the first one's rescale slope and intercept, brought to their own."""
    scales = [(float(f.get("RescaleSlope") or 1), float(f.get("RescaleIntercept") or 0)) for f in frames]
    if len(set(scales)) == 1:
        return voxels
    slope, intercept = np.array(scales, dtype=np.float32).T[:, np.newaxis, :, np.newaxis, np.newaxis]
    stored = (voxels.astype(np.float32) - intercept[:, :1]) / slope[:, :1]
    return stored * slope + intercept
