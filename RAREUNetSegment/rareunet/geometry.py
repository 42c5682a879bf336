"""Where voxels lie: region of interest, box around it, and canonical orientation with its inverse.

Arrays are (..., Z, Y, X), boxes and axis lists are in the order (z, y, x), coordinates are RAS in mm.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Triple = tuple[float, float, float]
Shape = tuple[int, int, int]
Box = tuple[slice, slice, slice]
EDGE_TOLERANCE = 1e-3  # of a voxel; world matrices are rounded
AXES_TOLERANCE = 1e-3  # of a unit vector; so are these


@dataclass(frozen=True)
class RegionOfInterest:
    """A box in world space.

    Attributes:
        center_ras: centre (R, A, S), mm.
        size_mm: edge lengths along the box' own axes, mm.
        axes: (3, 3), the box' axes as columns in RAS, orthonormal; None for a box along R, A and S.
    """

    center_ras: Triple
    size_mm: Triple
    axes: np.ndarray | None = None

    def __post_init__(self) -> None:
        numbers = [*self.center_ras, *self.size_mm]
        if len(numbers) != 6 or not np.isfinite(numbers).all() or min(self.size_mm) <= 0:
            raise ValueError(
                f"region of interest with centre {self.center_ras} and size {self.size_mm}: a centre and"
                " three positive edge lengths in mm are needed."
            )
        frame = self.frame()
        if frame.shape != (3, 3) or not np.allclose(frame.T @ frame, np.eye(3), atol=AXES_TOLERANCE):
            raise ValueError(
                f"region of interest with axes {frame.tolist()}: three columns of length 1 at right angles are needed;"
                " a box that is sheared can't be a region."
            )

    @classmethod
    def parse(cls, text: str) -> RegionOfInterest:
        """Reads "R,A,S,size_R,size_A,size_S" in mm."""
        try:
            r, a, s, size_r, size_a, size_s = (float(word) for word in text.replace(",", " ").split())
        except ValueError:
            raise ValueError(
                f"region of interest {text!r}: give six numbers in mm, centre then size:"
                " R,A,S,size_R,size_A,size_S."
            ) from None
        return cls((r, a, s), (size_r, size_a, size_s))

    def to_text(self) -> str:
        """What parse() reads; for a box along R, A and S."""
        return ",".join(
            repr(float(number)).removesuffix(".0") for number in (*self.center_ras, *self.size_mm)
        )

    @property
    def extent_sar(self) -> Triple:
        """Extent (S, A, R) of the box along the patient's axes that holds it, mm."""
        r, a, s = np.ptp(self.corners(), axis=0).tolist()
        return s, a, r

    def corners(self) -> np.ndarray:
        """(8, 3) corners in RAS, mm."""
        signs = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)])
        return np.asarray(self.center_ras) + (signs * np.asarray(self.size_mm) / 2) @ self.frame().T

    def frame(self) -> np.ndarray:
        """(3, 3), the box' axes as columns in RAS."""
        return np.eye(3) if self.axes is None else np.asarray(self.axes, dtype=float)


def box_of_region(region: RegionOfInterest, shape: Sequence[int], ijk_to_ras: np.ndarray) -> Box:
    """Voxels (z, y, x) whose centres lie within the region, cut to the scan.

    A region that is turned against the scan gives the voxel box that holds all its corners.

    Raises:
        ValueError: the region lies outside the scan, or within it without holding a voxel's centre.
    """
    ras_to_ijk = np.linalg.inv(ijk_to_ras)
    corners = region.corners() @ ras_to_ijk[:3, :3].T + ras_to_ijk[:3, 3]
    first, last = corners.min(axis=0)[::-1], corners.max(axis=0)[::-1]
    low = np.maximum(np.ceil(first - EDGE_TOLERANCE).astype(int), 0)
    high = np.minimum(np.floor(last + EDGE_TOLERANCE).astype(int) + 1, shape)
    if (low >= high).any():
        # The scan reaches half a voxel further than its outermost voxels' centres.
        if (last <= -0.5).any() or (first >= np.asarray(shape) - 0.5).any():
            raise ValueError(
                f"the region of interest ({describe_extent(region.corners())}) lies outside the scan"
                f" ({describe_extent(corners_ras(shape, ijk_to_ras))}): move it onto the scan."
            )
        raise ValueError(
            f"the region of interest ({describe_extent(region.corners())}) lies between voxel centres: enlarge it."
        )
    z, y, x = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return z, y, x


def within_region(region: RegionOfInterest, box: Box, ijk_to_ras: np.ndarray) -> np.ndarray:
    """bool (Z, Y, X) of a box (z, y, x) of a scan: which voxels' centres lie within the region."""
    axes = region.frame()
    to_region = axes.T @ ijk_to_ras[:3, :3]  # indices i, j, k -> mm along the region's axes
    start = axes.T @ (ijk_to_ras[:3, 3] - np.asarray(region.center_ras))
    tolerance = EDGE_TOLERANCE * np.abs(to_region).sum(axis=1)
    z, y, x = np.ogrid[box]
    inside = np.ones([part.stop - part.start for part in box], dtype=bool)
    for row, offset, reach in zip(to_region, start, np.asarray(region.size_mm) / 2 + tolerance, strict=True):
        inside &= np.abs(row[2] * z + row[1] * y + row[0] * x + offset) <= reach
    return inside


def whole_box(shape: Sequence[int]) -> Box:
    z, y, x = (slice(0, int(n)) for n in shape)
    return z, y, x


def canonical_axes(ijk_to_ras: np.ndarray) -> tuple[int, int, int]:
    """The array axis (0 = Z, 1 = Y, 2 = X) that runs closest to S, to A and to R; of a (3, 3) or (4, 4) matrix."""
    cosines = np.abs(
        ijk_to_ras[:3, :3] / np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    )  # rows R A S, columns i j k
    r, a, s = max(
        itertools.permutations(range(3)), key=lambda ijk: sum(cosines[row, ijk[row]] for row in range(3))
    )
    return 2 - s, 2 - a, 2 - r


def canonical_spacing(ijk_to_ras: np.ndarray) -> Triple:
    """Spacing (S, A, R), mm, of the axes in canonical order, whatever their order in the array."""
    spacing_xyz = np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    s, a, r = (float(spacing_xyz[2 - axis]) for axis in canonical_axes(ijk_to_ras))
    return s, a, r


def corners_ras(shape: Sequence[int], ijk_to_ras: np.ndarray) -> np.ndarray:
    """(8, 3) corners of the field of view of (Z, Y, X) voxels, mm: half a voxel beyond the outermost centres."""
    ends = [(-0.5, size - 0.5) for size in reversed(shape)]
    return np.array(list(itertools.product(*ends))) @ ijk_to_ras[:3, :3].T + ijk_to_ras[:3, 3]


def describe_extent(points_ras: np.ndarray) -> str:
    """From where to where (N, 3) points in RAS, mm, reach, in words."""
    ends = zip("RAS", points_ras.min(axis=0), points_ras.max(axis=0), strict=True)
    # + 0: no -0
    return (
        ", ".join(f"{axis} {round(low, 1) + 0:g} to {round(high, 1) + 0:g}" for axis, low, high in ends)
        + " mm"
    )


def bounding_box(mask: np.ndarray) -> Box:
    """The smallest box (z, y, x) that holds all True voxels of (Z, Y, X); empty slices where there are none."""
    ranges = []
    for axis in range(3):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        ranges.append(slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 0))
    z, y, x = ranges
    return z, y, x


@dataclass(frozen=True)
class Reorientation:
    """Permutes and flips array axes so that z, y, x run to S, A, R; lossless.

    Attributes:
        source_axes: for each canonical axis (z, y, x), the input's axis that supplies it.
        flipped: for each canonical axis, whether it runs backwards in the input.
    """

    source_axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    @classmethod
    def to_ras(cls, ijk_to_ras: np.ndarray) -> Reorientation:
        """The reorientation of a scan with this world matrix; oblique axes go to the nearest canonical."""
        sources = canonical_axes(ijk_to_ras)
        z, y, x = (bool(ijk_to_ras[2 - axis, 2 - source] < 0) for axis, source in enumerate(sources))
        return cls(sources, (z, y, x))

    @property
    def axis_codes(self) -> str:
        """Where the input's axes i, j, k run, such as "RAS" or "LPS"."""
        ends = zip(self.source_axes, ("IS", "PA", "LR"), self.flipped, strict=True)
        letters = {source: pair[not flipped] for source, pair, flipped in ends}
        return letters[2] + letters[1] + letters[0]

    def apply(self, array: np.ndarray) -> np.ndarray:
        """(C, Z, Y, X) of the input -> (C, Z, Y, X) in canonical order; a view."""
        reordered = array.transpose(0, *(axis + 1 for axis in self.source_axes))
        return reordered[self._flips()]

    def invert(self, array: np.ndarray) -> np.ndarray:
        """(C, Z, Y, X) in canonical order -> (C, Z, Y, X) of the input; a view."""
        inverse = np.argsort(self.source_axes)
        return array[self._flips()].transpose(0, *(int(axis) + 1 for axis in inverse))

    def reorder(self, per_axis: Sequence[float]) -> Triple:
        """A value for each input axis (z, y, x) -> the same values in canonical order."""
        z, y, x = (per_axis[axis] for axis in self.source_axes)
        return z, y, x

    def matrix(self, ijk_to_ras: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """World matrix of the reoriented array, given the input's matrix and size (Z, Y, X)."""
        change = np.zeros((4, 4))
        change[3, 3] = 1
        for canonical, (source, flipped) in enumerate(zip(self.source_axes, self.flipped, strict=True)):
            change[2 - source, 2 - canonical] = -1 if flipped else 1
            change[2 - source, 3] = shape[source] - 1 if flipped else 0
        return ijk_to_ras @ change

    def _flips(self) -> tuple[slice, ...]:
        return (slice(None), *(slice(None, None, -1 if flip else 1) for flip in self.flipped))


def seen_mm(box: Box, ijk_to_ras: np.ndarray) -> Triple:
    """Extent (S, A, R) of a box of the scan, mm."""
    spacing = np.linalg.norm(ijk_to_ras[:3, 2::-1], axis=0)
    extent = [(part.stop - part.start) * float(mm) for part, mm in zip(box, spacing, strict=True)]
    s, a, r = Reorientation.to_ras(ijk_to_ras).reorder(extent)
    return s, a, r
