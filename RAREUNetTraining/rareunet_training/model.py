"""The model that a configuration will make: its network's shape and what its bundle says, before any weight exists."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from rareunet.architecture import Architecture
from rareunet.bundle import Bundle, Label
from rareunet.bundle_format import check_schema
from rareunet.errors import BundleError
from rareunet.intensity import IntensityRule
from rareunet.network import RAREUNet
from rareunet.oblique import learns_turned
from rareunet.wording import some
from rareunet_training.configuration import TrainingConfig
from rareunet_training.data.samples import SampleFacts

ENCODER_FIELDS = ("filters", "max_filters", "encoder_convolutions", "residual_blocks")


def describe_bundle(config: TrainingConfig, training: Sequence[SampleFacts]) -> Bundle:
    """The bundle without weights. A baseline has no gateways, so the one entry depth 0.

    Raises:
        ValueError: there are no labels, the network's shape is impossible, or the bundle could not be saved like this.
    """
    model = config.model
    if not model.labels:
        raise ValueError(
            "model.labels is empty: name each value of the label maps, for example [[model.labels]] value = 1,"
            ' name = "Liver", color = [200, 80, 60]. The check command proposes a table.'
        )
    labels = tuple(Label(**{**label, "color": tuple(label["color"])}) for label in model.labels)
    network = model.network if config.fit.method == "rare" else {**model.network, "gateways": 0}
    preset = asdict(Architecture.preset(model.preset, len(model.channels), len(labels) + 1))
    if unknown := sorted(set(network) - set(preset)):
        raise ValueError(f"model.network has no {unknown[0]}: choose from {', '.join(preset)}.")
    try:
        architecture = Architecture(**(preset | network))
    except TypeError as error:  # a text where a number is due
        raise ValueError(f"model.network is {network}: numbers are needed ({error}).") from None
    extents = np.array([np.multiply(facts.shape, facts.spacing_mm) for facts in training])
    bundle = Bundle(
        name=model.name, title=model.title, description=model.description, version=model.version,
        license=model.license, architecture=architecture,
        reference_spacing_mm=_triple(model.reference_spacing_mm),
        channels=tuple({"name": name} for name in model.channels), labels=labels, intensity=IntensityRule(),
        field_of_view_mm={"smallest": _triple(extents.min(axis=0)), "largest": _triple(extents.max(axis=0))},
        training=_facts(config, training),
        straighten_turned=not learns_turned([facts.tilt_degrees for facts in training]),
    )  # fmt: skip
    try:
        check_schema(bundle.to_json(), Path(model.name))
    except BundleError as error:
        told = str(error).rpartition("of format 1: data.")[2]
        raise ValueError(
            f"a model of name {model.name!r}, title {model.title!r}, version {model.version!r} and license"
            f" {model.license!r} can't be saved: {told} Correct the settings of [model]."
        ) from None
    return bundle


def check_model(config: TrainingConfig) -> None:
    """Refuses what no bundle can say or hold, before any scan is read. Raises ValueError as describe_bundle does."""
    describe_bundle(config, [SampleFacts("any", (1, 1, 1), (1.0, 1.0, 1.0))])


def check_held_out(bundle: Bundle, held_out: Sequence[SampleFacts]) -> None:
    """Refuses held-out cases that the model to start from has learnt: their scores would say nothing.

    Args:
        bundle: from describe_bundle.

    Raises:
        ValueError: some are; says which.
    """
    if learnt := learnt_cases(bundle, [facts.name for facts in held_out]):
        raise ValueError(
            f"model.start_from was trained on {len(learnt)} of the {len(held_out)} held-out cases ({some(learnt)}),"
            " or on others of the same names: set data.fold=-1 to hold none out, leave them out by data.exclude=[...],"
            " or start from another model."
        )


def take_weights(network: RAREUNet, bundle: Bundle) -> None:
    """Gives a network the weights of a trained one, but for those of another shape, such as heads for other labels.

    Raises:
        ValueError: nothing below the heads fits, so that there would be no gain.
    """
    theirs, ours = bundle.load_network().state_dict(), network.state_dict()
    fitting = {
        name: theirs[name] for name in ours if name in theirs and theirs[name].shape == ours[name].shape
    }
    if not any(name.startswith("encoder.1.") for name in fitting):
        raise ValueError(
            f"model.start_from: the network of {bundle.name} has another shape ({_differences(bundle, network)}):"
            " choose its preset and network, or start without it."
        )
    network.load_state_dict({**ours, **fitting})


def _differences(bundle: Bundle, network: RAREUNet) -> str:
    """In what a model's encoder differs from a network's."""
    theirs, ours = asdict(bundle.architecture), asdict(network.architecture)
    return ", ".join(
        f"{name} {theirs[name]} there, {ours[name]} here"
        for name in ENCODER_FIELDS
        if theirs[name] != ours[name]
    )


def learnt_cases(bundle: Bundle, names: Sequence[str]) -> list[str]:
    """The names that a model was trained on, as far as its bundle tells."""
    return [name for name in names if case_hash(name) in bundle.case_hashes]


def case_hash(name: str) -> str:
    """Stands for a case in a bundle, which may leave the hospital: names of cases may be names of patients."""
    return hashlib.blake2b(name.encode(), digest_size=6).hexdigest()


def _facts(config: TrainingConfig, training: Sequence[SampleFacts]) -> dict[str, object]:
    """How the model was made, for the bundle. Cases of the model it started from count as seen."""
    start = Bundle.load(config.model.start_from) if config.model.start_from else None
    seen = {case_hash(facts.name) for facts in training}
    if start is not None:
        seen |= start.case_hashes
    facts = {
        "data": {
            "cases": len(training),
            "fold": config.data.fold,
            "excluded": len(config.data.exclude),
            "case_hashes": sorted(seen),
        },
        "settings": {name: asdict(getattr(config, name)) for name in ("fit", "loss", "augmentation")},
        "software": {"torch": torch.__version__.split("+")[0]},
    }
    if start is not None:
        facts["started_from"] = {"name": start.name, "version": start.version, "sha256": start.sha256}
    return facts


def _triple(values: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    z, y, x = (round(float(v), 4) for v in values)
    return z, y, x
