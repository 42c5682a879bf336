"""What the panel shows of a model before anything is installed: bundle.json, read with nothing but json.

The full check (schema, SHA-256) is the core's and comes on Apply, before a weight is used.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from rareunet.bundle_format import DESCRIPTION_FILE
from rareunet.errors import BundleError
from rareunet.geometry import Triple
from rareunet.installed_models import find_bundle, installed_models


@dataclass(frozen=True)
class ModelFacts:
    """What bundle.json says of a model; triples are in the order (S, A, R), mm."""

    name: str
    title: str
    description: str
    version: str
    deepest: int
    channel_names: tuple[str, ...]
    structure_names: tuple[str, ...]
    reference_spacing_mm: Triple
    largest_extent_mm: Triple
    resolution_card: tuple[dict[str, Any], ...]
    straighten_turned: bool = True


def read_facts(name_or_path: str) -> ModelFacts:
    """Facts of an installed model (by name) or of any bundle (by path).

    Raises:
        BundleError: no such model, or its description can't be read.
    """
    if not name_or_path:
        raise BundleError("no model is chosen: choose one of the list, or a model's file.")
    path = find_bundle(name_or_path) / DESCRIPTION_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return ModelFacts(
            name=content["name"],
            title=content["title"],
            description=content["description"],
            version=content["version"],
            deepest=max(int(depth) for depth in content["depths"]),
            channel_names=tuple(channel["name"] for channel in content["channels"]),
            structure_names=tuple(label["name"] for label in content["labels"]),
            reference_spacing_mm=_triple(content["reference_spacing_mm"]),
            largest_extent_mm=_triple(content["field_of_view_mm"]["largest"]),
            resolution_card=tuple(content["resolution_card"]),
            straighten_turned=bool(content.get("straighten_turned", True)),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{path} is not a readable model description ({type(error).__name__}: {error})."
            " Install the model again, or choose another folder."
        ) from None


def titles() -> dict[str, str]:
    """What to show of each installed model, by name: its title, for an imported one with its name; the name where it
    can't be read."""
    shown = {}
    for name in installed_models():
        try:
            facts = read_facts(name)
            shown[name] = facts.title if name == facts.name else f"{facts.title} ({name})"
        except BundleError:
            shown[name] = name
    return shown


def _triple(values: Any) -> Triple:
    s, a, r = (float(value) for value in values)
    return s, a, r
