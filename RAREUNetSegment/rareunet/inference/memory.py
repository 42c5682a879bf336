"""What one walk through the network needs in memory, told before it runs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rareunet.architecture import Architecture
from rareunet.slabs import SLAB_BYTES

# Slabs and prepared kernels that are alive at a time; measured. A slab is one plane at least.
SLABS_ALIVE = 9


def walk_bytes(
    architecture: Architecture,
    shape: Sequence[int],
    axis_depths: Sequence[int],
    bytes_per_value: int = 4,
    *,
    in_slabs: bool,
) -> float:
    """Largest sum of the features that are alive together in a walk that keeps none, without image and weights.

    Args:
        shape: (Z, Y, X) of the image.
        axis_depths: depth of each axis (z, y, x).
        bytes_per_value: of the features; logits are float32.
        in_slabs: layer by layer in slabs, as on the CPU; else whole layers, which also join the decoder's inputs.
    """
    a, entry_depth = architecture, min(axis_depths)
    voxels = {entry_depth: math.prod(shape)}
    for stage in range(entry_depth, a.stages):
        voxels[stage + 1] = voxels[stage] // 2 ** sum(depth <= stage for depth in axis_depths)
    layer = {stage: a.width(stage) * n * bytes_per_value for stage, n in voxels.items()}
    peaks, skips, entering = [], 0, 0
    for stage in (*range(entry_depth, a.stages), a.stages):
        gateway = stage == entry_depth and stage > 0
        repeats = a.gateway_convolutions if gateway else a.encoder_convolutions
        # Instance norm works in place in slabs, else it makes another layer.
        layers = min(repeats, 2) if in_slabs else 2
        if not gateway and (blocks := a.residual_blocks_of(stage)):
            # The shortcut beside the last layer, and what enters the second block.
            layers = (2 if in_slabs else 3) + (blocks > 1)
        peaks.append(skips + entering + layer[stage] * layers)
        if stage < a.stages:
            skips += layer[stage]
            entering = a.width(stage) * voxels[stage + 1] * bytes_per_value
            peaks.append(skips + entering)
    below = layer[a.stages]
    for stage in reversed(range(entry_depth, a.stages)):
        raised = layer[stage]
        peaks.append(skips + below + raised)
        peaks.append(skips + raised + layer[stage] * (1 if in_slabs else 2))
        skips -= layer[stage]
        peaks.append(skips + layer[stage] * (2 if in_slabs else 3))
        below = layer[stage]
    peaks.append(below + 4 * a.classes * voxels[entry_depth])
    plane = 4 * a.width(entry_depth) * math.prod(shape[1:])
    return float(max(peaks) + (SLABS_ALIVE * max(SLAB_BYTES, plane) if in_slabs else 0))
