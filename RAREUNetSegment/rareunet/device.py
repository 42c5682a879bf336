"""Which device the network runs on."""

from __future__ import annotations

from functools import cache

import torch
from torch.nn import functional

from rareunet.errors import DeviceError, first_line


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name; "auto" is CUDA, then MPS, then the CPU, whichever first really works.

    Raises:
        DeviceError: unknown name, or the device does not run a convolution.
    """
    if name == "auto":
        return best_device()[0]
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"unknown device {name!r}: choose auto, cpu, cuda, cuda:N or mps.") from None
    if problem := problem_with(name):
        raise DeviceError(f"device {name!r} can't be used: {problem}. Choose auto or cpu.")
    return device


def best_device() -> tuple[torch.device, str]:
    """What "auto" means, and a sentence where a graphics card was passed over, else ''."""
    note = ""
    for name in ("cuda", "mps"):
        problem = problem_with(name)
        if not problem:
            return torch.device(name), ""
        if _is_listed(name):
            note = f"The processor was used in place of the graphics card: {problem}."
    return torch.device("cpu"), note


def problem_with(name: str) -> str:
    """Why a device can't be used, '' if it can.

    A driver may list a device whose kernels fail, and Apple's GPUs lack some of the network's layers in older
    versions of PyTorch (max_pool3d before 2.9), so each kind of layer is run.
    """
    kind = torch.device(name).type
    if not _is_listed(kind):
        return f"this PyTorch sees no {'Apple GPU' if kind == 'mps' else 'CUDA device'}"
    try:
        features, kernel = torch.ones(1, 1, 4, 4, 4, device=name), torch.ones(1, 1, 3, 3, 3, device=name)
        features = functional.instance_norm(functional.conv3d(features, kernel, padding=1))
        features = functional.max_pool3d(functional.leaky_relu(features), 2)
        functional.conv_transpose3d(features, kernel, stride=2, padding=1, output_padding=1).sum().item()
    except Exception as error:  # whatever a driver raises, the answer is that it does not work
        return f"a test convolution failed ({first_line(error)})"
    return ""


def _is_listed(kind: str) -> bool:
    """Whether PyTorch sees such a device, working or not."""
    if kind == "cuda":
        return torch.cuda.is_available()
    return torch.backends.mps.is_available() if kind == "mps" else True


@cache
def computes_in_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself; where it is emulated it takes longer than float32."""
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.cpu, "get_capabilities")):
        return False
    able = torch.cpu.get_capabilities()
    return any(able.get(name) for name in ("avx512_bf16", "amx_bf16"))
