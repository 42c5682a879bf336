"""The voxels of NRRD and MetaImage files: whether all are there, which ITK does not always notice."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from rareunet.errors import unreadable_file

BLOCK_BYTES = 1 << 16  # of compressed data, which may hold a thousand times as much
SKIPS = ("byte skip", "byteskip", "HeaderSize")
LINE_SKIPS = ("line skip", "lineskip")


def check_slice_files(path: Path, fields: Mapping[str, str], header_bytes: int) -> None:
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


def count_voxel_bytes(path: Path, fields: Mapping[str, str], header_bytes: int) -> int | None:
    """How many bytes of voxels there are, unpacked; unpacking to the end compares their checksum.

    Args:
        path: the header's file.
        fields: of the header, an NRRD's in small letters.
        header_bytes: its length.

    Returns:
        None where they are text, lie in several files, or begin where only ITK finds out.

    Raises:
        ValueError: they are damaged, incomplete, or packed in a way that ITK can't unpack.
    """
    beside = fields.get("data file", fields.get("datafile", fields.get("ElementDataFile", "LOCAL")))
    data = path if beside.upper() == "LOCAL" else path.parent / beside
    skip = next((fields[key] for key in SKIPS if key in fields), "0")
    if not data.is_file() or any(fields.get(key, "0") != "0" for key in LINE_SKIPS):
        return None
    start = header_bytes if data == path else 0
    encoding = fields.get("encoding", "raw").lower()
    if encoding in ("gzip", "gz") or _is_true(fields.get("CompressedData", "False")):
        return _unpacked_bytes(path, data, fields, start) if skip == "0" else None
    if encoding in ("bzip2", "bz2"):
        raise ValueError(
            f"{path} is compressed by bzip2, which can't be read here: raw and gzip are. Export it again as one of"
            " them, or as .nii.gz."
        )
    # A skip of -1 means that the voxels are the file's last bytes; MetaImage counts others from its own start.
    if encoding != "raw" or not _is_true(fields.get("BinaryData", "True")) or not skip.isdecimal():
        return None
    return None if start and skip != "0" else data.stat().st_size - start - int(skip)


def _is_true(word: str) -> bool:
    """As MetaIO takes it."""
    return word[:1] in ("T", "t", "1")


def _unpacked_bytes(path: Path, data: Path, fields: Mapping[str, str], start: int) -> int:
    """Unpacks the voxels from a place in a file to their end; returns how many bytes they are."""
    unpacked = packed = 0
    engine = zlib.decompressobj(wbits=47)  # of zlib or of gzip
    try:
        with data.open("rb") as file:
            file.seek(start)
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
