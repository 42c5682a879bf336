"""Where do native answers err: at the outline of the hippocampus, or where its two parts meet?

    python docs/study/outline.py docs/study/hippocampus_fold?/native --labels PATH/labelsTr

Each argument is a folder of saved label maps, named like the reference ones. Prints, as mean ± SD over the cases, the
Dice of the parts, that of the whole, that of the parts if each found voxel were of the part which is nearest in the
reference, and if the outline were the reference's and each voxel of the part which is nearest in the answer.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.ndimage import distance_transform_edt

from rareunet.volume_files import read_volume
from rareunet_training.evaluation.metrics import dice_per_class

PARTS = (1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--labels", type=Path, required=True, help="folder of the reference label maps")
    arguments = parser.parse_args()
    files = [file for folder in arguments.folders for file in sorted(folder.glob("*.nii.gz"))]
    rows = np.array([measure(_labels(file), _labels(arguments.labels / file.name)) for file in files])
    print(f"{len(rows)} cases")
    for title, values in zip(
        ("parts", "whole", "parts told rightly", "outline told rightly"), rows.T, strict=True
    ):
        print(f"{title:<22}{values.mean():.3f} ± {values.std(ddof=1):.3f}")


def measure(found: np.ndarray, reference: np.ndarray) -> list[float]:
    """The four Dice of two label maps (Z, Y, X) of 0 and PARTS."""
    pairs = (
        (found, reference, len(PARTS)),
        ((found > 0).astype(int), (reference > 0).astype(int), 1),
        (np.where(found > 0, _nearest_part(reference), 0), reference, len(PARTS)),
        (np.where(reference > 0, _nearest_part(found), 0), reference, len(PARTS)),
    )
    return [float(np.mean(dice_per_class(one, other, parts + 1))) for one, other, parts in pairs]


def _nearest_part(labels: np.ndarray) -> np.ndarray:
    """Of each voxel the part which lies nearest to it."""
    return np.argmin([distance_transform_edt(labels != part) for part in PARTS], axis=0) + 1


def _labels(path: Path) -> np.ndarray:
    return np.rint(read_volume(path).voxels[0]).astype(int)


if __name__ == "__main__":
    main()
