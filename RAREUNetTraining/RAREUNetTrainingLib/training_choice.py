"""What is chosen in the panel, and the settings that it becomes."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from rareunet.bundle_format import LARGEST_LABEL
from rareunet.wording import times
from rareunet_training.configuration import FitConfig

COLORS = (
    (230, 96, 66), (64, 156, 214), (111, 184, 91), (240, 189, 74),
    (155, 108, 196), (75, 181, 176), (226, 127, 174), (150, 111, 76),
)  # fmt: skip
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")  # as bundle.schema.json has it


@dataclass(frozen=True)
class Structure:
    """A row of the table of structures: number in the label maps, name, colour (red, green, blue; 0 to 255)."""

    value: int
    name: str
    color: tuple[int, int, int]


@dataclass(frozen=True)
class TrainingChoice:
    """The panel's fields.

    Attributes:
        data_folder: holds imagesTr and labelsTr, or images alone if there is a labels_folder.
        output_folder: for everything the run writes.
        model_name: of the bundle.
        structures: what is learnt.
        channels: names of the images of a case.
        reference_spacing_mm, patch: text such as "1 x 1 x 4", along R, A and S as scanners print it.
        config_file: decides everything but the folders, if one is chosen.
        batch_size, precision, patience: as in FitConfig.
    """

    data_folder: str
    labels_folder: str
    output_folder: str
    model_name: str
    structures: tuple[Structure, ...]
    channels: tuple[str, ...]
    reference_spacing_mm: str
    patch: str
    epochs: int
    device: str
    config_file: str = ""
    batch_size: int = FitConfig.batch_size
    precision: str = FitConfig.precision
    patience: int = FitConfig.patience

    @classmethod
    def of(cls, parameters: Any) -> TrainingChoice:
        """What the panel's parameter node holds."""
        return cls(
            data_folder=_absolute(parameters.dataFolder),
            labels_folder=_absolute(parameters.labelsFolder),
            output_folder=parameters.outputFolder,
            model_name=parameters.modelName,
            structures=structures_from_text(parameters.structures),
            channels=tuple(name for word in parameters.channels.split(",") if (name := word.strip())),
            reference_spacing_mm=parameters.referenceSpacing,
            patch=parameters.patch,
            epochs=parameters.epochs,
            device=parameters.device.value,
            config_file=parameters.configFile,
            batch_size=parameters.batchSize,
            precision=parameters.precision,
            patience=parameters.patience,
        )

    def data_obstacle(self) -> str:
        """Why the scans can't be checked, with the next step; '' if they can."""
        if not self.data_folder:
            return _("Choose the folder of the scans.")
        for folder in (self.data_folder, self.labels_folder):
            if folder and not Path(folder).exists():
                return _("{folder} does not exist: choose another folder.").format(folder=folder)
        if self.config_file and not Path(self.config_file).is_file():
            return _("{file} does not exist: choose another configuration file.").format(
                file=self.config_file
            )
        return ""

    def obstacle(self) -> str:
        """Why training can't start, with the next step; '' if it can."""
        return (
            self.data_obstacle()
            or (not self.config_file and self._model_obstacle())
            or self._output_obstacle()
        )

    def _output_obstacle(self) -> str:
        return "" if self.output_folder else _("Choose an output folder.")

    def _model_obstacle(self) -> str:
        if not NAME.fullmatch(self.model_name):
            return _(
                "The model's name may have small letters, digits, '-', '_' and '.': for example my-model."
            )
        if not self.structures:
            return _("Name the structures: press Check to fill in the label values that occur, or add rows.")
        for structure in self.structures:
            if not (0 < structure.value <= LARGEST_LABEL and structure.name):
                return _("Each structure needs a name and a label value from 1.")
        for what in ("value", "name"):
            if len({getattr(structure, what) for structure in self.structures}) < len(self.structures):
                return _("Two structures have the same {what}.").format(what=what)
        try:
            numbers(self.reference_spacing_mm)
            _whole(numbers(self.patch))
        except ValueError as error:
            return str(error)
        return ""

    def check_overrides(self) -> list[str]:
        """What the check judges by, as section.name=value; what is not filled in is left for it to propose.

        Raises ValueError for a spacing that is no three numbers.
        """
        words = [f"model.reference_spacing_mm={list(numbers(self.reference_spacing_mm)[::-1])}"]
        if self.structures:
            words.append(f"model.labels={[asdict(structure) for structure in self.structures]}")
        if self.channels:
            words.append(f"model.channels={list(self.channels)}")
        return words

    def settings(self) -> dict[str, dict[str, Any]]:
        """The sections of a configuration file. Raises ValueError for a spacing or patch that is no three numbers."""
        names = ", ".join(structure.name for structure in self.structures)
        channels = {"channels": self.channels} if self.channels else {}
        return {
            "data": {"folder": self.data_folder, "labels": self.labels_folder},
            "model": {
                "name": self.model_name,
                "title": self.model_name,
                "description": f"{names}.",
                "reference_spacing_mm": numbers(self.reference_spacing_mm)[::-1],
                "labels": [asdict(structure) for structure in self.structures],
                **channels,
            },
            "fit": {
                "patch": _whole(numbers(self.patch))[::-1],
                "epochs": self.epochs,
                "device": self.device,
                "batch_size": self.batch_size,
                "precision": self.precision,
                "patience": self.patience,
            },
        }


def described_data(folder: str) -> tuple[list[Structure], tuple[str, ...]]:
    """Structures and channels that a dataset.json in the folder names; none where there is no such file."""
    from rareunet_training.data.layouts import read_description

    description = read_description([Path(folder)] if folder else [])
    return [
        structure(value, name) for value, name in sorted(description.labels.items())
    ], description.channels


def numbers(text: str) -> tuple[float, float, float]:
    """ "1 x 1 x 4" or "1, 1, 4" -> (1.0, 1.0, 4.0). Raises ValueError for anything but three positive numbers."""
    try:
        a, b, c = (float(word) for word in re.split(r"[x×,;\s]+", text.strip()))
    except ValueError:
        raise ValueError(_("'{text}': write three numbers, such as 1 x 1 x 1.").format(text=text)) from None
    if not all(0 < value < math.inf for value in (a, b, c)):
        raise ValueError(_("'{text}': the numbers must be above 0, and finite.").format(text=text))
    return a, b, c


def text_of(values: Sequence[float]) -> str:
    """(S, A, R) numbers -> "R x A x S"."""
    return times(reversed(values))


def proposed_patch(report: Any, reference_spacing_mm: str) -> str:
    """The patch for the scans of a CheckReport, in voxels of the chosen spacing; "" where none can be told."""
    from rareunet_training.check.proposals import propose_patch

    try:
        spacing = numbers(reference_spacing_mm)[::-1]
    except ValueError:
        return ""
    return text_of(propose_patch(report.cases, spacing) or ())


def structures_to_text(structures: Sequence[Structure]) -> str:
    """One line of JSON, as the parameter node keeps it."""
    return json.dumps([asdict(structure) for structure in structures])


def structures_from_text(text: str) -> tuple[Structure, ...]:
    return tuple(structure(**row) for row in json.loads(text or "[]"))


def structure(value: int, name: str, color: Sequence[int] = (), **_others: Any) -> Structure:
    """A row; one without a colour gets that of its value."""
    red, green, blue = color or COLORS[(value - 1) % len(COLORS)]
    return Structure(int(value), str(name), (red, green, blue))


def _absolute(folder: str) -> str:
    """A configuration file takes other paths from where it lies itself, not from where Slicer was started."""
    return str(Path(folder).absolute()) if folder else ""


def _whole(values: Sequence[float]) -> list[int]:
    if any(value != int(value) for value in values):
        raise ValueError(_("The patch must be whole numbers of voxels, such as 32 x 64 x 32."))
    return [int(value) for value in values]
