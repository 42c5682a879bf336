"""Random changes of a full-resolution scan, by MONAI: what patients and scanners vary in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai import transforms

from rareunet_training.configuration import AugmentationConfig

# Rotations and deformations act on voxels: across axes whose voxels differ more than this they would bend the anatomy.
LARGEST_ANISOTROPY = 1.5
LEAST_BLUR = 0.2  # voxels; less changes nothing


def build_augmentation(
    config: AugmentationConfig, spacing_mm: Sequence[float] = (1.0, 1.0, 1.0)
) -> transforms.Compose:
    """Transforms a dict of "image" (C, Z, Y, X) and "label" (1, Z, Y, X) of that spacing (Z, Y, X)."""
    angle = float(np.deg2rad(config.rotation_degrees))
    planes = [[spacing_mm[i] for i in range(3) if i != axis] for axis in range(3)]
    isotropic = [max(plane) <= LARGEST_ANISOTROPY * min(plane) for plane in planes]
    keys = ["image", "label"]
    spatial: dict[str, Any] = {
        "keys": keys,
        "mode": ["bilinear", "nearest"],
        "padding_mode": "zeros",
        "rotate_range": tuple(angle if flag else 0.0 for flag in isotropic),
        "scale_range": (config.scaling,) * 3,
    }
    elastic = transforms.Rand3DElasticd(
        prob=1.0, sigma_range=(5, 7), magnitude_range=(0, config.elastic_magnitude), **spatial
    )
    affine = transforms.RandAffined(prob=0.9, **spatial)
    p = config.elastic_probability if all(isotropic) else 0.0
    steps: list[transforms.Transform] = [transforms.OneOf([elastic, affine], weights=[p, 1 - p])]
    blur = (min(LEAST_BLUR, config.blur), config.blur)
    if config.mirror_left_right:
        steps.append(transforms.RandFlipd(keys, prob=0.5, spatial_axis=2))
    steps += [
        transforms.RandBiasFieldd("image", prob=0.2, coeff_range=(0.0, config.bias), degree=2),
        transforms.RandGaussianSmoothd(
            "image", prob=0.15 if config.blur else 0, sigma_x=blur, sigma_y=blur, sigma_z=blur
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
