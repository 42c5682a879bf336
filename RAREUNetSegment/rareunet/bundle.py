"""Bundle: a trained model on disk, a folder of bundle.json, weights.safetensors and SHA256SUMS of both.

No pickle, nothing executable. bundle.json is held against bundle.schema.json and both files against their
hashes before any of it is used.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rareunet.architecture import Architecture
from rareunet.bundle_format import (
    DESCRIPTION_FILE,
    HASHES_FILE,
    WEIGHTS_FILE,
    check_schema,
    hash_file,
    read_description,
    verify,
    write_hashes,
)
from rareunet.errors import BundleError
from rareunet.geometry import Triple
from rareunet.installed_models import find_bundle
from rareunet.intensity import IntensityRule
from rareunet.preprocessing import GridSettings
from rareunet.wording import some

if TYPE_CHECKING:
    import torch

    from rareunet.network import RAREUNet

DEFAULT_MODEL = "hippocampus"
LEFT_BY_SYSTEMS = {".DS_Store", "Thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class Label:
    """A structure: its number in label maps, name, colour (0-255) and SNOMED CT codes."""

    value: int
    name: str
    color: tuple[int, int, int]
    terminology: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Bundle:
    """What bundle.json says, see bundle.schema.json; triples are in the order (S, A, R).

    `depths` are the entry depths that were trained; none given means all that the architecture has. With
    `straighten_turned` scans turned against the patient's axes are brought to a straight grid first; a model that
    has learnt turned scans gets them as they are. Below `certainty_limit` (0 to 1, see certainty.py)
    an answer is doubtful; None where that was not measured. `folder` is where it was loaded from; None for one that has
    not been saved.
    """

    name: str
    title: str
    description: str
    version: str
    license: str
    architecture: Architecture
    reference_spacing_mm: Triple
    channels: tuple[dict[str, str], ...]
    labels: tuple[Label, ...]
    intensity: IntensityRule
    field_of_view_mm: dict[str, Triple]
    training: dict[str, Any] = field(default_factory=dict)
    resolution_card: tuple[dict[str, Any], ...] = ()
    depths: tuple[int, ...] = ()
    straighten_turned: bool = True
    certainty_limit: float | None = None
    folder: Path | None = None

    def __post_init__(self) -> None:
        if not self.depths:
            object.__setattr__(self, "depths", tuple(range(self.architecture.gateways + 1)))

    @property
    def grid_settings(self) -> GridSettings:
        """What to_network_grid makes this model's grids by."""
        return GridSettings(
            self.reference_spacing_mm,
            self.architecture.stages,
            self.deepest,
            self.intensity,
            self.straighten_turned,
        )

    @property
    def deepest(self) -> int:
        """Deepest entry depth that was trained."""
        return self.depths[-1]

    @property
    def channel_names(self) -> tuple[str, ...]:
        return tuple(channel["name"] for channel in self.channels)

    @property
    def structure_names(self) -> tuple[str, ...]:
        return tuple(label.name for label in self.labels)

    def labels_named(self, names: Iterable[str] | None) -> tuple[Label, ...]:
        """The structures of these names, in the model's order; all for None.

        Raises:
            ValueError: no name, or one that the model does not have.
        """
        if names is None:
            return self.labels
        wanted = {names} if isinstance(names, str) else set(names)
        known = self.structure_names
        if unknown := sorted(map(str, wanted.difference(known))):
            raise ValueError(f"{self.name} has no structure {some(unknown)}: choose from {', '.join(known)}.")
        if not wanted:
            raise ValueError(f"no structure is chosen: choose from {', '.join(known)}.")
        return tuple(label for label in self.labels if label.name in wanted)

    @property
    def learnt_displaced(self) -> bool:
        """Whether it was trained by the published protocol, whose labels are displaced at low resolutions."""
        return self._provenance("settings", "fit", "protocol") == "published"

    @property
    def held_out_fold(self) -> int | None:
        """The fold that its training kept out, -1 if none; None where the bundle does not tell."""
        fold = self._provenance("data", "fold")
        return fold if isinstance(fold, int) else None

    @property
    def case_hashes(self) -> frozenset[str]:
        """Stand for the cases that it was trained on, as far as the bundle tells."""
        hashes = self._provenance("data", "case_hashes")
        return frozenset(map(str, hashes)) if isinstance(hashes, list) else frozenset()

    def _provenance(self, *keys: str) -> Any:
        """What `training` says under nested keys; None where it says nothing, since makers write what they like."""
        facts: Any = self.training
        for key in keys:
            facts = facts.get(key) if isinstance(facts, dict) else None
        return facts

    @property
    def sha256(self) -> str:
        """Hash of the weights, which names this model in reports."""
        return hash_file(self._file(WEIGHTS_FILE))

    @classmethod
    def load(cls, name_or_path: str | Path) -> Bundle:
        """Reads and verifies a bundle: an installed model by its name, any other by its folder.

        Raises:
            BundleError: unknown, damaged, tampered with, or not of the schema; the message says which.
        """
        folder = find_bundle(name_or_path)
        verify(folder)
        description = read_description(folder)
        check_schema(description, folder)
        return cls.from_json(description, folder)

    @classmethod
    def read(cls, name_or_path: str | Path) -> Bundle:
        """Reads what a bundle says of itself, and not its weights: for the panel, which shows it at once and before
        fastjsonschema is installed. load() verifies it before a weight is used.

        Raises:
            BundleError: unknown, or not readable as a model's description.
        """
        folder = find_bundle(name_or_path)
        description = read_description(folder)
        with contextlib.suppress(ImportError):
            check_schema(description, folder)
        try:
            return cls.from_json(description, folder)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BundleError(
                f"{folder}: {DESCRIPTION_FILE} is not a model description ({type(error).__name__}: {error})."
            ) from None

    @classmethod
    def from_json(cls, description: dict[str, Any], folder: Path | None = None) -> Bundle:
        """Builds a bundle from the content of bundle.json, which is of the schema."""
        content = {key: value for key, value in description.items() if key != "format"}
        content["labels"] = tuple(
            Label(**{**label, "color": tuple(label["color"])}) for label in content["labels"]
        )
        content["architecture"] = Architecture(**content["architecture"])
        content["intensity"] = IntensityRule(**content["intensity"])
        content["reference_spacing_mm"] = _triple(content["reference_spacing_mm"])
        content["field_of_view_mm"] = {
            key: _triple(value) for key, value in content["field_of_view_mm"].items()
        }
        for name in ("channels", "resolution_card", "depths"):
            content[name] = tuple(content[name])
        return cls(**content, folder=folder)

    def to_json(self) -> dict[str, Any]:
        """The content of bundle.json."""
        description = {"format": 1, **asdict(replace(self, folder=None))}
        del description["folder"]
        if self.certainty_limit is None:
            del description["certainty_limit"]
        for label in description["labels"]:
            if not label["terminology"]:
                del label["terminology"]
        return json.loads(json.dumps(description))

    def save(self, folder: str | Path, network: RAREUNet, *, half: bool = True) -> Bundle:
        """Writes the bundle beside the target and renames it into place, so that it is never a mixture of old and new.

        Args:
            folder: where to; an existing bundle there is replaced.
            network: the trained network.
            half: store weights as float16, which halves the size; they are computed with as float32.
        """
        import torch
        from safetensors.torch import save_file

        dtype = torch.float16 if half else torch.float32
        weights = {k: v.detach().to("cpu", dtype).contiguous() for k, v in network.state_dict().items()}
        if unfit := [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]:
            raise BundleError(
                f"the weights of {self.name} are NaN, infinite or too large for {dtype} ({unfit[0]}): it would find"
                " nothing. Train it again with a lower learning rate, or take an earlier checkpoint."
            )
        return self._write(Path(folder), lambda path: save_file(weights, str(path)))

    def rewrite(self) -> Bundle:
        """Writes a changed description into the bundle's folder, beside the same weights; whole or not at all."""
        weights = self._file(WEIGHTS_FILE)
        return self._write(weights.parent, lambda path: shutil.copyfile(weights, path))

    def _write(self, folder: Path, put_weights: Callable[[Path], object]) -> Bundle:
        description, given = self.to_json(), folder
        folder = folder.resolve()  # "." and ".." are no names
        check_schema(description, folder)
        check_replaceable(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            put_weights(staging / WEIGHTS_FILE)
            (staging / WEIGHTS_FILE).chmod(0o644)  # safetensors writes it for its owner alone
            text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
            (staging / DESCRIPTION_FILE).write_text(text, encoding="utf-8")
            write_hashes(staging)
            staging.chmod(0o755)
            _replace_folder(staging, folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return replace(self, folder=given)

    def load_network(self, device: str | torch.device = "cpu") -> RAREUNet:
        """Builds the network with its weights as float32, ready for inference."""
        from safetensors.torch import load_file

        from rareunet.network import RAREUNet

        network = RAREUNet(self.architecture)
        weights = load_file(str(self._file(WEIGHTS_FILE)))
        try:
            network.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
        except RuntimeError as error:
            raise BundleError(
                f"{self.folder}: the weights do not fit the architecture in bundle.json: {error}"
            ) from None
        return network.to(device).eval()

    def _file(self, name: str) -> Path:
        if self.folder is None:
            raise BundleError(f"bundle {self.name!r} has not been saved yet.")
        return self.folder / name


def _triple(values: Any) -> Triple:
    s, a, r = (float(value) for value in values)
    return s, a, r


def check_replaceable(folder: Path) -> None:
    """Saving replaces the whole folder: refuses one that holds anything but a bundle, beside what systems leave."""
    if folder.exists() and not folder.is_dir():
        raise BundleError(f"{folder} is a file: choose a folder for the model.")
    others = (
        {path.name for path in folder.glob("*")}
        - {DESCRIPTION_FILE, WEIGHTS_FILE, HASHES_FILE}
        - LEFT_BY_SYSTEMS
    )
    if others:
        raise BundleError(
            f"{folder} also holds {', '.join(sorted(others)[:3])}: choose a new folder, saving replaces all of it."
        )


def _replace_folder(new: Path, target: Path) -> None:
    """Puts `new` in the place of `target`; the old folder is removed only after the swap."""
    old = target.with_name(f".{target.name}-old-{os.getpid()}")
    if target.exists():
        os.replace(target, old)
    try:
        os.replace(new, target)
    except OSError:
        if old.exists():
            os.replace(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)
