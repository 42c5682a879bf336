"""Everything a training run can be told: one TOML file, overridden by `section.name=value` on the command line."""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from rareunet.architecture import PRESETS
from rareunet_training.augmentation import AugmentationConfig
from rareunet_training.loss import LossConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class DataConfig:
    """Which scans.

    Attributes:
        folder: holds imagesTr and labelsTr.
        exclude: case names never used, such as shipped samples.
        folds: JSON file of fixed folds; empty makes 5 folds from the seed.
        fold: the fold kept for validation; -1 trains on every case.
        validation_cases: at most so many cases are scored while training; 0 for all.
    """

    folder: str = ""
    exclude: list[str] = field(default_factory=list)
    folds: str = ""
    fold: int = 0
    validation_cases: int = 12


@dataclass(frozen=True)
class ModelConfig:
    """What the bundle says of the model, and its network.

    Attributes:
        name, title, description, version, license: see bundle.schema.json.
        preset: "default" or "paper"; network overrides single fields of it.
        network: fields of rareunet.network.Architecture.
        reference_spacing_mm: spacing (S, A, R) of depth 0.
        channels: names of the image channels.
        labels: label tables: value, name, color, terminology.
    """

    name: str = "model"
    title: str = "Model"
    description: str = ""
    version: str = "0.1.0"
    license: str = "unspecified"
    preset: str = "default"
    network: dict[str, Any] = field(default_factory=dict)
    reference_spacing_mm: list[float] = field(default_factory=lambda: [1.0, 1.0, 1.0])
    channels: list[str] = field(default_factory=lambda: ["image"])
    labels: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class FitConfig:
    """How to train.

    Attributes:
        patch: (Z, Y, X) voxels of a training patch on the scan's own grid.
        protocol: "aligned" (labels lie where the voxels lie) or "published" (the paper's displaced labels).
        epochs, batch_size, seed: as named.
        learning_rate, weight_decay: of AdamW; the rate warms up over warm_up_epochs, then falls by a cosine.
        gradient_clip: largest gradient norm.
        ema_decay: weights are averaged over about 1 / (1 - decay) steps; the average is the model.
        precision: "float32", "bfloat16" or "float16" for the network's arithmetic; weights stay float32.
        device: as for inference.
        validate_every: epochs between validations.
    """

    patch: list[int] = field(default_factory=lambda: [32, 64, 32])
    protocol: str = "aligned"
    epochs: int = 100
    batch_size: int = 2
    seed: int = 0
    learning_rate: float = 1e-3
    weight_decay: float = 3e-5
    warm_up_epochs: float = 1.0
    gradient_clip: float = 1.0
    ema_decay: float = 0.995
    precision: str = "float32"
    device: str = "auto"
    validate_every: int = 5


@dataclass(frozen=True)
class TrainingConfig:
    """The whole configuration; each section is documented at its class."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)

    def __post_init__(self) -> None:
        if self.fit.precision not in ("float32", "bfloat16", "float16"):
            raise ValueError(f"fit.precision is {self.fit.precision!r}: choose float32, bfloat16 or float16.")
        if self.fit.protocol not in ("aligned", "published"):
            raise ValueError(f"fit.protocol is {self.fit.protocol!r}: choose aligned or published.")
        if self.model.preset not in PRESETS:
            raise ValueError(f"model.preset is {self.model.preset!r}: choose one of {', '.join(PRESETS)}.")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def read_config(path: str | Path | None, overrides: Sequence[str] = ()) -> TrainingConfig:
    """Reads a TOML file and applies overrides such as "fit.epochs=20".

    Raises:
        ValueError: unreadable, an unknown section or name, or a value of the wrong type.
    """
    content: dict[str, Any] = {}
    if path is not None:
        try:
            content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{path} is not TOML: {error}") from None
        base = Path(path).resolve().parent
        data = content.get("data", {})
        for name in ("folder", "folds"):
            if data.get(name):
                data[name] = str(base / data[name])
    for override in overrides:
        key, separator, text = override.partition("=")
        section, dot, name = key.partition(".")
        if not (separator and dot):
            raise ValueError(f"override {override!r}: write section.name=value, for example fit.epochs=20.")
        content.setdefault(section, {})[name] = _literal(text)
    return _build(TrainingConfig, content, "")


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(text.lower(), text)


def _build(cls: type, content: dict[str, Any], prefix: str) -> Any:
    """Builds a (nested) dataclass, checking names and types."""
    hints, known = get_type_hints(cls), {f.name for f in fields(cls)}
    if unknown := sorted(set(content) - known):
        raise ValueError(
            f"unknown configuration {prefix}{unknown[0]}: choose one of {', '.join(sorted(known))}."
        )
    values = {}
    for name, value in content.items():
        hint = hints[name]
        if is_dataclass(hint) and isinstance(hint, type):
            values[name] = _build(hint, value, f"{prefix}{name}.")
            continue
        wanted = getattr(hint, "__origin__", hint)
        if wanted is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            raise ValueError(f"{prefix}{name} is {value!r}: {wanted.__name__} is needed.")
        values[name] = value
    return cls(**values)
