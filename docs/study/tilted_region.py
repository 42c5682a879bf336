"""A region of interest on a tilted head: as it is, or straightened around the region?

    python docs/study/tilted_region.py MODEL HEAD.nii.gz LABELS.nii.gz

The head is sampled anew on grids that are tilted, with a box slice profile, and each of its structures is segmented in
regions of the largest size that the model knows, placed around its middle and up to 5 mm off it. Prints the mean Dice
of all that is found with the label map's structure on the tilted grid, and the paired difference over the regions.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from unittest.mock import patch

import numpy as np
from pairs import print_pairs
from scipy.spatial.transform import Rotation

from rareunet import Predictor, RegionOfInterest, Volume, oblique, read_volume
from rareunet.wording import times
from rareunet.world_grids import image_on_grid

SPACINGS_RAS = [(1, 1, 1), (1, 1, 3), (1, 3, 1), (2, 2, 2)]
DEGREES = [3, 5, 8, 12, 20]
FIELD_MM = (120, 110, 100)
PLACEMENTS = 6  # of the region on each structure


def main() -> None:
    predictor, head, labels = Predictor(sys.argv[1]), read_volume(sys.argv[2]), read_volume(sys.argv[3])
    structures = [value for value in np.unique(labels.voxels) if value]
    masks = [labels.voxels[0] == value for value in structures]
    middle = _middle(np.logical_or.reduce(masks), labels.ijk_to_ras)
    s, a, r = predictor.bundle.field_of_view_mm["largest"]
    dice: dict[str, list[tuple[float, float]]] = {}
    for spacing in SPACINGS_RAS:
        for degrees in DEGREES:
            shape, matrix = _tilted_grid(spacing, degrees, middle)
            scan = Volume(_averaged(head.voxels[0], head.ijk_to_ras, shape, matrix), matrix)
            pairs = []
            for mask in masks:
                wanted = _averaged(mask, labels.ijk_to_ras, shape, matrix) > 0.5
                for centre in _centres(_middle(wanted, matrix)):
                    region = RegionOfInterest(centre, (r, a, s))
                    pairs.append(
                        tuple(_dice(predictor, scan, region, wanted, limit) for limit in (90.0, 0.0))
                    )
            dice[f"{degrees} degrees, {times(spacing)} mm"] = pairs
    print_pairs(("as it is", "straight"), dice)


def _dice(
    predictor: Predictor, scan: Volume, region: RegionOfInterest, wanted: np.ndarray, largest_tilt: float
) -> float:
    with patch.object(oblique, "LARGEST_TILT_AROUND_REGION", largest_tilt):
        found = predictor.predict(scan, region).label_map > 0
    return 2 * np.count_nonzero(found & wanted) / (found.sum() + wanted.sum())


def _tilted_grid(
    spacing: tuple[int, int, int], degrees: float, middle: np.ndarray
) -> tuple[list[int], np.ndarray]:
    """Shape (Z, Y, X) and world matrix of a grid tilted mostly about R, around a point."""
    turn = Rotation.from_euler("xyz", [degrees, 0.3 * degrees, -0.3 * degrees], degrees=True).as_matrix()
    size = np.ceil(np.divide(FIELD_MM, spacing)).astype(int)
    matrix = np.eye(4)
    matrix[:3, :3] = turn * spacing
    matrix[:3, 3] = middle - matrix[:3, :3] @ ((size - 1) / 2)
    return size[::-1].tolist(), matrix


def _averaged(image: np.ndarray, ijk_to_ras: np.ndarray, shape: list[int], matrix: np.ndarray) -> np.ndarray:
    """An image (Z, Y, X) on another grid, each voxel the mean of samples at most 1 mm apart within it."""
    counts = np.ceil(np.linalg.norm(matrix[:3, :3], axis=0) - 1e-6).astype(int)
    samples = []
    for index in np.ndindex(*counts):
        shifted = matrix.copy()
        shifted[:3, 3] += matrix[:3, :3] @ ((np.array(index) + 0.5) / counts - 0.5)
        samples.append(image_on_grid(image, ijk_to_ras, shape, shifted)[0])
    return np.mean(samples, axis=0)


def _centres(middle: np.ndarray) -> Iterator[tuple[float, float, float]]:
    draw = np.random.default_rng(0)
    for number in range(PLACEMENTS):
        r, a, s = (middle + (draw.uniform(-5, 5, 3) if number else 0)).tolist()
        yield r, a, s


def _middle(mask: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Centre (R, A, S) of a mask (Z, Y, X), mm."""
    return matrix[:3, :3] @ np.argwhere(mask).mean(axis=0)[::-1] + matrix[:3, 3]


if __name__ == "__main__":
    main()
