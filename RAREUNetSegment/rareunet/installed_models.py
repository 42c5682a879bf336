"""Where models are looked for: those that come with the package, those that the user imported, and any folder."""

from __future__ import annotations

import os
from pathlib import Path

from rareunet.bundle_format import DESCRIPTION_FILE, WEIGHTS_FILE
from rareunet.errors import BundleError

PACKAGED_MODELS = Path(__file__).parent / "models"
MODELS_VARIABLE = "RAREUNET_MODELS"


def user_models() -> Path:
    """Folder of the user's own models, there or not: what RAREUNET_MODELS says, else .rareunet/models in the home."""
    return Path(os.path.expanduser(os.environ.get(MODELS_VARIABLE) or "~/.rareunet/models"))


def packaged_models() -> list[str]:
    """Names of the models that come with the package."""
    return _bundles_in(PACKAGED_MODELS)


def installed_models() -> list[str]:
    """Names that find_bundle takes: of the packaged models, then of the user's own."""
    packaged = packaged_models()
    return packaged + [name for name in _bundles_in(user_models()) if name not in packaged]


def find_bundle(name_or_path: str | Path) -> Path:
    """Folder of an installed model (by name) or of any bundle (by its folder, or the bundle.json in it).

    Raises:
        BundleError: there is none.
    """
    path = Path(name_or_path)
    if path.name == DESCRIPTION_FILE:
        path = path.parent
    for folder in (PACKAGED_MODELS / path, user_models() / path, path):
        if (folder / DESCRIPTION_FILE).is_file():
            return folder
    if path.suffix.lower() == ".zip":
        raise BundleError(
            f"{path} is no model yet: import it first, in the panel or by python -m rareunet import-model."
        )
    raise BundleError(
        f"no model {str(name_or_path)!r}: give an installed one ({', '.join(installed_models()) or 'none here'})"
        f" or a folder that holds {DESCRIPTION_FILE} and {WEIGHTS_FILE}."
    )


def _bundles_in(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob(f"*/{DESCRIPTION_FILE}"))
