"""What settings may be: types, choices, ranges and the label table. No torch, as in configuration.py."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from rareunet.architecture import PRESETS
from rareunet.bundle_format import LARGEST_LABEL

TYPES: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text in quotes",
    list[int]: "a list of whole numbers",
    list[float]: "a list of numbers",
    list[str]: "a list of texts",
    list[dict[str, Any]]: "a list of tables",
    dict[str, Any]: "a table",
    dict[str, float]: "a table of numbers",
}

# Where the default does not show how a value is written. In TOML, so that it serves in a file and on the command line.
EXAMPLES = {
    "data.exclude": "['case_1', 'case_2']",
    "model.network": "{filters = 24}",
    "model.channels": "['T1', 'T2']",
    "model.labels": "[{value = 1, name = 'Liver', color = [200, 80, 60]}]",
    "fit.wide_patch": "[48, 64, 48]",
    "loss.weights": "{'1/4' = 2}",
}

CHOICES = {
    "fit.method": ("rare", "unet", "unet-aug-up", "unet-aug-pad"),
    "fit.protocol": ("aligned", "published"),
    "fit.schedule": ("cosine", "plateau"),
    "fit.precision": ("float32", "bfloat16", "float16"),
    "model.preset": tuple(PRESETS),
}

MOST_LABELS = 255  # classes are bytes in memory
VIEWS = ("own", "1/2", "1/4", "1/8", "degraded", "restored")  # by their names in training steps

# Each range in words, as a test that NaN fails too, and the settings that must lie in it.
RANGES: dict[str, tuple[Callable[[float], bool], tuple[str, ...]]] = {
    "at least 1": (
        lambda value: value >= 1,
        ("fit.epochs", "fit.batch_size", "fit.coarse_patches", "fit.validate_every", "augmentation.gamma"),
    ),
    "a fold from 0 on, or -1 to train on all cases": (lambda value: value >= -1, ("data.fold",)),
    "at least 2": (lambda value: value >= 2, ("data.fold_count",)),
    "above 0": (lambda value: value > 0, ("data.cache_gb", "fit.learning_rate", "fit.gradient_clip")),
    "at least 0": (
        lambda value: value >= 0,
        (
            "data.validation_cases", "fit.weight_decay", "fit.warm_up_epochs", "fit.plateau_patience",
            "fit.workers", "fit.patience", "fit.checkpoint_minutes", "loss.consistency",
            "augmentation.rotation_degrees", "augmentation.elastic_magnitude", "augmentation.noise",
            "augmentation.blur", "augmentation.bias",
        ),
    ),
    "0 to 4294967295": (lambda value: 0 <= value < 2**32, ("fit.seed",)),
    "0 to 1": (
        lambda value: 0 <= value <= 1,
        ("loss.alpha", "fit.foreground_crops", "augmentation.elastic_probability"),
    ),
    "at least 0 and below 1": (lambda value: 0 <= value < 1, ("fit.ema_decay", "augmentation.scaling")),
}  # fmt: skip


def type_error(setting: str, value: Any, hint: Any, default: Any) -> ValueError:
    """Says what is wrong with a value's type, and shows one that is right, as it is written in a shell."""
    example = EXAMPLES.get(setting) or repr(default or "text")
    written = f"{setting}={str(default).lower()}" if hint in (bool, int, float) else f'"{setting}={example}"'
    return ValueError(f"{setting} is {value!r}: {TYPES[hint]} is needed, such as {written}.")


def check_settings(settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises ValueError at the first setting that is not one of its choices or lies out of its range.

    Args:
        settings: those of each section, by their names.
    """
    for setting, choices in CHOICES.items():
        if (value := _value(settings, setting)) not in choices:
            raise ValueError(f"{setting} is {value!r}: choose {', '.join(choices)}.")
    for words, (holds, names) in RANGES.items():
        for setting in names:
            if not holds(value := _value(settings, setting)):
                raise ValueError(f"{setting} is {value}: {words} is needed.")
    for setting in ("fit.patch", "fit.wide_patch", "model.reference_spacing_mm"):
        triple = _value(settings, setting)
        if setting == "fit.wide_patch" and not triple:
            continue
        if len(triple) != 3 or not all(value > 0 for value in triple):
            raise ValueError(f"{setting} is {triple}: three positive numbers (Z, Y, X) are needed.")
    for view, weight in settings["loss"]["weights"].items():
        if view not in VIEWS or not _is_positive(weight):
            raise ValueError(
                f"loss.weights has {view!r}: {weight!r}: a number above 0 for any of {', '.join(VIEWS)} is needed."
            )
    _check_labels(settings["model"]["labels"])


def _check_labels(labels: list[dict[str, Any]]) -> None:
    for label in labels:
        if not _is_label(label):
            raise ValueError(
                f"model.labels has {label}: each needs value, name and color, and may have terminology, for example"
                ' {value = 1, name = "Liver", color = [200, 80, 60]}.'
                f" A value is 1 to {LARGEST_LABEL}, a part of a color 0 to 255."
            )
    if len(labels) > MOST_LABELS:
        raise ValueError(f"model.labels names {len(labels)} structures: {MOST_LABELS} are possible.")
    for key in ("value", "name"):
        found = [label[key] for label in labels]
        if twice := next((one for one in found if found.count(one) > 1), None):
            raise ValueError(
                f"model.labels has the {key} {twice!r} twice: give each structure one of its own."
            )


def _is_label(label: dict[str, Any]) -> bool:
    value, name, color = (label.get(key) for key in ("value", "name", "color"))
    return (
        set(label) <= {"value", "name", "color", "terminology"}
        and _is_whole(value, 1, LARGEST_LABEL)
        and isinstance(name, str)
        and name != ""
        and isinstance(color, list | tuple)
        and len(color) == 3
        and all(_is_whole(part, 0, 255) for part in color)
    )


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _is_whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _value(settings: Mapping[str, Mapping[str, Any]], setting: str) -> Any:
    section, _, name = setting.partition(".")
    return settings[section][name]
