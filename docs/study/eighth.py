"""How much do the voxels at 1/8 tell? A small dense network that learns nothing else, out of fold on every case.

    python docs/study/eighth.py published --config RAREUNetTraining/Scripts/hippocampus.toml data.folder=PATH

Its input is all 128 voxels (4 x 8 x 4) of the paper's crop at once, so it knows where in the crop it looks. Prints
mean Dice ± standard error over the cases, and the mean of each fold.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rareunet.intensity import IntensityRule, normalise
from rareunet_training.configuration import TrainingConfig, read_config
from rareunet_training.data.augmentation import augment, build_augmentation
from rareunet_training.data.cases import Case, find_cases, read_folds
from rareunet_training.data.samples import load_sample
from rareunet_training.evaluation.conditions import paper_scale
from rareunet_training.evaluation.metrics import dice_per_class
from rareunet_training.training.loss import segmentation_loss, segmentation_sums

DEPTH, CLASSES, RULE = 3, 3, IntensityRule()
VIEWS = 150  # of each case, in random changes
WIDTH, DROPOUT, BATCH, EPOCHS, RATE, DECAY = 512, 0.4, 64, 3, 1e-3, 1e-2


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("protocol", choices=("aligned", "published"))
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("settings", nargs="*", help="as for fit: data.folder=PATH")
    arguments = parser.parse_intermixed_args()
    config = read_config(arguments.config, arguments.settings)
    folds = read_folds(config.data.folds)
    found = find_cases(config.data.folder, config.data.labels, config.data.exclude)
    cases = {case.name: [*views_of(case, arguments.protocol, config)] for case in found}
    dice = [score(cases, [name for name in fold if name in cases]) for fold in folds]
    every = np.concatenate(dice)
    print(f"{len(every)} cases: {every.mean():.3f} ± {every.std(ddof=1) / len(every) ** 0.5:.3f}")
    print("folds:", *(f"{fold.mean():.3f}" for fold in dice))


def views_of(case: Case, protocol: str, config: TrainingConfig) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Image (Z, Y, X) and classes (Z, Y, X) of a scan at 1/8: first as it is, then VIEWS times in random changes."""
    sample = load_sample(case, [1, 2], RULE)
    transform, condition = build_augmentation(config.augmentation), paper_scale(DEPTH, protocol)
    for seed in range(VIEWS + 1):
        image, label = (
            augment(transform, sample.image, sample.label, seed) if seed else (sample.image, sample.label)
        )
        volume, coarse = condition.present(replace(sample, image=image, label=label), CLASSES)
        yield normalise(volume.voxels, RULE)[0], coarse


def score(cases: dict[str, list[tuple[np.ndarray, np.ndarray]]], held_out: list[str]) -> np.ndarray:
    """Mean Dice of each held-out case, by a network trained on the others."""
    images, labels = tensors([view for name in cases if name not in held_out for view in cases[name]])
    network = train(dense_network(images.shape[1:]), images * 2 - 1, labels, BATCH, EPOCHS)
    shown, references = tensors([cases[name][0] for name in held_out])
    with torch.no_grad():
        answers = network(shown * 2 - 1).argmax(dim=1)
    pairs = zip(answers.numpy(), references.numpy(), strict=True)
    return np.array([np.nanmean(dice_per_class(answer, reference, CLASSES)) for answer, reference in pairs])


def dense_network(shape: Sequence[int]) -> nn.Module:
    """A network of weights drawn by seed 0 that sees a whole crop of `shape` (Z, Y, X), in [-1, 1], at once."""
    torch.manual_seed(0)
    voxels = math.prod(shape)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(voxels, WIDTH),
        nn.LayerNorm(WIDTH),
        nn.GELU(),
        nn.Dropout(DROPOUT),
        nn.Linear(WIDTH, WIDTH),
        nn.GELU(),
        nn.Linear(WIDTH, CLASSES * voxels),
        nn.Unflatten(1, (CLASSES, *shape)),
    )


def train(network: nn.Module, images: Tensor, labels: Tensor, batch: int, epochs: float) -> nn.Module:
    """Trains a network from images (B, Z, Y, X) to logits (B, K, Z, Y, X) by half cross entropy and half Dice."""
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, RATE, weight_decay=DECAY)
    steps = int(epochs * len(images)) // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.1)
    network.train()
    for _ in range(steps):
        drawn = torch.randint(len(images), (batch,))
        loss = segmentation_loss(segmentation_sums(network(images[drawn]), labels[drawn]), alpha=0.5)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.eval()


def tensors(views: list[tuple[np.ndarray, np.ndarray]]) -> tuple[Tensor, Tensor]:
    """Images in [0, 1], as a model gets them, and classes."""
    images, labels = (np.stack(arrays) for arrays in zip(*views, strict=True))
    return torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64))


if __name__ == "__main__":
    main()
