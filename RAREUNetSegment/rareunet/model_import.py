"""A model that comes as one file: a zip of a bundle becomes one of the user's models, checked before it lies there."""

from __future__ import annotations

import filecmp
import lzma
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from rareunet.bundle import LEFT_BY_SYSTEMS, Bundle
from rareunet.bundle_format import DESCRIPTION_FILE, HASHES_FILE, WEIGHTS_FILE, hash_file
from rareunet.errors import BundleError
from rareunet.installed_models import user_models
from rareunet.whole_files import make_folder

BUNDLE_FILES = (DESCRIPTION_FILE, WEIGHTS_FILE, HASHES_FILE)


def import_model(file: str | Path) -> Path:
    """Puts the bundle in a zip among the user's models, as NAME-VERSION; whole or not at all.

    What is there stays: the same model is not imported again, and beside another one of that name and version, as after
    a second training with the same settings, it becomes NAME-VERSION-HASH, with 8 digits of the SHA-256 of its hashes.

    Returns:
        its folder there, whose name is what find_bundle takes.

    Raises:
        BundleError: no file, not a zip of one bundle, damaged, not of the schema, or its copy there was changed.
        ValueError: the folder of the user's models can't be made.
        OSError: the zip can't be read, or the bundle not be written.
    """
    file, models = Path(file), user_models()
    if not file.is_file():
        raise BundleError(f"{file} is no file: give the zip of a model.")
    make_folder(models)
    # Beside its target, so that the last step is a renaming.
    with tempfile.TemporaryDirectory(prefix=".import-", dir=models, ignore_cleanup_errors=True) as private:
        unpacked = Path(private) / "bundle"
        try:
            _unpack(file, unpacked)
            bundle = Bundle.load(unpacked)
        except BundleError as error:
            raise BundleError(f"{file}: {str(error).removeprefix(f'{unpacked}: ')}") from None
        called = f"{bundle.name}-{bundle.version}"
        for name in (called, f"{called}-{hash_file(unpacked / HASHES_FILE)[:8]}"):
            target = models / name
            if not target.exists():
                os.rename(unpacked, target)
                return target
            if all(_are_same(unpacked / part, target / part) for part in (DESCRIPTION_FILE, WEIGHTS_FILE)):
                return target
    raise BundleError(
        f"{file}: {target} held this model and was changed since. Move that folder away and import again."
    )


def _unpack(file: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            members = _bundle_in(archive)
            folder.mkdir()
            for name, member in members.items():
                with archive.open(member) as packed, open(folder / name, "wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError) as error:
        raise BundleError(f"not a whole zip ({error}): fetch or make it again.") from None


def _bundle_in(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The members by the names of a bundle's files, by which alone they are written, whatever the zip calls them.

    Raises:
        BundleError: they are not the files of one bundle, directly in the zip or in one folder.
    """
    members: dict[str, zipfile.ZipInfo] = {}
    folders = set()
    for member in archive.infolist():
        path = PurePosixPath(member.filename.replace("\\", "/"))
        if member.is_dir() or path.parts[:1] == ("__MACOSX",) or path.name in LEFT_BY_SYSTEMS:
            continue
        folders.add(path.parent)
        is_odd = path.is_absolute() or ".." in path.parts or len(path.parts) > 2 or _is_link(member)
        if is_odd or path.name not in BUNDLE_FILES or path.name in members or len(folders) > 1:
            raise BundleError(
                f"{member.filename!r} in it is not part of one model: {', '.join(BUNDLE_FILES)} are accepted, directly"
                " in the zip or in one folder. Zip the model's folder alone."
            )
        if member.flag_bits & 1:
            raise BundleError(
                "it is locked by a password: unpack it, and zip the model's folder without one."
            )
        members[path.name] = member
    if missing := [name for name in BUNDLE_FILES if name not in members]:
        raise BundleError(f"{', '.join(missing)} missing: zip the model's whole folder.")
    return members


def _is_link(member: zipfile.ZipInfo) -> bool:
    return stat.S_ISLNK(member.external_attr >> 16)


def _are_same(one: Path, other: Path) -> bool:
    return other.is_file() and filecmp.cmp(one, other, shallow=False)
