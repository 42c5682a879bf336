"""Intensities of a scan, whatever its scanner's units and however much padding lies around it.

Arrays are (C, Z, Y, X), a channel (Z, Y, X).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rareunet.geometry import Box, bounding_box, whole_box

ABOVE_PADDING = 1e-6  # of an intensity range of 1
FLOAT32_SAFE = 1e30


@dataclass(frozen=True)
class IntensityRule:
    """Intensities between two percentiles are stretched to [0, 1] and cut beyond; each channel on its own."""

    lower_percentile: float = 0.5
    upper_percentile: float = 99.5

    def __post_init__(self) -> None:
        if not 0 <= self.lower_percentile < self.upper_percentile <= 100:
            raise ValueError(
                f"intensity percentiles {self.lower_percentile} and {self.upper_percentile}: the lower must be"
                " below the upper, both within 0 to 100."
            )


def normalise(image: np.ndarray, rule: IntensityRule) -> np.ndarray:
    """Stretches each channel of (C, Z, Y, X) to [0, 1] by its own percentiles, as float32.

    Voxels that are not finite, and planes of constant padding around the scan, are left out of the percentiles
    and become 0. A constant channel becomes 0 everywhere. Done twice it changes nothing that matters (percentiles of
    a few hundred voxels move a little): the lowest voxels of the scan itself become ABOVE_PADDING, so that they are
    not taken for padding the next time.
    """
    result = np.zeros(image.shape, dtype=np.float32)
    for channel, normalised in zip(image, result, strict=True):
        content = content_box(channel)
        values = normalised[content]  # a view: all that follows is in place, which large scans need
        if not _fits_float32(channel[content]):
            values = values.astype(np.float64)
        values[...] = channel[content]
        finite = np.isfinite(values)
        scanned = finite & (channel[content] != _padding_value(channel))
        measured = values[scanned]
        low = high = values.dtype.type(0)
        if measured.size:
            ends = [rule.lower_percentile, rule.upper_percentile]
            low, high = np.percentile(measured, ends, overwrite_input=True).astype(values.dtype)
        del measured
        if high > low:
            np.copyto(values, low, where=~finite)
            np.clip(values, low, high, out=values)
            values -= low
            values /= high - low
            np.maximum(values, ABOVE_PADDING, out=values, where=scanned)
        else:
            values[...] = 0
        normalised[content] = values
    return result


def _fits_float32(voxels: np.ndarray) -> bool:
    """Whether float32 tells the voxels apart; not so 1e9 and 1e9 + 1, or 1e300."""
    if not voxels.size or np.can_cast(voxels.dtype, np.float32):
        return True
    low, high = (float(reduce(voxels, axis=None)) for reduce in (np.fmin.reduce, np.fmax.reduce))
    size = max(abs(low), abs(high))
    return size < 1e4 * (high - low) and size < FLOAT32_SAFE


def content_box(channel: np.ndarray) -> Box:
    """The smallest box (z, y, x) outside which a channel (Z, Y, X) holds only its padding value, or no numbers."""
    padding = _padding_value(channel)
    if np.isnan(padding) and np.isfinite(_border(channel)).all():
        return whole_box(channel.shape)
    different = np.isfinite(channel) & (channel != padding)
    return bounding_box(different)


def _padding_value(channel: np.ndarray) -> float:
    """The value that fills more than half of the scan's outer planes, or NaN (which equals nothing).

    Padding added to a scan covers its border; excluding that value makes the percentiles the same however
    much of it there is. Voxels that are not finite, such as those beyond a resampled channel, have no say.
    """
    border = _border(channel)
    border = border[np.isfinite(border)]
    values, counts = np.unique(border, return_counts=True)
    return float(values[counts.argmax()]) if border.size and counts.max() * 2 > border.size else float("nan")


def _border(channel: np.ndarray) -> np.ndarray:
    """The voxels of the outer planes of (Z, Y, X); those on edges twice, corners three times."""
    planes = (channel[[0, -1]], channel[:, [0, -1]], channel[:, :, [0, -1]])
    return np.concatenate([plane.ravel() for plane in planes])
