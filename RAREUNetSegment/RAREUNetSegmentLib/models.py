"""The models that the panel offers, and what it shows of one before anything is installed."""

from __future__ import annotations

from rareunet.bundle import Bundle
from rareunet.errors import BundleError
from rareunet.installed_models import installed_models


def read_model(name_or_path: str) -> Bundle:
    """What an installed model (by name) or any bundle (by path) says of itself; it is verified on Apply, by the worker.

    Raises:
        BundleError: none is chosen, there is no such model, or its description can't be read.
    """
    if not name_or_path:
        raise BundleError("no model is chosen: choose one of the list, or the zip or bundle.json of another.")
    return Bundle.read(name_or_path)


def titles() -> dict[str, str]:
    """What to show of each installed model, by name: its title, for an imported one with its name; the name where it
    can't be read."""
    shown = {}
    for name in installed_models():
        try:
            model = read_model(name)
            shown[name] = model.title if name == model.name else f"{model.title} ({name})"
        except BundleError:
            shown[name] = name
    return shown
