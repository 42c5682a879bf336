"""Segments the sample scans at several resolutions through the Slicer module's Logic, and draws the result.

Runs over slicer-core and the stand-in of the Slicer application. The samples were left out of the model's
training, so the Dice printed here is honest, though of two scans only.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "Resources" / "SampleData"
# Spacing (z, y, x) in mm of each version of a 1 mm sample scan.
VERSIONS = {
    "native 1 mm": (1, 1, 1),
    "2 mm": (2, 2, 2),
    "4 mm slices": (4, 1, 1),
    "4 mm": (4, 4, 4),
}


@dataclass
class Result:
    """One segmented version of a sample: its route as told to the user, seconds, Dice by structure, voxels to draw."""

    case: str
    version: str
    route: str
    seconds: float
    dice: list[float]
    scan: Any  # rareunet.Volume
    reference: np.ndarray
    predicted: np.ndarray


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("output/demo"), help="folder to write to")
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    sys.path[:0] = [str(ROOT / "Testing"), str(ROOT / "RAREUNetSegment"), str(ROOT / "RAREUNetTraining")]
    import standin

    standin.start()
    standin.load_module(str(ROOT / "RAREUNetSegment" / "RAREUNetSegment.py"))
    paths = sorted(SAMPLES.glob("hippocampus_???.nii.gz"))
    results, picture_3d = [], output / "3d.png"
    for path in paths:
        for version in VERSIONS:
            results.append(segment(path, version, output, picture_3d if not results else None))
    print_table(results)
    from demo_picture import draw

    picture = draw(results, picture_3d if picture_3d.exists() else None, output / "demo.png")
    print(
        f"\npicture: {picture} (filled: the model; outlined: the label map)\nsegmentations: {output}/*.seg.nrrd"
    )
    return 0


def segment(path: Path, version: str, output: Path, picture_3d: Path | None) -> Result:
    """Writes one version of a sample, loads it into the scene and runs the module's Logic on it."""
    import slicer

    from rareunet_training.metrics import dice_per_class
    from RAREUNetSegment import RAREUNetSegmentLogic

    case = path.name.removesuffix(".nii.gz")
    file = output / f"{case}_{version.replace(' ', '_')}.nii.gz"
    scan, reference = write_version(path, VERSIONS[version], file)
    volume_node = slicer.util.loadVolume(str(file))
    start = time.perf_counter()
    segmentation_node = RAREUNetSegmentLogic().process(volume_node)
    seconds = time.perf_counter() - start
    segmentation = segmentation_node.GetSegmentation()
    predicted = np.zeros(reference.shape, dtype=np.uint8)
    for index in range(segmentation.GetNumberOfSegments()):
        segment_id = segmentation.GetNthSegmentID(index)
        voxels = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation_node, segment_id, volume_node)
        predicted[np.asarray(voxels) > 0] = index + 1
    slicer.util.saveNode(segmentation_node, str(file).replace(".nii.gz", ".seg.nrrd"))
    if picture_3d is not None:
        render_3d(segmentation_node, picture_3d)
    route = segmentation_node.GetAttribute("RAREUNet.Route")
    slicer.mrmlScene.Clear(0)
    dice = dice_per_class(predicted, reference, 3)
    return Result(case, version, route, seconds, dice, scan, reference, predicted)


def write_version(path: Path, steps: tuple[int, int, int], file: Path) -> tuple[Any, np.ndarray]:
    """Averages a sample over `steps` voxels and writes it; returns the Volume and its label map."""
    from rareunet import Volume, read_volume
    from rareunet.volume_files import write_volume
    from rareunet_training.degradation import degrade, majority_label

    scan, label = read_volume(path), read_volume(path.with_name(path.name.replace(".nii", "-label.nii")))
    sizes = [n // step for n, step in zip(scan.shape, steps, strict=True)]
    coarser = np.diag([*reversed(steps), 1.0])
    coarser[:3, 3] = [(step - 1) / 2 for step in reversed(steps)]
    volume = Volume(
        degrade(scan.voxels.astype(np.float32), sizes, steps), scan.ijk_to_ras @ coarser, path.stem
    )
    write_volume(file, volume)
    return volume, majority_label(label.voxels[0], 3, sizes, steps)


def render_3d(segmentation_node: Any, path: Path) -> None:
    """A 3D view of the result, where the machine has the libraries to render."""
    from standin import rendering

    segmentation_node.CreateClosedSurfaceRepresentation()
    try:
        rendering.render_3d(path)
    except Exception as error:  # a missing system library must not take the table away
        print(f"no 3D picture ({error}): install libegl1 libgl1 libosmesa6", file=sys.stderr)


def print_table(results: list[Result]) -> None:
    print(f"\n{'scan':<17} {'version':<12} {'Dice anterior':>13} {'posterior':>9} {'seconds':>8}  route")
    for r in results:
        print(
            f"{r.case:<17} {r.version:<12} {r.dice[0]:>13.3f} {r.dice[1]:>9.3f} {r.seconds:>8.2f}  {r.route}"
        )
    print(
        "\nThe first run includes loading the model. Dice is against the label map at the version's own resolution."
    )


if __name__ == "__main__":
    sys.exit(main())
