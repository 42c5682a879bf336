"""Volume: the voxels of a scan and where they lie in the patient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rareunet.wording import times


@dataclass(frozen=True)
class Volume:
    """A scan.

    Attributes:
        voxels: (C, Z, Y, X), any real number type; (Z, Y, X) is taken as one channel.
        ijk_to_ras: (4, 4) float64; maps the voxel index (i, j, k) = (x, y, z) to RAS coordinates in mm.
        name: what to call the scan in messages and file names.
        notes: what reading the file had to repair or assume, as sentences.
        nifti_geometry: what the header of a NIfTI file says of where the scan lies, by its fields' names; a label map
            takes it over, so that it lies on the scan in programs that follow another of its forms. None for others.

    Raises:
        ValueError: not a volume with a usable geometry; the message says what was found.
    """

    voxels: np.ndarray
    ijk_to_ras: np.ndarray
    name: str = "scan"
    notes: tuple[str, ...] = ()
    nifti_geometry: Mapping[str, np.ndarray] | None = None

    def __post_init__(self) -> None:
        voxels = np.asarray(self.voxels)
        if voxels.ndim == 3:
            voxels = voxels[np.newaxis]
        matrix = np.asarray(self.ijk_to_ras, dtype=np.float64)
        object.__setattr__(self, "voxels", voxels)
        object.__setattr__(self, "ijk_to_ras", matrix)
        self._check_voxels()
        self._check_matrix()

    def _check_voxels(self) -> None:
        if self.voxels.ndim != 4:
            raise ValueError(
                f"{self.name} has {self.voxels.ndim} dimensions: a 3D scan, or a 4D one with channels, is needed."
            )
        if 0 in self.voxels.shape:
            raise ValueError(f"{self.name} is empty: its size is {times(self.voxels.shape[:0:-1])} voxels.")
        if not (np.issubdtype(self.voxels.dtype, np.number) or self.voxels.dtype == bool) or np.iscomplexobj(
            self.voxels
        ):
            raise ValueError(f"{self.name} holds {self.voxels.dtype} voxels: real numbers are needed.")
        if min(self.voxels.shape[1:]) == 1:
            raise ValueError(
                f"{self.name} is a single slice of {times(self.voxels.shape[:0:-1])} voxels: a 3D scan is needed."
            )

    def _check_matrix(self) -> None:
        matrix = self.ijk_to_ras
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            raise ValueError(
                f"{self.name} has no finite 4 x 4 world matrix. Repair its header or convert it again."
            )
        spacing = np.linalg.norm(matrix[:3, :3], axis=0)
        if spacing.min() <= 0:
            raise ValueError(
                f"{self.name} has a spacing of {times(spacing)} mm: each must be positive. Repair its header."
            )
        if abs(np.linalg.det(matrix[:3, :3] / spacing)) < 1e-3:
            raise ValueError(
                f"{self.name} has a singular world matrix (two axes point the same way). Repair its header."
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Size (Z, Y, X) in voxels."""
        _, z, y, x = self.voxels.shape
        return z, y, x

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along (z, y, x), mm."""
        x, y, z = (float(s) for s in np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0))
        return z, y, x

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel, ml."""
        return abs(float(np.linalg.det(self.ijk_to_ras[:3, :3]))) / 1000
