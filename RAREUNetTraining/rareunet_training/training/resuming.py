"""What may differ between a run and its continuation. Settings that would mix two trainings in one model may not."""

from __future__ import annotations

from typing import Any

FIXED = (
    "model.channels", "model.reference_spacing_mm", "fit.method", "fit.protocol", "fit.patch", "fit.wide_patch",
    "fit.batch_size", "fit.seed",
)  # fmt: skip
# Where it runs: changed as a matter of course.
FREE = ("data.cache_gb", "fit.device", "fit.workers", "log.tensorboard", "log.wandb")


def changed_settings(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Changes that are worth telling, as "section.name OLD -> NEW"; both are TrainingConfig.to_dict().

    Settings that only one of them has are of another version of this program, and left out.

    Raises:
        ValueError: a change would mix two trainings.
    """
    changes = {
        f"{section}.{name}": (old[section][name], value)
        for section, values in new.items()
        for name, value in values.items()
        if name in old.get(section, {}) and old[section][name] != value
    }
    mixing = [setting for setting in FIXED if setting in changes]
    if "model.labels" in changes and _values(old) != _values(new):
        mixing.append("model.labels")
    if mixing:
        found = ", ".join(_told(setting, *changes[setting]) for setting in mixing)
        raise ValueError(
            f"these settings differ from those of the run to go on with, and would mix two trainings: {found}."
            " Leave them as they were, or choose a new --output folder."
        )
    return [_told(setting, *pair) for setting, pair in changes.items() if setting not in FREE]


def _values(config: dict[str, Any]) -> list[Any]:
    """The values in the order of the network's classes; names and colors are mere words."""
    return [label.get("value") for label in config["model"]["labels"]]


def _told(setting: str, old: Any, new: Any) -> str:
    return f"{setting} {old!r} -> {new!r}"
