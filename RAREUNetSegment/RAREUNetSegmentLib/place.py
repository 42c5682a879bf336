"""Where a run looks: told with its result, and held against where earlier segments lie."""

from __future__ import annotations

from typing import Any

import numpy as np

from rareunet.geometry import corners_ras, describe_extent
from RAREUNetSegmentLib.run_request import Request
from RAREUNetSegmentLib.scene import ijk_to_ras, ijk_to_world

# Boxes that share less of the smaller one are two places. To take one place for two costs a second segmentation, to
# take two for one a result: so this is more than what two neighbours, with regions drawn generously, share.
LEAST_SHARED_PART = 0.25


def described_place(request: Request, volume_node: Any) -> str:
    """The box along R, A and S that a request looks at, cut to the scan, in world space as the node lies now.

    Raises:
        ValueError: the node lies under a non-linear transform.
    """
    kind = "whole scan" if request.region is None else "region"
    return f"{kind}, {describe_extent(_corners(request, ijk_to_world(volume_node)))}"


def place_in_scan(request: Request, volume_node: Any) -> np.ndarray:
    """The same box in the scan's own frame, which segments share whatever moves the two: (8, 3) points in mm."""
    return _corners(request, ijk_to_ras(volume_node))


def are_two_places(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether the boxes along R, A and S around (N, 3) points hardly overlap."""
    lower = np.maximum(one.min(axis=0), other.min(axis=0))
    upper = np.minimum(one.max(axis=0), other.max(axis=0))
    smaller = min(np.prod(np.ptp(points, axis=0)) for points in (one, other))
    return bool(np.prod(np.maximum(upper - lower, 0)) < LEAST_SHARED_PART * smaller)


def _corners(request: Request, to_frame: np.ndarray) -> np.ndarray:
    """Of the request's region or whole scan, in a frame that the scan's voxels (i, j, k) have this (4, 4) matrix to."""
    scan, region = request.channels[0], request.region
    whole = corners_ras(scan.shape, to_frame)
    if region is None:
        return whole
    from_world = to_frame @ np.linalg.inv(scan.ijk_to_ras)
    corners = region.corners() @ from_world[:3, :3].T + from_world[:3, 3]
    return np.clip(corners, whole.min(axis=0), whole.max(axis=0))
