"""Trains a hippocampus model's entry at 1/8 alone on the paper's crop: gateway and head of depth 3, in large batches.

    python docs/study/eighth_entry.py MODEL published --output runs/entry --config FILE data.folder=PATH

The cases are those that the model was trained on, by data.fold. Nothing else changes, so what the model answers at 1,
1/2 and 1/4 stays as it is. The new model's resolution card is left out.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch
from eighth import DEPTH, tensors, train, views_of
from torch import Tensor, nn

from rareunet.bundle import Bundle
from rareunet.network import RAREUNet
from rareunet_training.configuration import read_config
from rareunet_training.data.cases import find_cases
from rareunet_training.evaluation.labelled_cases import check_unseen, held_out_cases

BATCH, EPOCHS = 32, 1


class Entry(nn.Module):
    """A network entered at depth 3: images (B, Z, Y, X) to logits (B, K, Z, Y, X)."""

    def __init__(self, network: RAREUNet) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        for part in (network.gateways[str(DEPTH)], network.heads[DEPTH]):
            part.requires_grad_(True)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images[:, None], (DEPTH, DEPTH, DEPTH), keep_features=False).logits


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="name of an installed model or a bundle's folder")
    parser.add_argument("protocol", choices=("aligned", "published"))
    parser.add_argument("--output", type=Path, required=True, help="folder of the new bundle")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("settings", nargs="*", help="as for fit: data.folder=PATH")
    arguments = parser.parse_intermixed_args()
    bundle = Bundle.load(arguments.model)
    config = read_config(arguments.config, arguments.settings)
    held_out = held_out_cases(config)
    if warning := check_unseen(bundle, held_out):
        print(f"warning: {warning}", file=sys.stderr)
    unseen = {case.name for case in held_out.cases}
    cases = find_cases(config.data.folder, config.data.labels, config.data.exclude)
    images, labels = tensors(
        [
            view
            for case in cases
            if case.name not in unseen
            for view in views_of(case, arguments.protocol, config)
        ]
    )
    network = bundle.load_network()
    torch.manual_seed(0)
    train(Entry(network), images, labels, BATCH, EPOCHS)
    training = {
        **bundle.training,
        "started_from": {"name": bundle.name, "version": bundle.version, "sha256": bundle.sha256},
        "stages": [
            *bundle.training.get("stages", []),
            f"gateway and head of depth 3 alone, on the whole crop at 1/8, {arguments.protocol} labels",
        ],
    }
    described = replace(bundle, training=training, resolution_card=(), folder=None)
    print(described.save(arguments.output, network).folder)


if __name__ == "__main__":
    main()
