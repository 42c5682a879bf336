"""Volumes in files: NIfTI by nibabel; NRRD, MetaImage and DICOM series by SimpleITK; tensors by torch.

NIfTI stores RAS coordinates, the other formats LPS; a Volume is always RAS. Arrays are (C, Z, Y, X). The
libraries are imported on first use: this module must import fast, and each serves only its own formats.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from rareunet.channel_grids import join_channels
from rareunet.files.dicom_series import is_dicom_file, read_dicom_series
from rareunet.files.itk import ITK_READERS, read_itk, save_itk
from rareunet.files.nifti import read_nifti, save_nifti
from rareunet.files.tensors import TORCH, read_tensor
from rareunet.volume import Volume
from rareunet.whole_files import replacing
from rareunet.wording import some

FilePath = str | os.PathLike[str]
Scan = Path | list[Path]  # a file or a folder, or a file for each channel

NIFTI = (".nii.gz", ".nii")
READABLE = (*NIFTI, *ITK_READERS, *TORCH)
WRITABLE = (*NIFTI, ".nrrd", ".mha")
FIRST_CHANNEL = "_0000"  # what the name of a scan's first channel file ends with
LABEL_MAP_NAME = re.compile(r"(.+)[-_.](labels?|labelmap|seg|segmentation|mask)", re.IGNORECASE)
ACCEPTED = "accepted are .nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd, .nii.pt and a folder with one DICOM series"


def read_volume(path: FilePath | Sequence[FilePath], series: str | None = None) -> Volume:
    """Reads a scan: a file, a folder with a DICOM series, or a sequence of files, one per channel.

    The stored number type is kept; scaled voxels become float32. A fourth dimension, or a pixel of several
    components, is taken as channels. Channel files on other grids than the first one's are resampled to it.
    What was assumed, repaired or resampled stands in Volume.notes.

    Args:
        path: file, folder, or one file per channel; the first one's grid becomes the scan's.
        series: UID of the DICOM series to read from a folder that holds several.

    Raises:
        FileNotFoundError: the path does not exist.
        ValueError: not a readable 3D scan with a usable geometry, or channels that show different places; the
            message says what was found.
        ImportError: the format needs SimpleITK or PyTorch, which is not installed.
    """
    if not isinstance(path, str | os.PathLike):
        name = case_name(path)
        if series is not None:
            raise ValueError(
                f"{name}: a series is chosen from one folder, and this scan has a file for each channel."
            )
        return join_channels([read_volume(channel) for channel in path], name)
    path, name = Path(path), case_name(path)
    if not path.exists():
        if path.is_symlink():
            raise FileNotFoundError(
                f"{path} is a link to {os.readlink(path)}, which does not exist: fetch or restore it."
            )
        raise FileNotFoundError(f"{path} does not exist: check the spelling and the folder.")
    extension = _extension(path)
    if path.is_dir():
        return read_dicom_series(path, name, series)
    if extension in NIFTI:
        return read_nifti(path, name)
    if extension in ITK_READERS:
        return read_itk(path, name, ITK_READERS[extension])
    if extension in TORCH:
        return read_tensor(path, name)
    if is_dicom_file(path):
        raise ValueError(f"{path} is one DICOM file: give the folder that holds its whole series.")
    raise ValueError(f"{path} is not a scan in a known format: {ACCEPTED}.")


def case_name(path: FilePath | Sequence[FilePath]) -> str:
    """Name of a scan: the file's name without its extension, the folder's name for a DICOM series.

    Of several channel files it is the first one's name without the channel number (_0000).
    """
    if not isinstance(path, str | os.PathLike):
        if not path:
            raise ValueError("no file was given: one file per channel is needed.")
        return re.sub(r"_\d{4}$", "", case_name(path[0]))
    path = Path(path)
    if path.is_dir():
        return path.resolve().name
    return path.name[: len(path.name) - len(_extension(path))]


def find_scans(paths: Sequence[FilePath], channels: int) -> list[Scan]:
    """Scans that are meant by files and folders, each ready for read_volume and with the case's name by case_name.

    A file is itself, also where it does not exist, so that one wrong name does not stop the other scans. A
    folder (not its subfolders) gives its images in the order of their names; a folder of DICOM files alone is one scan.
    Channel files case_0000, case_0001 ... are one list. Hidden files and Slicer's segmentations in folders are left
    out.

    Args:
        channels: how many the model has; for one channel each file is a scan, case_0000 that of `case`.

    Raises:
        ValueError: a folder holds no scan, or DICOM files beside other images.
    """
    scans: list[Scan] = []
    for are_folders, group in groupby(map(Path, paths), Path.is_dir):
        named = list(group)
        if are_folders:
            scans += [scan for folder in named for scan in _scans_in_folder(folder, channels)]
        else:
            scans += _channels_joined(named, channels)
    return scans


def without_label_maps(scans: Sequence[Scan]) -> tuple[list[Scan], list[Path]]:
    """The scans, and apart from them the files that are called like the label map of one beside them: CASE-label,
    CASE_seg."""
    cases = {((scan[0] if isinstance(scan, list) else scan).parent, case_name(scan)) for scan in scans}
    kept: list[Scan] = []
    label_maps = []
    for scan in scans:
        match = LABEL_MAP_NAME.fullmatch(case_name(scan))
        if match and isinstance(scan, Path) and (scan.parent, match[1]) in cases:
            label_maps.append(scan)
        else:
            kept.append(scan)
    return kept, label_maps


def images_in(folder: Path) -> list[Path]:
    """The image files of a folder (not of its subfolders) by their names' endings; hidden ones are left out."""
    return [file for file in _files_in(folder) if _extension(file) in READABLE]


def is_segmentation(path: Path) -> bool:
    """Whether Slicer saved segments by this name, not a scan."""
    return path.name.lower().endswith((".seg.nrrd", ".seg.nhdr"))


def write_label_map(path: FilePath, label_map: np.ndarray, volume: Volume) -> None:
    """Writes a label map in its scan's geometry, as .nii.gz, .nii, .nrrd or .mha by the path's extension.

    The file appears whole or not at all: until it is complete, an older file of that name stays as it was.

    Args:
        path: file to write, in an existing folder.
        label_map: non-negative integers (Z, Y, X); stored as the smallest unsigned integer type that fits.
        volume: the scan, for its size and world matrix; a NIfTI scan that does not say where it lies (see its
            notes) gets a NIfTI label map that does not either, so that every program shows both at one place.

    Raises:
        ValueError: the label map does not fit the scan, does not hold labels, or the format is unknown.
        OSError: the file can't be written (full disk, missing folder, no permission).
    """
    label_map = np.asarray(label_map)
    if label_map.shape != volume.shape:
        raise ValueError(
            f"the label map's size (z, y, x) {label_map.shape} differs from {volume.name}'s {volume.shape}:"
            " bring it to the scan's grid first."
        )
    if label_map.dtype.kind not in "bui" or label_map.min() < 0:
        raise ValueError(
            f"the label map holds {label_map.dtype} values: whole numbers from 0 upwards are needed."
        )
    smallest = np.min_scalar_type(int(label_map.max()))
    _write(Path(path), label_map.astype(smallest, copy=False)[np.newaxis], volume)


def write_volume(path: FilePath, volume: Volume) -> None:
    """Writes a scan like write_label_map; booleans become uint8, float16 becomes float32. Same errors."""
    stored = {"bool": np.uint8, "float16": np.float32}.get(volume.voxels.dtype.name, volume.voxels.dtype)
    _write(Path(path), volume.voxels.astype(stored, copy=False), volume)


def _extension(path: Path) -> str:
    double = "".join(path.suffixes[-2:]).lower()
    return double if double in (".nii.gz", *TORCH) else path.suffix.lower()


def _files_in(folder: Path) -> list[Path]:
    """Broken links are files too: that they lead nowhere is told when they are read."""
    files = (file for file in folder.iterdir() if file.is_file() or not file.exists())
    return sorted(file for file in files if not file.name.startswith("."))


def _scans_in_folder(folder: Path, model_channels: int) -> list[Scan]:
    images = [file for file in images_in(folder) if not is_segmentation(file)]
    if not images:
        if any(is_dicom_file(file) for file in _files_in(folder)):
            return [folder]
        raise ValueError(f"{folder} holds no scan: {ACCEPTED}. Folders within it are not searched.")
    if any(is_dicom_file(file) for file in _files_in(folder) if file not in images):
        raise ValueError(
            f"{folder} holds DICOM files and other images ({some([image.name for image in images])}): move one kind"
            " elsewhere, or name the image files themselves."
        )
    return _channels_joined(images, model_channels)


def _channels_joined(files: Sequence[Path], model_channels: int) -> list[Scan]:
    """The files, those of one folder that are called case_0000, case_0001 ... as one list in that order."""
    if model_channels == 1:  # a case's name must not depend on what lies beside its file
        return [[file] if case_name(file).endswith(FIRST_CHANNEL) else file for file in files]
    groups: dict[tuple[Path, str], list[Path]] = {}
    for file in files:
        groups.setdefault((file.parent, case_name([file])), []).append(file)
    scans: list[Scan] = []
    for (_, case), channels in groups.items():
        # Numbers that do not count from 0000 are part of the name: scan_2023, scan_2024.
        counted = [f"{case}_{i:04d}" for i in range(len(channels))]
        scans += [sorted(channels)] if sorted(map(case_name, channels)) == counted else channels
    return scans


def _write(path: Path, voxels: np.ndarray, volume: Volume) -> None:
    """Writes (C, Z, Y, X) in a scan's geometry beside the old file and takes its place in one step."""
    extension = _extension(path)
    if extension not in WRITABLE:
        raise ValueError(f"{path} has no extension that can be written: choose {', '.join(WRITABLE)}.")
    try:
        with replacing(path, durable=True) as temporary:
            if extension in NIFTI:
                save_nifti(temporary, voxels, volume.ijk_to_ras, volume.nifti_geometry)
            else:
                save_itk(temporary, voxels, volume.ijk_to_ras)
    except OSError as error:
        cause = error.strerror or str(error)
        raise OSError(
            error.errno or errno.EIO,
            f"{path} could not be written ({cause}), an older file of this name is unchanged. Free space"
            " on the disk, or choose an existing folder that you may write to",
        ) from error
