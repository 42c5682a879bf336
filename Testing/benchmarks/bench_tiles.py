"""How far a segmentation in tiles is from the one in one piece, by size and overlap of the tiles.

    python Testing/benchmarks/bench_tiles.py [SCAN ...] [--labels FOLDER] [--roi R,A,S,size_R,size_A,size_S]

Without scans it takes the samples. Tiles differ from the whole because instance norm's statistics are the tile's.
Prints the mean Dice over structures and scans against the whole, against label maps of the same name, and the work.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from statistics import mean
from unittest.mock import patch

import numpy as np

from rareunet import Predictor, RegionOfInterest, Volume, read_volume
from rareunet.inference import tiling
from rareunet.inference.ladder import Ladder

SAMPLES = Path(__file__).parents[2] / "Resources" / "SampleData"
OVERLAPS = (0.0, 0.5)


def dice(first: np.ndarray, second: np.ndarray, values: list[int]) -> float:
    """Mean over the structures that either shows."""
    pairs = [(first == value, second == value) for value in values]
    return mean(2 * np.sum(a & b) / (a.sum() + b.sum()) for a, b in pairs if a.any() or b.any())


def predict(
    predictor: Predictor, scan: Volume, region: RegionOfInterest | None, rung: int
) -> tuple[np.ndarray, str, float]:
    """The label map of a rung of the ladder, how far its tiles reach in mm, and the work against one piece."""
    chosen = []

    def only(*arguments: object) -> Ladder:
        ladder = Ladder.of(*arguments)
        tiles = list(dict.fromkeys(step.tile for step in ladder.rungs))
        tile = tiles[min(rung, len(tiles) - 1)]
        taken = next(step for step in reversed(ladder.rungs) if step.tile == tile)
        spacing = arguments[2].network_spacing_mm
        extent = " x ".join(f"{n * s:.0f}" for n, s in zip(tile, spacing, strict=True))
        chosen.append((extent, taken.tiles * np.prod(tile) / np.prod(tiles[0])))
        return replace(ladder, rungs=(taken,))

    with patch("rareunet.predictor.Ladder", of=only):
        label_map = predictor.predict(scan, region, force=True).label_map
    return label_map, *chosen[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("scans", nargs="*", type=Path, default=sorted(SAMPLES.glob("hippocampus_???.nii.gz")))
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--roi", type=RegionOfInterest.parse)
    parser.add_argument("--rungs", type=int, default=4)
    arguments = parser.parse_args()
    predictor = Predictor(device="cpu")
    values = [label.value for label in predictor.bundle.labels]
    scans = [read_volume(path) for path in arguments.scans]
    truths = [_label_map(path, arguments.labels) for path in arguments.scans]
    whole = [predict(predictor, scan, arguments.roi, 0)[0] for scan in scans]
    scored = [dice(w, t, values) for w, t in zip(whole, truths, strict=True) if t is not None]
    print(
        f"{len(scans)} scans in one piece: Dice {mean(scored) if scored else float('nan'):.4f} against the labels"
    )
    for rung in range(1, arguments.rungs):
        for overlap in OVERLAPS:
            with patch.object(tiling, "OVERLAP", overlap):
                rows = [predict(predictor, scan, arguments.roi, rung) for scan in scans]
            same = [dice(row[0], w, values) for row, w in zip(rows, whole, strict=True)]
            right = [dice(r[0], t, values) for r, t in zip(rows, truths, strict=True) if t is not None]
            print(
                f"  tiles of {rows[0][1]:>15} mm (S x A x R), overlap {overlap:.2f}:"
                f" work x {mean(r[2] for r in rows):5.2f},"
                f" Dice {mean(same):.4f} (least {min(same):.4f}) against one piece,"
                f" {mean(right) if right else float('nan'):.4f} against the labels",
                flush=True,
            )
    return 0


def _label_map(scan: Path, folder: Path | None) -> np.ndarray | None:
    stem = scan.name.removesuffix(".nii.gz")
    path = folder / scan.name if folder else scan.with_name(f"{stem}-label.nii.gz")
    return read_volume(path).voxels[0] if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
