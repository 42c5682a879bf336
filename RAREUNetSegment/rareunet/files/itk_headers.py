"""What the text headers of NRRD and MetaImage files say, and ITK mends, assumes or overlooks in silence."""

from __future__ import annotations

import bz2
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rareunet.errors import unreadable_file

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
BLOCK_BYTES = 1 << 16  # of compressed data, which may hold a thousand times as much

NO_SPACING = (
    "The header holds no spacing: 1 mm was assumed. Check it, since the route through the network goes by it."
)
UNPLACED = (
    "The header does not say how the scan lies in the patient: x to the left, y to the back and z to the head"
    " were assumed, so the result may be mirrored or turned."
)


@dataclass(frozen=True)
class HeaderFacts:
    """What a reader needs beside ITK.

    Attributes:
        notes: what the header leaves open.
        unit_mm: length that its numbers count in, mm.
        flips: sign of each world axis (R, A, S) that ITK leaves as it is though the header has another one.
        unpacked_bytes: of compressed voxels; None where they are not compressed, or can't be followed.
    """

    notes: tuple[str, ...] = ()
    unit_mm: float = 1.0
    flips: tuple[float, float, float] = (1.0, 1.0, 1.0)
    unpacked_bytes: int | None = None


def check_text_header(path: Path) -> HeaderFacts:
    """Reads the header, and compressed voxels too: ITK takes damaged ones for good.

    Raises:
        ValueError: a spacing that is not positive and finite, axes of different units, damaged voxels.
    """
    header = _header(path)
    nrrd = header.startswith(b"NRRD")
    text = header.decode("latin-1")
    found = re.findall(r"^([A-Za-z ]+?) *[:=]+ *(.*?) *\r?$", text, flags=re.MULTILINE)
    fields = {key.lower() if nrrd else key: value for key, value in found}  # NRRD's names have no case
    _check_spacings(path, fields)
    _check_slice_files(path, fields, len(header))
    unpacked_bytes = _check_compressed(path, fields, len(header))
    placed = any(key in fields for key in METAIMAGE_DIRECTIONS)
    if nrrd:
        in_patient = re.match(NRRD_PATIENT_SPACES, fields.get("space", ""), flags=re.IGNORECASE)
        placed = in_patient is not None and "space directions" in fields
    spaced = any(key in fields for key in (*SPACINGS, "space directions"))
    unit_mm, unit_notes = _unit(path, fields)
    return HeaderFacts(
        (*(() if spaced else (NO_SPACING,)), *(() if placed else (UNPLACED,)), *unit_notes),
        unit_mm,
        TIMED_SPACES.get(fields.get("space", "").lower(), (1.0, 1.0, 1.0)) if nrrd else (1.0, 1.0, 1.0),
        unpacked_bytes,
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


def _check_slice_files(path: Path, fields: Mapping[str, str], header_bytes: int) -> None:
    """A MetaImage whose slices are files of their own: ITK makes up those that it names no file for.

    Raises:
        ValueError: there are fewer files than slices.
    """
    words, slices = fields.get("ElementDataFile", "").split(), fields.get("DimSize", "").split()[-1:]
    if not words or not slices or not slices[0].isdecimal():
        return
    if words[0] == "LIST":
        files = sum(bool(line.strip()) for line in path.read_bytes()[header_bytes:].splitlines())
    elif "%" in words[0]:
        files = _files_of_pattern(path, words[1:], int(slices[0]))
    else:
        return
    if files < int(slices[0]):
        raise ValueError(f"{path} lists {files} files for {slices[0]} slices: export it again as a whole.")


def _files_of_pattern(path: Path, numbers: Sequence[str], slices: int) -> int:
    """How many files MetaIO takes a pattern ("slice%03d.raw") for.

    Args:
        path: the header's, for the message.
        numbers: the first, the last and the step, as far as they are given.
        slices: of the scan.
    """
    try:
        first, last, step = [*map(int, numbers), *(1, slices, 1)[len(numbers) :]]
        if len(numbers) == 1:
            last = first + slices - 1
        if len(numbers) == 2:  # MetaIO never ends where it gets a step of 0 so
            step = (last - first) // slices
        return len(range(first, last + 1, step))
    except ValueError:
        raise ValueError(
            f"{path} numbers its slices' files by {' '.join(numbers)!r}: the first, the last and a step from 1 on are"
            " accepted. Repair its header (ElementDataFile)."
        ) from None


def _check_compressed(path: Path, fields: Mapping[str, str], header_bytes: int) -> int | None:
    """Unpacks compressed voxels to the end, which compares their checksum; returns how many bytes they are.

    Raises:
        ValueError: they are damaged or incomplete.
    """
    encoding = fields.get("encoding", "").lower()
    zipped = encoding in ("gzip", "gz") or fields.get("CompressedData", "").lower() == "true"
    if not zipped and encoding not in ("bzip2", "bz2"):
        return None
    beside = fields.get("data file", fields.get("datafile", fields.get("ElementDataFile", "LOCAL")))
    skips = any(fields.get(key, "0") != "0" for key in ("byte skip", "byteskip", "line skip", "lineskip"))
    data = path if beside.upper() == "LOCAL" else path.parent / beside
    if skips or not data.is_file():  # parts of a file, or several files
        return None
    unpacked = packed = 0
    engine = zlib.decompressobj(wbits=47) if zipped else bz2.BZ2Decompressor()  # 47: of zlib or of gzip
    try:
        with data.open("rb") as file:
            file.seek(header_bytes if data == path else 0)
            while not engine.eof:
                if not (block := file.read(BLOCK_BYTES)):
                    raise EOFError("the compressed voxels end early")
                packed += len(block)
                unpacked += len(engine.decompress(block))
    except (zlib.error, OSError, EOFError) as error:
        raise unreadable_file(path, error) from error
    told, found = fields.get("CompressedDataSize"), packed - len(engine.unused_data)
    # ITK takes what it has for voxels where the size is another, without an error.
    if "CompressedData" in fields and told != str(found):
        cause = f"CompressedDataSize is {told or 'missing'}, the compressed voxels have {found} bytes"
        raise unreadable_file(path, ValueError(cause))
    return unpacked
