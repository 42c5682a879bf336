"""Reads one case and measures it. What is wrong with a file is written down, never raised."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from rareunet.channel_grids import join_channels
from rareunet.geometry import Reorientation
from rareunet.oblique import tilt_degrees
from rareunet.scan_checks import is_like_label_map
from rareunet.volume import Volume
from rareunet.volume_files import read_volume
from rareunet_training.check.facts import CaseReading, FileStamp, Intensities, LabelVolume
from rareunet_training.check.segment_names import read_segment_names
from rareunet_training.data.cases import Case, grid_problem, label_problem
from rareunet_training.data.grids import describe_difference

DETACHED = (".mhd", ".nhdr")  # headers whose voxels lie in another file

Result = TypeVar("Result")


def read_case(case: Case) -> CaseReading:
    """Reads the scan and the label map of a case; frees them before it returns."""
    errors: list[str] = []
    warnings: list[str] = []
    reading, scan = CaseReading(name=case.name, files=stamps(case)), None
    channels = _attempt(lambda: [read_volume(path) for path in case.images], errors)
    if channels:
        warnings += [note for channel in channels for note in channel.notes]
        warnings += [*_channel_differences(channels), *_label_maps(channels)]
        scan = _attempt(lambda: _join(channels, case.name), errors)
        if scan is not None:
            reading = _with_scan(reading, scan, channels)
    label = _attempt(lambda: _read_label(case.label), errors)
    if label is not None:
        warnings += [note if note in warnings else f"label map: {note}" for note in label.notes]
        if problem := label_problem(label):
            errors.append(problem)
        else:
            reading = replace(reading, label_volumes=_label_volumes(label, read_segment_names(case.label)))
            warnings += [] if reading.label_volumes else ["the label map is empty: background alone."]
            errors += [problem] if scan is not None and (problem := grid_problem(label, scan)) else []
    return replace(reading, errors=tuple(errors), warnings=tuple(dict.fromkeys(warnings)))


def _read_label(path: Path) -> Volume:
    if not path.exists():
        raise FileNotFoundError(
            f"the label map {path} does not exist: add it, or leave the case out (data.exclude)."
        )
    return read_volume(path)


def stamps(case: Case) -> tuple[FileStamp, ...]:
    """Size and time of each file of a case."""
    return tuple(_stamp(path) for path in (*case.images, case.label))


def _stamp(path: Path) -> FileStamp:
    name = str(path.absolute())
    try:
        status = path.stat()
    except OSError:
        return FileStamp(name, -1, -1)
    steady = path.is_file() and path.suffix.lower() not in DETACHED
    return FileStamp(name, status.st_size, status.st_mtime_ns if steady else -1)


def _attempt(read: Callable[[], Result], errors: list[str]) -> Result | None:
    """What `read` returns; or None, and the reason among the errors."""
    try:
        return read()
    except Exception as error:  # one file's failure, whatever its kind, must not stop the check of the others
        known = isinstance(error, ValueError | OSError | ImportError)
        errors.append(str(error) if known else f"{type(error).__name__}: {error}")
    return None


def _join(channels: Sequence[Volume], name: str) -> Volume:
    return channels[0] if len(channels) == 1 else join_channels(channels, name)


def _channel_differences(channels: Sequence[Volume]) -> list[str]:
    first = channels[0]
    differences = [(channel.name, describe_difference(channel, first)) for channel in channels[1:]]
    return [
        f"channel {name} lies on another grid than {first.name} ({difference}): it is resampled to it."
        for name, difference in differences
        if difference
    ]


def _label_maps(channels: Sequence[Volume]) -> list[str]:
    """A warning for each channel that is no scan."""
    voxels = [channel for volume in channels for channel in volume.voxels]
    return [
        f"{f'channel {number}' if len(voxels) > 1 else 'the scan'} looks like a label map (areas of one whole number):"
        " check that the folders of images and labels are not swapped."
        for number, channel in enumerate(voxels)
        if is_like_label_map(channel)
    ]


def _with_scan(reading: CaseReading, scan: Volume, channels: Sequence[Volume]) -> CaseReading:
    """Fills in what the scan says; intensities are measured before channels are resampled to one grid."""
    reorientation = Reorientation.to_ras(scan.ijk_to_ras)
    voxels = reorientation.apply(scan.voxels)
    _, z, y, x = voxels.shape
    return replace(
        reading,
        shape=(z, y, x),
        channels=len(voxels),
        spacing_mm=reorientation.reorder(scan.spacing_mm),
        orientation=reorientation.axis_codes,
        tilt_degrees=tilt_degrees(scan.ijk_to_ras),
        intensities=tuple(_intensities(channel) for volume in channels for channel in volume.voxels),
        voxel_hash=_hash(voxels),
    )


def _intensities(channel: np.ndarray) -> Intensities:
    finite = channel[np.isfinite(channel)]
    if not finite.size:
        return Intensities(None, None, None, channel.size)
    low, median, high = float(finite.min()), float(np.median(finite)), float(finite.max())
    return Intensities(low, median, high, channel.size - finite.size)


def _hash(voxels: np.ndarray) -> str:
    """Hash of (C, Z, Y, X) as float32, slice by slice: the same in every file format, number type and orientation."""
    digest = hashlib.blake2b(repr(voxels.shape).encode(), digest_size=16)
    with np.errstate(over="ignore"):
        for channel in voxels:
            for plane in channel:
                digest.update(np.ascontiguousarray(plane, dtype=np.float32) + np.float32(0))  # -0 becomes 0
    return digest.hexdigest()


def _label_volumes(label: Volume, names: Mapping[int, str]) -> tuple[LabelVolume, ...]:
    values, counts = np.unique(label.voxels, return_counts=True)
    pairs = zip(values.tolist(), counts.tolist(), strict=True)
    return tuple(
        LabelVolume(int(value), count * label.voxel_ml, names.get(int(value), ""))
        for value, count in pairs
        if value != 0
    )
