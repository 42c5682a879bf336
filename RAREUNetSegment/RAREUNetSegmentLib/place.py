"""Where a result was computed, as text that is kept with it: so that one side's segments don't replace the other's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from rareunet.geometry import corners_ras, describe_extent
from RAREUNetSegmentLib.run_request import Request
from RAREUNetSegmentLib.scene import ijk_to_ras, ijk_to_world

# Boxes that share less of the smaller one are two places. To take one place for two costs a second segmentation, to
# take two for one a result: so this is more than what the regions of two neighbours, drawn generously, share.
LEAST_SHARED_PART = 0.25


@dataclass(frozen=True)
class Place:
    """The box along R, A and S, cut to the scan, that a run looked at: in words that are_two_places() reads.

    Attributes:
        own: mm in the scan's own frame, to compare by: scan and segments may be moved together under a transform.
        world: mm in world space, for people.
    """

    own: str
    world: str

    @classmethod
    def of(cls, request: Request, volume_node: Any) -> Place:
        """Where a request looks, on its scan's node as it lies now.

        Raises:
            ValueError: the node lies under a non-linear transform.
        """
        matrices = ijk_to_ras(volume_node), ijk_to_world(volume_node)
        own, world = (_describe(request, matrix) for matrix in matrices)
        return cls(own, world)


def are_two_places(one: str, other: str) -> bool:
    """Whether two places, in words, hardly overlap; False where one of them can't be read."""
    first, second = _bounds(one), _bounds(other)
    if first.shape != (3, 2) or second.shape != (3, 2):
        return False
    shared = np.minimum(first[:, 1], second[:, 1]) - np.maximum(first[:, 0], second[:, 0])
    smaller = min(np.prod(np.ptp(box, axis=1)) for box in (first, second))
    return bool(np.prod(np.maximum(shared, 0)) < LEAST_SHARED_PART * smaller)


def _describe(request: Request, to_frame: np.ndarray) -> str:
    """The request's region or whole scan in a frame that the scan's voxels (i, j, k) have this (4, 4) matrix to."""
    scan, region = request.channels[0], request.region
    whole = corners_ras(scan.shape, to_frame)
    if region is None:
        return f"whole scan, {describe_extent(whole)}"
    from_world = to_frame @ np.linalg.inv(scan.ijk_to_ras)
    corners = region.corners() @ from_world[:3, :3].T + from_world[:3, 3]
    return f"region {describe_extent(np.clip(corners, whole.min(axis=0), whole.max(axis=0)))}"


def _bounds(text: str) -> np.ndarray:
    """(3, 2) lower and upper bounds along R, A and S, mm; of another shape where the text tells none."""
    number = r"(-?\d+(?:\.\d+)?)"
    return np.array(re.findall(rf"[RAS] {number} to {number}", text), dtype=float)
