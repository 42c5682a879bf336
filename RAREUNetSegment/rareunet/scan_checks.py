"""What makes a scan one that a model can't answer for, or whose answer is doubtful. Arrays are (C, Z, Y, X)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from rareunet.bundle import Bundle
from rareunet.errors import FieldOfViewError
from rareunet.geometry import (
    Box,
    RegionOfInterest,
    Triple,
    box_of_region,
    describe_extent,
    seen_mm,
    whole_box,
    within_region,
)
from rareunet.oblique import straightening_degrees
from rareunet.preprocessing import scanned_box
from rareunet.volume import Volume
from rareunet.wording import times

# Beyond this multiple of the largest field of view in training a scan is refused: it is another kind of scan.
FIELD_OF_VIEW_LIMIT = 2.0
# Beyond this one a warning is due: on a whole head, larger regions brought false findings beside the structure.
FIELD_OF_VIEW_DOUBT = 1.25
# Share of the voxels beside the background that equal their neighbour along x. Label maps of hippocampi have 0.85 and
# more, about 0.6 where only every third voxel is kept; MR scans 0.11 at most, scans in 8 bits that a window has
# saturated or whose voxels were doubled 0.53.
LABEL_MAP_SHARE = 0.6
FEWEST_COMPARED = 20
COMPARED_PLANES = 32
COMPARED_VOXELS = 100_000


def check_scan(volume: Volume, bundle: Bundle, region: RegionOfInterest | None, force: bool) -> list[str]:
    """Refuses scans that the model can't answer for, and returns warnings about the doubtful ones.

    Raises:
        ValueError: wrong number of channels, or no voxel in the region.
        FieldOfViewError: the scan shows far more than the model knows, and force is not set.
    """
    _check_channels(volume, bundle)
    box = _used_box(volume, region)
    return [
        *_equal_channel_warnings(volume, bundle, box),
        *_voxel_warnings(volume, box),
        *_field_of_view_warnings(volume, bundle, box, region, force),
    ]


def is_like_label_map(channel: np.ndarray) -> bool:
    """Whether (Z, Y, X) holds areas of one whole number beside its background, as label maps do and scans don't."""
    planes = channel[:: max(1, len(channel) // COMPARED_PLANES)]
    planes = np.nan_to_num(planes, nan=0, posinf=0, neginf=0)  # what surrounds a resampled label map
    values, counts = np.unique(planes.ravel()[:: max(1, planes.size // COMPARED_VOXELS)], return_counts=True)
    if not (values == np.rint(values)).all():
        return False
    beside = planes[..., :-1] != values[counts.argmax()]
    equal = planes[..., :-1][beside] == planes[..., 1:][beside]
    return equal.size >= FEWEST_COMPARED and bool(equal.mean() > LABEL_MAP_SHARE)


def _check_channels(volume: Volume, bundle: Bundle) -> None:
    channels = len(bundle.channels)
    if volume.voxels.shape[0] == channels:
        return
    names = ", ".join(bundle.channel_names)
    one, several = "Export one volume of it, in grey scale.", "Give one file per channel, in this order."
    raise ValueError(
        f"{volume.name} has {volume.voxels.shape[0]} channel(s), the model {bundle.name} needs {channels}: {names}."
        f" {one if channels == 1 else several}"
    )


def _used_box(volume: Volume, region: RegionOfInterest | None) -> Box:
    if region is None:
        return whole_box(volume.shape)
    box = box_of_region(region, volume.shape, volume.ijk_to_ras)
    if not within_region(region, box, volume.ijk_to_ras).any():  # but its corners' box
        raise ValueError(
            f"the region of interest ({describe_extent(region.corners())}) lies outside the scan or between voxel"
            " centres: move it onto the scan, or enlarge it."
        )
    return box


def _equal_channel_warnings(volume: Volume, bundle: Bundle, box: Box) -> list[str]:
    names = bundle.channel_names
    channels = list(zip(names, volume.voxels[(slice(None), *box)], strict=True))
    return [
        f"the channels {one} and {other} of {volume.name} are the same scan: check that the right ones were chosen."
        for (one, ours), (other, theirs) in combinations(channels, 2)
        if np.array_equal(ours, theirs, equal_nan=True)
    ]


def _voxel_warnings(volume: Volume, box: Box) -> list[str]:
    voxels = volume.voxels[(slice(None), *box)]
    warnings = []
    if any(is_like_label_map(channel) for channel in voxels):
        warnings.append(
            f"{volume.name} looks like a label map (areas of one whole number), not like a scan: check that the right"
            " one was chosen."
        )
    if not np.isfinite(voxels).all():
        voxels = volume.voxels[(slice(None), *scanned_box(volume, box))]  # around it they are padding
    if count := voxels.size - int(np.count_nonzero(np.isfinite(voxels))):
        # join_channels leaves NaN where a channel shows nothing.
        beyond = ", or lie beyond a channel's field of view" if len(voxels) > 1 else ""
        warnings.append(
            f"{volume.name} has voxels that are NaN or infinite{beyond} ({count}): they count as the lowest intensity."
        )
    return warnings


def shown_mm(
    box: Box, ijk_to_ras: np.ndarray, region: RegionOfInterest | None, straighten_turned: bool
) -> Triple:
    """Extent (S, A, R) of what the network gets, mm: the region alone where the scan is straightened for it.

    Args:
        box: the voxels (z, y, x) that hold it.
        straighten_turned: see Bundle.
    """
    extent = seen_mm(box, ijk_to_ras)
    if region is None or not straighten_turned or not straightening_degrees(ijk_to_ras, has_region=True):
        return extent
    s, a, r = (min(pair) for pair in zip(extent, region.extent_sar, strict=True))
    return s, a, r


def _field_of_view_warnings(
    volume: Volume, bundle: Bundle, box: Box, region: RegionOfInterest | None, force: bool
) -> list[str]:
    largest, smallest = bundle.field_of_view_mm["largest"], bundle.field_of_view_mm["smallest"]
    matrix, straighten = volume.ijk_to_ras, bundle.straighten_turned
    seen = shown_mm(box, matrix, region, straighten)
    if excess(seen, largest) > FIELD_OF_VIEW_DOUBT:  # perhaps by padding alone
        seen = shown_mm(scanned_box(volume, box), matrix, region, straighten)
    factor = excess(seen, largest)
    shown, known, least = (times(reversed(extent), ".0f") for extent in (seen, largest, smallest))
    message = (
        f"{volume.name} shows {shown} mm, the model {bundle.name} knows crops of up to {known} mm (R x A x S)"
    )
    advice = "place a region of interest of about that size around the structure."
    if factor > FIELD_OF_VIEW_LIMIT and not force:
        raise FieldOfViewError(f"{message}: {advice}")
    if factor > FIELD_OF_VIEW_DOUBT:
        return [f"{message}: expect false findings, or {advice}"]
    if any(s < 0.6 * m for s, m in zip(seen, smallest, strict=True)):
        return [
            f"{volume.name} shows only {shown} mm, less than the {least} mm (R x A x S) that the"
            f" model {bundle.name} was trained on: the structure may be cut off."
        ]
    return []


def excess(extent: Sequence[float], largest: Sequence[float]) -> float:
    """By which factor an extent (S, A, R) exceeds the largest that the model knows."""
    return max(mm / limit for mm, limit in zip(extent, largest, strict=True))
