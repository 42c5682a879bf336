"""NIfTI files by nibabel, which is imported on first use."""

from __future__ import annotations

import contextlib
import logging
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rareunet.errors import unreadable_file
from rareunet.volume import Volume
from rareunet.wording import times

UNITS_IN_MM = {1: ("metre", 1e3), 3: ("micrometre", 1e-3)}  # by NIfTI's code
SAME_FORMS_MM = 1e-2  # between the sform and the qform of one file
SAME_SPACING = 0.01  # between pixdim and the sform's, relative
EXACT_FORM_MM = 1e-3  # between a form that is written and the world matrix

# Where a header says that its voxels lie; pixdim's first number belongs to the qform.
GEOMETRY_FIELDS = (
    "pixdim", "xyzt_units", "sform_code", "srow_x", "srow_y", "srow_z", "qform_code", "quatern_b", "quatern_c",
    "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
)  # fmt: skip

UNPLACED = (
    "The header does not say how the scan lies in the patient: x to the left, y to the front and z to the head"
    " were assumed, so the result may be mirrored or turned."
)


def read_nifti(path: Path, name: str) -> Volume:
    """Reads a .nii or .nii.gz file.

    Args:
        path: the file.
        name: what to call the scan.

    Returns:
        voxels (C, Z, Y, X) in the stored type, or float32 where the header scales them.

    Raises:
        ValueError: unreadable, not a grey scale scan, or without a usable geometry.
    """
    with _quiet_nibabel():
        image, stored, (slope, inter), pixdim = _load(path)
        if not (np.isfinite(pixdim).all() and (pixdim > 0).all()):
            raise ValueError(
                f"{path} has a spacing of {times(pixdim, '.4g')} mm in its header (pixdim): each must be positive."
                " Repair it."
            )
        voxels = _channels_first(path, stored)
        if (slope, inter) != (1, 0):
            # In float32 large integers would lose what the intercept takes off again.
            exact = np.dtype(np.float32 if voxels.itemsize <= 2 else np.float64)
            scaled: np.ndarray = voxels.astype(exact) * exact.type(slope) + exact.type(inter)
            voxels = scaled.astype(np.float32, copy=False)
        matrix, notes = _nifti_geometry(image)
        kept = {field: np.array(image.header[field]) for field in GEOMETRY_FIELDS}
    return Volume(voxels, matrix, name, notes, nifti_geometry=kept)


@contextlib.contextmanager
def _quiet_nibabel() -> Iterator[None]:
    """Drops nibabel's messages on headers that it mends, in this thread only; what matters becomes a note."""
    logger, thread = logging.getLogger("nibabel.global"), threading.get_ident()

    def from_elsewhere(record: logging.LogRecord) -> bool:
        return record.thread != thread

    logger.addFilter(from_elsewhere)
    try:
        yield
    finally:
        logger.removeFilter(from_elsewhere)


def _load(path: Path) -> tuple[Any, np.ndarray, tuple[float, float], np.ndarray]:
    """nibabel's image, its stored voxels (X, Y, Z, ...), their slope and intercept, the raw pixdim, mm."""
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.openers import ImageOpener
    from nibabel.spatialimages import HeaderDataError

    try:
        image: Any = nibabel.load(path, mmap=False)
        # nibabel mends a zero or negative pixdim in silence: only the unchecked header tells.
        with ImageOpener(str(path)) as file:
            pixdim = image.header_class.from_fileobj(file, check=False)["pixdim"][1:4]
            # Its checksum is only compared at a compressed file's end, where nibabel does not read.
            while path.suffix.lower() == ".gz" and file.read(1 << 24):
                pass
        stored = np.asanyarray(image.dataobj.get_unscaled())
        scaling = float(image.dataobj.slope), float(image.dataobj.inter)
    except (ImageFileError, HeaderDataError, OSError, EOFError, zlib.error, ValueError, MemoryError) as error:
        raise unreadable_file(path, error) from error
    return image, stored, scaling, pixdim


def _channels_first(path: Path, stored: np.ndarray) -> np.ndarray:
    """(X, Y, Z, ...) as stored -> ([C,] Z, Y, X) in native byte order; refuses colours, two further axes."""
    if stored.dtype.names:
        raise ValueError(
            f"{path} holds colours ({', '.join(stored.dtype.names)}): export it as a grey scale scan."
        )
    if stored.dtype.kind == "c":
        raise ValueError(
            f"{path} holds complex numbers: real numbers are needed, such as their magnitude. Export it again."
        )
    channels = [n for n in stored.shape[3:] if n != 1]
    if len(channels) > 1:
        raise ValueError(
            f"{path} has the size {stored.shape}: x, y, z and one dimension of channels are accepted."
        )
    voxels = stored.reshape(*stored.shape[:3], *channels, order="F").T
    return voxels.astype(voxels.dtype.newbyteorder("="), copy=False)


def _nifti_geometry(image: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """World matrix (ijk to RAS, mm) of a nibabel image, and notes on what its header leaves open."""
    header, notes = image.header, []
    matrix, qform = image.affine.astype(np.float64), None
    with contextlib.suppress(Exception):  # a broken qform does not matter beside a good sform
        qform = header.get_qform(coded=True)[0]
    if header["sform_code"] == 0 and header["qform_code"] == 0:
        notes.append(UNPLACED)
    elif header["sform_code"] > 0 and qform is not None:
        apart = _largest_distance(matrix, qform, image.shape[:3])
        if not apart <= SAME_FORMS_MM:
            notes.append(f"The header's sform and qform lie up to {apart:.3g} mm apart: the sform was used.")
    elif header["sform_code"] > 0:
        pixdim, spacing = header["pixdim"][1:4], np.linalg.norm(matrix[:3, :3], axis=0)
        if (abs(pixdim - spacing) > SAME_SPACING * spacing).any():
            notes.append(
                f"The header's spacing is {times(pixdim, '.4g')} (pixdim), but {times(spacing, '.4g')} by its sform:"
                " the sform was used."
            )
    unit, factor = _unit_of(header)
    if factor != 1:
        matrix[:3] *= factor
        notes.append(f"The header's unit of length is the {unit}: it was converted to mm.")
    return matrix, tuple(notes)


def _largest_distance(matrix: np.ndarray, other: np.ndarray, shape: Sequence[int]) -> float:
    """Largest distance between a corner voxel's positions under two matrices, mm; shape is (X, Y, Z)."""
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=np.float64)
    corners[:, :3] *= np.array([*shape, 1, 1][:3]) - 1
    return float(np.linalg.norm(corners @ (matrix - other).T, axis=1).max())


def _unit_of(header: Any) -> tuple[str, float]:
    """The header's unit of length, and how many mm it has; none counts as mm."""
    return UNITS_IN_MM.get(int(header["xyzt_units"]) % 8, ("millimetre", 1.0))


def save_nifti(
    path: Path, voxels: np.ndarray, ijk_to_ras: np.ndarray, geometry: Mapping[str, np.ndarray] | None
) -> None:
    """Saves voxels (C, Z, Y, X) as .nii or .nii.gz, channels as the fourth dimension.

    Args:
        path: file to write; its extension says whether it is compressed.
        voxels: (C, Z, Y, X), of a type that NIfTI knows.
        ijk_to_ras: (4, 4) world matrix, mm; without `geometry` the qform is left out where it can't hold it.
        geometry: GEOMETRY_FIELDS of the scan on whose grid the voxels lie, see Volume. Taken over unless the scan was
            moved since: programs differ in which of a header's forms they follow, and in where they take a scan
            without forms to lie.

    Raises:
        OSError: the file can't be written.
    """
    import nibabel

    data = voxels[0].T if len(voxels) == 1 else voxels.T
    image = nibabel.Nifti1Image(data, None, dtype=voxels.dtype)
    if geometry is not None:
        _set_geometry(image.header, geometry)
    now = image.header.get_best_affine()
    now[:3] *= _unit_of(image.header)[1]
    if geometry is None or _largest_distance(ijk_to_ras, now, image.shape[:3]) > EXACT_FORM_MM:
        image = nibabel.Nifti1Image(data, ijk_to_ras, dtype=voxels.dtype)
        image.header.set_xyzt_units("mm")
        image.set_sform(ijk_to_ras, code=1)
        image.set_qform(ijk_to_ras, code=1)
        # A qform can't hold a sheared matrix.
        if _largest_distance(ijk_to_ras, image.get_qform(), image.shape[:3]) > EXACT_FORM_MM:
            image.set_qform(None, code=0)
    nibabel.save(image, path)


def _set_geometry(header: Any, geometry: Mapping[str, np.ndarray]) -> None:
    for field, value in geometry.items():
        header[field] = value
    header["pixdim"][4:] = 1  # channels have none
    header["xyzt_units"] = int(geometry["xyzt_units"]) % 8  # nor a unit of time
