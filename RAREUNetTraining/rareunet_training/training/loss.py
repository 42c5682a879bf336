"""The multi-resolution loss. B batch, K classes, Z Y X axes.

Every term is first written as sums over voxels, which are added up over the processes of a distributed run
before the loss is formed: so the loss of a batch is the same however many processes share it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from rareunet.network import Walk
from rareunet_training.configuration import LossConfig
from rareunet_training.data.views import View

Reduce = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LossParts:
    """The loss of a step: the value to minimise and what it is made of, by view name (the mean over its patches)."""

    total: Tensor
    parts: dict[str, float]


def segmentation_sums(logits: Tensor, labels: Tensor) -> Tensor:
    """Sums that make up cross entropy and soft Dice.

    Args:
        logits: (B, K, Z, Y, X).
        labels: int64 (B, Z, Y, X).

    Returns:
        (2 + 2 (K - 1)): cross entropy, voxels, then overlap and size of each foreground class.
    """
    logits = logits.float()
    cross_entropy = functional.cross_entropy(logits, labels, reduction="sum")
    probabilities = logits.softmax(dim=1)
    reference = functional.one_hot(labels, logits.shape[1]).movedim(-1, 1).to(probabilities)
    axes = (0, 2, 3, 4)
    overlap = (probabilities * reference).sum(axes)[1:]
    size = (probabilities.sum(axes) + reference.sum(axes))[1:]
    voxels = cross_entropy.new_tensor(float(labels.numel()))
    return torch.cat([torch.stack([cross_entropy, voxels]), overlap, size])


def segmentation_loss(sums: Tensor, alpha: float) -> Tensor:
    """alpha cross entropy + (1 - alpha) soft Dice loss from segmentation_sums; the batch counts as one volume."""
    overlap, size = sums[2:].chunk(2)
    # + 1 voxel: a class absent from the reference costs nothing where none is predicted.
    dice = (2 * overlap + 1) / (size + 1)
    return alpha * sums[0] / sums[1].clamp(min=1) + (1 - alpha) * (1 - dice.mean())


def consistency_sums(walks: Sequence[Walk], depths: Sequence[Sequence[int]]) -> Tensor:
    """(views - 1, 2): squared distance of each later walk's features to the first walk's, and their number.

    Compared at the stage where the later walk's axes have all caught up; (0, 0) where the grids differ there. The
    first walk is the target and gets no gradient.
    """
    target = walks[0].features
    sums = [walks[0].logits.new_zeros(0, 2, dtype=torch.float32)]
    for walk, axis_depths in zip(walks[1:], depths[1:], strict=True):
        stage = max(axis_depths)
        pair = walk.logits.new_zeros(2, dtype=torch.float32)
        if stage in target and stage in walk.features and walk.features[stage].shape == target[stage].shape:
            ours, theirs = walk.features[stage].float(), target[stage].detach().float()
            distance = functional.mse_loss(ours, theirs, reduction="sum")
            pair = torch.stack([distance, distance.new_tensor(float(ours.numel()))])
        sums.append(pair[None])
    return torch.cat(sums)


def consistency_loss(sums: Tensor) -> Tensor:
    """Mean over the views that could be compared of their mean squared distance; 0 where none could."""
    compared = sums[sums[:, 1] > 0]
    return (compared[:, 0] / compared[:, 1]).mean() if len(compared) else sums.sum() * 0


def total_loss(
    walks: Sequence[Walk],
    views: Sequence[View],
    config: LossConfig,
    weight: float = 1.0,
    reduce: Reduce = lambda sums: sums,
) -> LossParts:
    """The loss of a step.

    Args:
        walks, views: of the same scans; the first is their own resolution, and those of its patch are held against
            its features.
        config: weights of the terms.
        weight: 0 where this process repeats a case only to take part in the step.
        reduce: adds a vector up over the processes and lets gradients through.
    """
    rows = [segmentation_sums(w.logits, v.labels) for w, v in zip(walks, views, strict=True)]
    same = [(w, v) for w, v in zip(walks, views, strict=True) if v.patch == views[0].patch]
    pairs = consistency_sums([w for w, _ in same], [v.axis_depths for _, v in same])
    length = len(rows[0])
    reduced = reduce(torch.cat([*rows, pairs.flatten()]) * weight)
    rows = list(reduced[: length * len(rows)].split(length))
    parts = [segmentation_loss(row, config.alpha) for row in rows]
    weights = parts[0].new_tensor([config.weights.get(view.name, 1.0) for view in views])
    loss = (torch.stack(parts) * weights).sum() / weights.sum()
    by_name: dict[str, list[Tensor]] = {}
    for view, part in zip(views, parts, strict=True):
        by_name.setdefault(view.name, []).append(part.detach())
    report = {name: float(torch.stack(of_name).mean()) for name, of_name in by_name.items()}
    if config.consistency > 0:
        consistency = consistency_loss(reduced[length * len(rows) :].view(-1, 2))
        loss = loss + config.consistency * consistency
        report["consistency"] = float(consistency.detach())
    return LossParts(loss, report)
