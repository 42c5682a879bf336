"""The multi-resolution loss. B batch, K classes, Z Y X axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from rareunet.network import Walk
from rareunet_training.dataset import View


@dataclass(frozen=True)
class LossConfig:
    """Mean over views of [alpha CE + (1 - alpha) soft Dice], plus consistency x the features' distance.

    Attributes:
        alpha: weight of the cross entropy against the Dice loss.
        consistency: weight (lambda in the paper) of pulling a low-resolution view's features towards those of
            the scan's own resolution.
    """

    alpha: float = 0.5
    consistency: float = 0.3


def segmentation_loss(logits: Tensor, labels: Tensor, alpha: float) -> Tensor:
    """logits (B, K, Z, Y, X), labels int64 (B, Z, Y, X). Dice over the foreground classes, the batch as one."""
    logits = logits.float()
    cross_entropy = functional.cross_entropy(logits, labels)
    probabilities = logits.softmax(dim=1)
    reference = functional.one_hot(labels, logits.shape[1]).movedim(-1, 1).to(probabilities)
    axes = (0, 2, 3, 4)
    overlap = (probabilities * reference).sum(axes)[1:]
    total = (probabilities.sum(axes) + reference.sum(axes))[1:]
    # + 1 voxel: a class absent from the reference costs nothing where none is predicted.
    dice = (2 * overlap + 1) / (total + 1)
    return alpha * cross_entropy + (1 - alpha) * (1 - dice.mean())


def consistency_loss(walks: Sequence[Walk], depths: Sequence[Sequence[int]]) -> Tensor:
    """Mean squared distance between each later walk's features and the first walk's, which is the target.

    Compared at the stage where the later walk's axes have all caught up, if both have the same grid there.
    """
    target, terms = walks[0].features, []
    for walk, axis_depths in zip(walks[1:], depths[1:], strict=True):
        stage = max(axis_depths)
        if stage in target and stage in walk.features and walk.features[stage].shape == target[stage].shape:
            terms.append(functional.mse_loss(walk.features[stage].float(), target[stage].detach().float()))
    return torch.stack(terms).mean() if terms else walks[0].logits.new_zeros((), dtype=torch.float32)


def total_loss(
    walks: Sequence[Walk], views: Sequence[View], config: LossConfig
) -> tuple[Tensor, dict[str, float]]:
    """The loss of a step and its parts by view name."""
    parts = [segmentation_loss(w.logits, v.labels, config.alpha) for w, v in zip(walks, views, strict=True)]
    loss = torch.stack(parts).mean()
    report = {view.name: float(part.detach()) for view, part in zip(views, parts, strict=True)}
    if config.consistency > 0:
        consistency = consistency_loss(walks, [view.axis_depths for view in views])
        loss = loss + config.consistency * consistency
        report["consistency"] = float(consistency.detach())
    return loss, report
