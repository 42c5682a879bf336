"""How much memory a run will need, told before it starts."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from rareunet.architecture import Architecture
from rareunet.bundle import Bundle
from rareunet.errors import MemoryLadderError, is_out_of_memory
from rareunet.inference.free_memory import free_bytes
from rareunet.network import RAREUNet
from rareunet.preprocessing import padding_for
from rareunet.routing import route_for
from rareunet_training.configuration import TrainingConfig
from rareunet_training.data.dataset import patch_shape
from rareunet_training.data.samples import SampleFacts

# float32 weights, their gradient, AdamW's two moments and the average.
COPIES_OF_WEIGHTS = 5
# Python with PyTorch and MONAI loaded; measured.
BASE_BYTES = 0.6e9
# Gradients of activations, the loss' own tensors and the backend's work space, over the saved activations; measured.
OVERHEAD = 1.2
# Per voxel of a patch in its scan's own voxels, in which it is turned and bent; measured on patches of 320 voxels.
AUGMENTATION_BYTES = 600
GB = 1e9
WHAT_TO_DO = (
    "set fit.precision=bfloat16, lower fit.patch, fit.wide_patch, fit.batch_size, fit.coarse_patches or data.cache_gb,"
    " or choose a smaller network (model.network)."
)


class NotEnoughMemoryError(MemoryError, ValueError):
    """These settings need more memory than there is; others may fit."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes a process will need, and the bytes that are free where they are needed.

    Attributes:
        model: weights, gradients, optimiser, average.
        step: activations of one training step.
        patches: patches while they are augmented, in their scans' own voxels.
        scans: samples kept in memory.
        unkept: what the samples need that do not fit into the cache.
        free: free on the device that trains.
        free_main: free main memory.
        device: the device that trains.
    """

    model: float
    step: float
    patches: float
    scans: float
    unkept: float
    free: float
    free_main: float
    device: str

    @property
    def on_device(self) -> float:
        return self.model + self.step + (self.in_main_memory if self.device == "cpu" else 0)

    @property
    def in_main_memory(self) -> float:
        return self.patches + self.scans + BASE_BYTES

    def describe(self) -> str:
        text = (
            f"memory: model {self.model / GB:.2f} GB, training step {self.step / GB:.2f} GB,"
            f" augmentation {self.patches / GB:.2f} GB, scans {self.scans / GB:.2f} GB;"
            f" {self.free / GB:.1f} GB are free on {self.device}"
        )
        if self.unkept:
            text += f"; another {self.unkept / GB:.1f} GB of scans, beyond data.cache_gb, are read again in each epoch"
        return text

    def check(self) -> None:
        """Raises:
        NotEnoughMemoryError: the run can't fit.
        """
        if self.on_device > self.free:
            raise NotEnoughMemoryError(
                f"training needs about {self.on_device / GB:.1f} GB on {self.device}, but {self.free / GB:.1f} GB are"
                f" free: {WHAT_TO_DO}"
            )
        if self.device != "cpu" and self.in_main_memory > self.free_main:
            raise NotEnoughMemoryError(
                f"the scans and patches of them need {self.in_main_memory / GB:.1f} GB of main memory, but"
                f" {self.free_main / GB:.1f} GB are free: lower data.cache_gb, fit.patch or fit.workers."
            )


@contextmanager
def out_of_memory_told() -> Iterator[None]:
    """Names the settings to lower where a run that the estimate let through runs out of memory.

    Raises:
        NotEnoughMemoryError: in place of what PyTorch or Python raise; what says itself what to do is left as it is.
    """
    try:
        yield
    except (NotEnoughMemoryError, MemoryLadderError):
        raise
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        whose = "the GPU's memory" if isinstance(error, torch.cuda.OutOfMemoryError) else "memory"
        raise NotEnoughMemoryError(f"training ran out of {whose}: {WHAT_TO_DO}") from error


def estimate_memory(
    config: TrainingConfig,
    bundle: Bundle,
    samples: Sequence[SampleFacts],
    device: torch.device,
    processes: int = 1,
) -> MemoryEstimate:
    """Estimates one process of a run.

    Args:
        samples: all that may be cached.
        processes: processes on this machine, which share the cache's budget and the main memory.
    """
    all_scans = float(sum(facts.bytes for facts in samples))
    kept = min(all_scans, config.data.cache_gb * GB)
    # Forked workers share the samples with the training process, others get a copy each.
    copies = (1 if multiprocessing.get_start_method() == "fork" else 1 + config.fit.workers) / processes
    free_main = free_bytes(torch.device("cpu")) / processes
    free = free_bytes(device) if device.type == "cuda" else free_main
    weights, activations = _network_bytes(bundle.architecture, _views(config, bundle, samples, processes))
    # In half precision the activations have half the bytes.
    overhead = OVERHEAD if config.fit.precision == "float32" else OVERHEAD / 2
    return MemoryEstimate(
        COPIES_OF_WEIGHTS * weights,
        overhead * activations,
        AUGMENTATION_BYTES * _largest_patch(config, bundle, samples) * max(1, config.fit.workers),
        copies * kept,
        all_scans - kept,
        free,
        free_main,
        device.type,
    )


def _largest_patch(config: TrainingConfig, bundle: Bundle, samples: Sequence[SampleFacts]) -> int:
    """Voxels of a patch of the scan that is the finest for its size in mm."""
    patch = max(config.fit.patch, config.fit.wide_patch or config.fit.patch, key=math.prod)
    return max(math.prod(patch_shape(patch, bundle.reference_spacing_mm, s.spacing_mm)) for s in samples)


def _views(
    config: TrainingConfig, bundle: Bundle, samples: Sequence[SampleFacts], processes: int
) -> list[tuple[tuple[int, ...], tuple[int, int, int]]]:
    """Shapes (B, C, Z, Y, X) and axis depths of the largest step: the finest spacing, and its coarser views."""
    fit, reference = config.fit, bundle.reference_spacing_mm
    spacing = min((facts.spacing_mm for facts in samples), key=lambda s: s[0] * s[1] * s[2])
    batch = -(-fit.batch_size // processes)
    views = []
    coarser = (1.0, 2.0, *[4.0, 8.0] * fit.coarse_patches, 1.5) if fit.method == "rare" else (1.0, 1.0)
    for factor in coarser:
        route = route_for([s * factor for s in spacing], reference, bundle.deepest)
        patch = max(fit.patch, fit.wide_patch or fit.patch, key=math.prod)
        shape = patch_shape(patch, reference, route.network_spacing_mm)
        padded = [
            n + sum(pad)
            for n, pad in zip(shape, padding_for(shape, route, bundle.architecture.stages), strict=True)
        ]
        views.append(((batch, len(bundle.channels), *padded), route.axis_depths))
    return views


def _network_bytes(
    architecture: Architecture, views: Sequence[tuple[tuple[int, ...], tuple[int, int, int]]]
) -> tuple[int, int]:
    """Bytes of the weights, and of what a forward call keeps for the backward one: counted on PyTorch's device without
    memory, by walking the network as training does."""
    with torch.device("meta"):
        network = RAREUNet(architecture)
        inputs = [(torch.empty(shape), depths) for shape, depths in views]
    kept: dict[int, tuple[torch.Tensor, int]] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            kept[id(tensor)] = (tensor, tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        walks = [network(image, depths) for image, depths in inputs]
    del walks
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    return weights, sum(size for _, size in kept.values())
