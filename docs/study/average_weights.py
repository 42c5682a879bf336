"""Averages the weights of models that were trained on from one another into one model.

    python docs/study/average_weights.py runs/A/hippocampus runs/B/hippocampus --output runs/average

The last model describes the average; the cases of all of them count as seen. Its resolution card is left out.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch

from rareunet.bundle import Bundle


def average(models: list[Bundle], folder: Path) -> Bundle:
    """Writes the average of the models as a bundle of the folder's name.

    Raises:
        ValueError: they are no models of one kind.
    """
    last = models[-1]
    for model in models:
        for what in ("architecture", "labels", "channels", "reference_spacing_mm"):
            if getattr(model, what) != getattr(last, what):
                raise ValueError(f"{model.folder} and {last.folder} differ in {what}: nothing to average.")
    states = [model.load_network().state_dict() for model in models]
    network = last.load_network()
    network.load_state_dict({name: torch.stack([s[name] for s in states]).mean(0) for name in states[0]})
    seen = frozenset[str]().union(*(model.case_hashes for model in models))
    training = {
        **last.training,
        "data": {**last.training.get("data", {}), "case_hashes": sorted(seen)},
        "average_of": [{"name": m.name, "version": m.version, "sha256": m.sha256} for m in models],
    }
    described = replace(last, name=folder.name, training=training, resolution_card=(), folder=None)
    return described.save(folder, network)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", help="folders of bundles")
    parser.add_argument("--output", type=Path, required=True, help="folder of the new bundle")
    arguments = parser.parse_args()
    try:
        print(average([Bundle.load(model) for model in arguments.models], arguments.output).folder)
    except ValueError as error:
        sys.exit(f"error: {error}")
