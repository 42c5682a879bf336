"""Tensors in .nii.pt files, as the published code's preprocessing leaves them. torch is imported on first use.

They are (C, X, Y, Z), turned to RAS and resampled before they were saved, but hold no world matrix.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

from rareunet.errors import first_line, unreadable_file
from rareunet.volume import Volume

TORCH = (".nii.pt",)
ASSUMED = "The file holds no spacing and no orientation: 1 mm and axes that run to R, A and S were assumed."


def read_tensor(path: Path, name: str) -> Volume:
    """Reads a .nii.pt file without running any code in it.

    Args:
        path: the file; a tensor of (C, X, Y, Z) or (X, Y, Z).
        name: what to call the scan.

    Returns:
        voxels (C, Z, Y, X) in the stored type, bfloat16 as float32; the identity as world matrix, and a note on it.

    Raises:
        ValueError: damaged, no plain tensor, or not of 3 or 4 dimensions.
        ImportError: PyTorch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"{path} is a PyTorch tensor, and PyTorch is not installed: install it, or use .nii.gz."
        ) from error
    try:
        tensor = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than a tensor or is damaged, and was not loaded since that could run code"
            f" ({first_line(error)[:100]}). Save the scan's tensor alone with torch.save, or use .nii.gz."
        ) from None
    except Exception as error:  # torch raises many kinds for a damaged file
        raise unreadable_file(path, error) from error
    if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or tensor.is_quantized:
        raise ValueError(f"{path} holds a {type(tensor).__name__}: a plain tensor (C, X, Y, Z) is needed.")
    if tensor.ndim not in (3, 4):
        raise ValueError(f"{path} holds a tensor of the size {tuple(tensor.shape)}: (C, X, Y, Z) is needed.")
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    xyz = tensor.detach().numpy()
    return Volume(np.ascontiguousarray(np.swapaxes(xyz, -1, -3)), np.eye(4), name, (ASSUMED,))
