"""What the text headers of NRRD and MetaImage files say, and ITK mends, assumes or overlooks in silence."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rareunet.files.itk_voxels import check_slice_files, count_voxel_bytes

# What holds them in a text header; a MetaImage's ElementSize serves where ElementSpacing lacks.
SPACINGS = ("spacings", "ElementSpacing", "ElementSize")
METAIMAGE_DIRECTIONS = ("TransformMatrix", "Rotation", "Orientation")
NRRD_PATIENT_SPACES = r"(right|left)-(anterior|posterior)-superior|[RL][AP]S"
# ITK turns right-anterior-superior into its own left-posterior-superior, but not where time comes as a fourth axis.
TIMED_SPACES = {
    "right-anterior-superior-time": (-1.0, -1.0, 1.0),
    "rast": (-1.0, -1.0, 1.0),
    "left-anterior-superior-time": (1.0, -1.0, 1.0),
    "last": (1.0, -1.0, 1.0),
}
NRRD_UNITS_IN_MM = {"": 1.0, "mm": 1.0, "cm": 10.0, "m": 1e3, "um": 1e-3, "µm": 1e-3, "nm": 1e-6}
HEADER_BYTES = 1 << 16  # read at a time: Slicer writes some 550 bytes for each segment
LONGEST_HEADER_BYTES = 1 << 24

NO_SPACING = (
    "The header holds no spacing: 1 mm was assumed. Check it, since the route through the network goes by it."
)
UNPLACED = (
    "The header does not say how the scan lies in the patient: x to the left, y to the back and z to the head"
    " were assumed, so the result may be mirrored or turned."
)
NO_DIRECTION = (
    "The header gives an axis of space no direction ('none'): 1 mm along the patient's axis of the same number was"
    " assumed, so the result may be mirrored or turned."
)


@dataclass(frozen=True)
class HeaderFacts:
    """What a reader needs beside ITK.

    Attributes:
        notes: what the header leaves open.
        unit_mm: length that its numbers count in, mm.
        flips: sign of each world axis (R, A, S) that ITK leaves as it is though the header has another one.
        voxel_bytes: how many bytes of voxels there are, unpacked; None where they can't be counted.
    """

    notes: tuple[str, ...] = ()
    unit_mm: float = 1.0
    flips: tuple[float, float, float] = (1.0, 1.0, 1.0)
    voxel_bytes: int | None = None


def check_text_header(path: Path) -> HeaderFacts:
    """Reads the header, and compressed voxels too: ITK takes damaged ones for good.

    Raises:
        ValueError: a spacing that is not positive and finite, axes of different units, damaged or missing voxels.
    """
    header = _header(path)
    nrrd = header.startswith(b"NRRD")
    text = header.decode("latin-1")
    found = re.findall(r"^([A-Za-z ]+?) *[:=]+ *(.*?) *\r?$", text, flags=re.MULTILINE)
    fields = {key.lower() if nrrd else key: value for key, value in found}  # NRRD's names have no case
    _check_spacings(path, fields)
    check_slice_files(path, fields, len(header))
    voxel_bytes = count_voxel_bytes(path, fields, len(header))
    placed = any(key in fields for key in METAIMAGE_DIRECTIONS)
    if nrrd:
        in_patient = re.match(NRRD_PATIENT_SPACES, fields.get("space", ""), flags=re.IGNORECASE)
        placed = in_patient is not None and "space directions" in fields
    spaced = any(key in fields for key in (*SPACINGS, "space directions"))
    unit_mm, unit_notes = _unit(path, fields)
    open_ends = {NO_SPACING: not spaced, UNPLACED: not placed, NO_DIRECTION: _lacks_direction(fields)}
    return HeaderFacts(
        (*(note for note, holds in open_ends.items() if holds), *unit_notes),
        unit_mm,
        TIMED_SPACES.get(fields.get("space", "").lower(), (1.0, 1.0, 1.0)) if nrrd else (1.0, 1.0, 1.0),
        voxel_bytes,
    )


def _header(path: Path) -> bytes:
    """What comes before the voxels; all that was read where no end is found."""
    with path.open("rb") as file:
        start = file.read(HEADER_BYTES)
        ending = rb"\r?\n\r?\n" if start.startswith(b"NRRD") else rb"^ElementDataFile.*\n"
        while not (end := re.search(ending, start, flags=re.MULTILINE)):
            more = file.read(HEADER_BYTES)
            if not more or len(start) > LONGEST_HEADER_BYTES:
                return start
            start += more
    return start[: end.end()]


def _lacks_direction(fields: Mapping[str, str]) -> bool:
    """Whether "none" stands for the direction of more axes than those beyond the three of space."""
    without = fields.get("space directions", "").split().count("none")
    return without > max(0, len(fields.get("sizes", "").split()) - 3)


def _check_spacings(path: Path, fields: Mapping[str, str]) -> None:
    for key in SPACINGS:
        words = fields.get(key, "").replace(",", " ").split()
        if key == "spacings" and len(words) > 3:  # NaN is right for an axis that is not of space
            words = [word for word in words if word.lower() != "nan"]
        if not all(_is_positive(word) for word in words):
            raise ValueError(
                f"{path} has a spacing of {fields[key]} mm: each must be positive. Repair its header."
            )


def _is_positive(word: str) -> bool:
    try:
        return 0 < float(word) < math.inf
    except ValueError:
        return False


def _unit(path: Path, fields: Mapping[str, str]) -> tuple[float, tuple[str, ...]]:
    """The unit of an NRRD's spacings in mm, and a note on it unless it is mm."""
    units = re.findall(r'"([^"]*)"', fields.get("space units", ""))
    if len(set(units)) > 1:
        raise ValueError(
            f"{path} has axes of different units ({', '.join(units)}): export it again with spacings in mm."
        )
    # NRRD's texts are UTF-8, but a header is read byte by byte.
    unit = units[0].strip().encode("latin-1").decode("utf-8", "replace") if units else ""
    factor = NRRD_UNITS_IN_MM.get(unit)
    if factor is None:
        return 1.0, (f"The header's unit of length is {unit!r}, which is not known: mm was assumed.",)
    if factor == 1:
        return 1.0, ()
    return factor, (f"The header's unit of length is {unit}: it was converted to mm.",)
