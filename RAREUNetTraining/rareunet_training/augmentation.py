"""Random changes of a full-resolution scan, by MONAI: what patients and scanners vary in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai import transforms


@dataclass(frozen=True)
class AugmentationConfig:
    """Strength of each change; a probability of 0 turns one off.

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


def build_augmentation(config: AugmentationConfig, padding: str = "zeros") -> transforms.Compose:
    """Transforms a dict of "image" (C, Z, Y, X) and "label" (1, Z, Y, X)."""
    angle = float(np.deg2rad(config.rotation_degrees))
    keys = ["image", "label"]
    spatial: dict[str, Any] = {
        "keys": keys,
        "mode": ["bilinear", "nearest"],
        "padding_mode": padding,
        "rotate_range": (angle,) * 3,
        "scale_range": (config.scaling,) * 3,
    }
    elastic = transforms.Rand3DElasticd(
        prob=1.0, sigma_range=(5, 7), magnitude_range=(0, config.elastic_magnitude), **spatial
    )
    affine = transforms.RandAffined(prob=0.9, **spatial)
    p = config.elastic_probability
    steps: list[transforms.Transform] = [transforms.OneOf([elastic, affine], weights=[p, 1 - p])]
    if config.mirror_left_right:
        steps.append(transforms.RandFlipd(keys, prob=0.5, spatial_axis=2))
    steps += [
        transforms.RandBiasFieldd("image", prob=0.2, coeff_range=(0.0, config.bias), degree=2),
        transforms.RandGaussianSmoothd(
            "image",
            prob=0.15,
            sigma_x=(0.2, config.blur),
            sigma_y=(0.2, config.blur),
            sigma_z=(0.2, config.blur),
        ),
        transforms.RandAdjustContrastd("image", prob=0.3, gamma=(1 / config.gamma, config.gamma)),
        transforms.RandGaussianNoised("image", prob=0.25, std=config.noise, sample_std=True),
    ]
    return transforms.Compose(steps)


def augment(
    transform: transforms.Compose, image: np.ndarray, label: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Applies the transforms as that seed decides. image (C, Z, Y, X) float, label (Z, Y, X) -> the same."""
    transform.set_random_state(seed=seed)
    data = transform(
        {"image": torch.from_numpy(image), "label": torch.from_numpy(label.astype(np.float32))[None]}
    )
    return (
        np.ascontiguousarray(np.asarray(data["image"], dtype=np.float32)),
        np.asarray(data["label"])[0].round().astype(np.uint8),
    )
