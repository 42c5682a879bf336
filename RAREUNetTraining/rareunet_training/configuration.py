"""Everything a training run can be told: one TOML file, overridden by `section.name=value` on the command line.

Scripts/default.toml lists every setting with its default and the reason for it. No torch here, so that a
configuration is read and checked before anything heavy is loaded.
"""

from __future__ import annotations

import ast
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from rareunet.installed_models import installed_models
from rareunet_training.setting_rules import check_settings, type_error

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class DataConfig:
    """Which scans.

    Attributes:
        folder: holds imagesTr and labelsTr; or a folder of images, a CSV file of cases, or a folder of the published
            code's .nii.pt pairs (see cases.find_cases).
        labels: folder of the label maps where `folder` holds images alone.
        exclude: case names never used, such as shipped samples.
        folds: JSON file of fixed folds; empty makes fold_count folds from the seed.
        fold_count: how many folds to make.
        fold: the fold kept for validation; -1 trains on every case.
        validation_cases: at most so many cases are scored while training; 0 for all.
        cache_gb: scans are kept in memory up to this many GB (10^9 bytes) per machine; the others are read again.
    """

    folder: str = ""
    labels: str = ""
    exclude: list[str] = field(default_factory=list)
    folds: str = ""
    fold_count: int = 5
    fold: int = 0
    validation_cases: int = 12
    cache_gb: float = 4.0


@dataclass(frozen=True)
class ModelConfig:
    """What the bundle says of the model, and its network.

    Attributes:
        name, title, description, version, license: see bundle.schema.json.
        preset: "default" or "paper"; network overrides single fields of it.
        network: fields of rareunet.architecture.Architecture.
        reference_spacing_mm: spacing (S, A, R) of depth 0.
        channels: names of the image channels.
        labels: label tables: value, name, color, terminology.
        start_from: an installed model's name, else a bundle's folder, whose weights the training begins with.
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
    start_from: str = ""

    @property
    def label_values(self) -> list[int]:
        return [int(label["value"]) for label in self.labels]

    @property
    def label_names(self) -> list[str]:
        return [str(label["name"]) for label in self.labels]


@dataclass(frozen=True)
class FitConfig:
    """How to train.

    Attributes:
        method: "rare" (all resolutions through their own entries), or a baseline without gateways: "unet" (the scan's
            own resolution alone), "unet-aug-up" and "unet-aug-pad" (low-resolution scans too, brought back to the
            full grid by resampling or by padding).
        protocol: "aligned" (labels lie where the voxels lie) or "published" (the paper's displaced labels).
        patch: (Z, Y, X) of a training patch in voxels of the reference spacing; a scan of another spacing gives as
            many of its own voxels as cover the same mm.
        wide_patch: (Z, Y, X), in place of `patch` in half of the steps; empty for never. One that holds whole scans,
            padded as they are when they are segmented, teaches the network what it will see then.
        coarse_patches: patches of each scan that a step shows at a quarter of its resolution and less.
        foreground_crops: share of the crops that hold a voxel of a random structure, somewhere in them.
        epochs, batch_size, seed: as named; the batch is the whole one, over all processes.
        learning_rate, weight_decay: of AdamW.
        schedule: after warm_up_epochs, "cosine" falls to 0 at the last epoch; "plateau" (the paper's) halves the rate
            when plateau_patience epochs brought no better loss.
        gradient_clip: largest gradient norm.
        ema_decay: weights are averaged over about 1 / (1 - decay) steps; the average is the model.
        precision: "float32", "bfloat16" or "float16" for the network's arithmetic; weights stay float32.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        workers: processes that prepare batches; 0 prepares them in the training process.
        validate_every: epochs between validations.
        patience: stop after so many epochs without a better mean Dice over all validated resolutions, and keep the
            best weights; 0 trains to the end and keeps the last.
        checkpoint_minutes: longest time between two checkpoints; one is saved after every epoch anyway.
    """

    method: str = "rare"
    protocol: str = "aligned"
    patch: list[int] = field(default_factory=lambda: [32, 64, 32])
    wide_patch: list[int] = field(default_factory=list)
    coarse_patches: int = 2
    foreground_crops: float = 0.33
    epochs: int = 100
    batch_size: int = 2
    seed: int = 0
    learning_rate: float = 1e-3
    weight_decay: float = 3e-5
    schedule: str = "cosine"
    warm_up_epochs: float = 1.0
    plateau_patience: int = 10
    gradient_clip: float = 1.0
    ema_decay: float = 0.995
    precision: str = "float32"
    device: str = "auto"
    workers: int = 0
    validate_every: int = 5
    patience: int = 0
    checkpoint_minutes: float = 10.0


@dataclass(frozen=True)
class LossConfig:
    """Weighted mean over views of [alpha CE + (1 - alpha) soft Dice], plus consistency x the features' distance.

    Attributes:
        alpha: weight of the cross entropy against the Dice loss.
        consistency: weight (lambda in the paper) of pulling a low-resolution view's features towards those of
            the scan's own resolution.
        weights: of the views by name: own, 1/2, 1/4, 1/8, degraded (to thick slices and the like), and restored
            (of the baselines); 1 for those not named.
    """

    alpha: float = 0.5
    consistency: float = 0.3
    weights: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class AugmentationConfig:
    """Strength of each random change of a training patch; 0 turns one off (gamma: 1).

    Attributes:
        rotation_degrees: largest rotation about each axis.
        scaling: largest relative change of size; covers the residuals that are not resampled.
        elastic_probability, elastic_magnitude: small smooth deformations, voxels.
        mirror_left_right: flips along R; only where labels don't name a side.
        gamma: largest exponent of the contrast curve.
        noise: largest standard deviation of added noise, in normalised intensity.
        blur: largest standard deviation of smoothing, voxels.
        bias: largest coefficient of the smooth brightness field.
    """

    rotation_degrees: float = 15.0
    scaling: float = 0.2
    elastic_probability: float = 0.3
    elastic_magnitude: float = 150.0
    mirror_left_right: bool = False
    gamma: float = 1.5
    noise: float = 0.06
    blur: float = 0.8
    bias: float = 0.25


@dataclass(frozen=True)
class LogConfig:
    """Where the numbers go beside history.csv and curves.png.

    Attributes:
        tensorboard: write event files for TensorBoard, if the package is there.
        wandb: project of Weights & Biases to send the numbers to; empty sends nothing anywhere.
    """

    tensorboard: bool = True
    wandb: str = ""


@dataclass(frozen=True)
class TrainingConfig:
    """The whole configuration; each section is documented at its class."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    log: LogConfig = field(default_factory=LogConfig)

    def __post_init__(self) -> None:
        check_settings(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def read_config(path: str | Path | None, overrides: Sequence[str] = ()) -> TrainingConfig:
    """Reads a TOML file, or a config.json that a run has saved, and applies overrides such as "fit.epochs=20".

    Folders in the file are relative to it, those in overrides to the working folder; ~ is the home folder.
    Overrides are written as in Python or as in TOML.

    Raises:
        ValueError: unreadable, an unknown section or name, or a value of the wrong type.
    """
    content: dict[str, Any] = {}
    if path is not None:
        content = _read(Path(path))
        _make_absolute(content, Path(path).resolve().parent)
    given: dict[str, dict[str, Any]] = {}
    for override in overrides:
        key, separator, text = override.partition("=")
        section, dot, name = key.partition(".")
        if not (separator and dot):
            raise ValueError(f"override {override!r}: write section.name=value, for example fit.epochs=20.")
        value = _literal(text)
        if isinstance(value, int | float) and _is_text(section, name):
            value = text  # a folder 2024_01 is no number
        given.setdefault(section, {})[name] = value
    _make_absolute(given, Path.cwd())
    for section, values in given.items():
        content[section] = {**content.get(section, {}), **values}
    return _build(TrainingConfig, content, "")


def _make_absolute(content: dict[str, dict[str, Any]], base: Path) -> None:
    for section, name in (("data", "folder"), ("data", "labels"), ("data", "folds"), ("model", "start_from")):
        value = str(content.get(section, {}).get(name) or "")
        if value and not (name == "start_from" and value in installed_models()):
            content[section][name] = str(base / os.path.expanduser(value))


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows' editors begin a file with a mark
        content: dict[str, Any] = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ValueError(f"{path} can't be read ({error.strerror}): give a configuration file.") from None
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise ValueError(f"{path} is not {kind}: {error}") from None
    sections = content.items() if isinstance(content, dict) else [(path.name, content)]
    for name, section in sections:
        if not isinstance(section, dict):
            raise ValueError(
                f"{path}: {name} is {section!r}: write settings below their section, such as [fit]."
            )
    return content


def _is_text(section: str, name: str) -> bool:
    """Whether a setting holds text."""
    sections = get_type_hints(TrainingConfig)
    return section in sections and get_type_hints(sections[section]).get(name) is str


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        pass
    if text.startswith(("[", "{")):  # else a name that looks like a date would become one
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            pass
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
        if not _is_of(value, hint):
            raise type_error(f"{prefix}{name}", value, hint, getattr(cls(), name))
        values[name] = float(value) if hint is float else value
    return cls(**values)


def _is_of(value: Any, hint: Any) -> bool:
    """Whether a value is of a setting's type; a whole number serves as a float."""
    kind = getattr(hint, "__origin__", hint)
    if kind is list:
        return isinstance(value, list) and all(_is_of(one, get_args(hint)[0]) for one in value)
    if isinstance(value, bool):  # an int to Python
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)
