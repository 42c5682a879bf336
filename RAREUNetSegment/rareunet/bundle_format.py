"""What makes a folder a bundle: its three files, their hashes, and a description of the schema."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from rareunet.architecture import Architecture
from rareunet.errors import BundleError
from rareunet.intensity import IntensityRule

DESCRIPTION_FILE, WEIGHTS_FILE, HASHES_FILE = "bundle.json", "weights.safetensors", "SHA256SUMS"
LARGEST_LABEL = 65535  # as bundle.schema.json has it: what 16 bits hold


def verify(folder: Path) -> None:
    """Holds both files against SHA256SUMS.

    Raises:
        BundleError: a file is missing or changed.
    """
    try:
        lines = (folder / HASHES_FILE).read_text(encoding="utf-8").splitlines()
    except OSError:
        raise BundleError(f"{folder}: {HASHES_FILE} is missing. Install the model again.") from None
    expected = {
        parts[1].lstrip("*"): parts[0] for parts in (line.split() for line in lines) if len(parts) == 2
    }
    for name in (DESCRIPTION_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise BundleError(f"{folder}: {name} is missing. Install the model again.")
        if expected.get(name) != hash_file(folder / name):
            raise BundleError(
                f"{folder}: {name} does not match its SHA-256: it is damaged or was changed. Install the model again."
            )


def read_description(folder: Path) -> Any:
    """The content of bundle.json; raises BundleError where it is no JSON or can't be read."""
    try:
        return json.loads((folder / DESCRIPTION_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{folder}: {DESCRIPTION_FILE} is not JSON or can't be read: {error}") from None


def check_schema(description: Any, origin: Path) -> None:
    """Raises BundleError where a description is not of the schema or contradicts itself."""
    import fastjsonschema

    try:
        _validator()(description)
    except fastjsonschema.JsonSchemaValueException as error:
        raise BundleError(
            f"{origin}: bundle.json is not a model description of format 1: {error.message}."
        ) from None
    architecture = description["architecture"]
    if architecture["in_channels"] != len(description["channels"]):
        raise BundleError(
            f"{origin}: {architecture['in_channels']} input channels but names for {len(description['channels'])}."
        )
    try:
        Architecture(**architecture)
        IntensityRule(**description["intensity"])
    except ValueError as error:
        raise BundleError(f"{origin}: {error}") from None
    depths = description["depths"]
    if depths != list(range(len(depths))) or len(depths) > architecture["gateways"] + 1:
        raise BundleError(
            f"{origin}: entry depths {depths}: 0, 1, 2, ... up to the {architecture['gateways']} gateways are possible."
        )
    values = [label["value"] for label in description["labels"]]
    if architecture["classes"] != len(values) + 1 or len(set(values)) != len(values):
        raise BundleError(
            f"{origin}: {architecture['classes']} classes (background included) but labels {values}:"
            " one label of its own number is needed for each foreground class."
        )


@lru_cache(maxsize=1)
def _validator() -> Any:
    import fastjsonschema

    schema = json.loads((Path(__file__).parent / "bundle.schema.json").read_text(encoding="utf-8"))
    return fastjsonschema.compile(schema)


def hash_file(path: Path) -> str:
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_hashes(folder: Path) -> None:
    lines = [f"{hash_file(folder / name)}  {name}\n" for name in (DESCRIPTION_FILE, WEIGHTS_FILE)]
    (folder / HASHES_FILE).write_text("".join(lines), encoding="utf-8")
