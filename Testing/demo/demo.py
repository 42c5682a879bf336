"""Segments the sample scans at several resolutions through the Slicer module's Logic, and draws the result.

Runs over slicer-core and the stand-in of the Slicer application. The samples were left out of the model's
training, so the Dice printed here is honest, though of two scans only.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from functools import lru_cache
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

APT_LINE = "Install what is missing: sudo apt-get install libegl1 libgl1 libosmesa6 libxkbcommon0 libdbus-1-3"


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
    (output / "3d.png").unlink(missing_ok=True)
    sys.path[:0] = [str(ROOT / "Testing"), str(ROOT / "RAREUNetSegment"), str(ROOT / "RAREUNetTraining")]
    segment = segment_in_slicer if start_slicer() else segment_without_slicer
    picture_3d = output / "3d.png"
    results = [
        segment(path, version, output, picture_3d)
        for path in sorted(SAMPLES.glob("hippocampus_???.nii.gz"))
        for version in VERSIONS
    ]
    print_table(results)
    if segment is segment_in_slicer:
        take_panel_picture(output / f"{results[0].case}_4_mm_slices.nii.gz", output / "panel.png")
    from demo_picture import draw

    picture = draw(results, picture_3d if picture_3d.exists() else None, output / "demo.png")
    print(f"\npicture: {picture} (filled: the model; outlined: the label map)\nsegmentations: {output}")
    return 0


def start_slicer() -> bool:
    """Starts the stand-in and loads the module; False where Qt lacks a system library."""
    try:
        import standin

        standin.start()
    except ImportError as error:
        print(
            f"The Slicer module is left out: its panel can't be loaded ({error}).\n{APT_LINE}",
            file=sys.stderr,
        )
        return False
    standin.load_module(str(ROOT / "RAREUNetSegment" / "RAREUNetSegment.py"))
    return True


def segment_without_slicer(path: Path, version: str, output: Path, picture_3d: Path) -> Result:
    """Writes one version of a sample and runs the core's predictor on it."""
    from rareunet import write_label_map
    from rareunet_training.evaluation.metrics import dice_per_class

    file = output / file_name(path, version)
    scan, reference = write_version(path, VERSIONS[version], file)
    start = time.perf_counter()
    prediction = predictor().predict(scan)
    seconds = time.perf_counter() - start
    write_label_map(str(file).replace(".nii.gz", "-label.nii.gz"), prediction.label_map, scan)
    dice = dice_per_class(prediction.label_map, reference, 3)
    route = prediction.route.describe()
    return Result(case_of(path), version, route, seconds, dice, scan, reference, prediction.label_map)


def segment_in_slicer(path: Path, version: str, output: Path, picture_3d: Path) -> Result:
    """Writes one version of a sample, loads it into the scene and runs the module's Logic on it."""
    import slicer

    from rareunet_training.evaluation.metrics import dice_per_class

    file = output / file_name(path, version)
    scan, reference = write_version(path, VERSIONS[version], file)
    volume_node = slicer.util.loadVolume(str(file))
    start = time.perf_counter()
    segmentation_node = module_logic().process(volume_node)
    seconds = time.perf_counter() - start
    segmentation = segmentation_node.GetSegmentation()
    predicted = np.zeros(reference.shape, dtype=np.uint8)
    for index in range(segmentation.GetNumberOfSegments()):
        segment_id = segmentation.GetNthSegmentID(index)
        voxels = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation_node, segment_id, volume_node)
        predicted[np.asarray(voxels) > 0] = index + 1
    slicer.util.saveNode(segmentation_node, str(file).replace(".nii.gz", ".seg.nrrd"))
    if not picture_3d.exists():
        render_3d(segmentation_node, picture_3d)
    route = segmentation_node.GetAttribute("RAREUNet.Route")
    slicer.mrmlScene.Clear(0)
    dice = dice_per_class(predicted, reference, 3)
    return Result(case_of(path), version, route, seconds, dice, scan, reference, predicted)


@lru_cache(maxsize=1)
def module_logic() -> Any:
    """One Logic for all scans, so that the model is loaded once."""
    from RAREUNetSegment import RAREUNetSegmentLogic

    return RAREUNetSegmentLogic()


@lru_cache(maxsize=1)
def predictor() -> Any:
    from rareunet import Predictor

    return Predictor()


def case_of(path: Path) -> str:
    return path.name.removesuffix(".nii.gz")


def file_name(path: Path, version: str) -> str:
    return f"{case_of(path)}_{version.replace(' ', '_')}.nii.gz"


def write_version(path: Path, steps: tuple[int, int, int], file: Path) -> tuple[Any, np.ndarray]:
    """Averages a sample over `steps` voxels and writes it; returns the Volume and its label map."""
    from rareunet import Volume, read_volume
    from rareunet.volume_files import write_volume
    from rareunet_training.data.degradation import degrade, majority_label

    scan, label = read_volume(path), read_volume(path.with_name(path.name.replace(".nii", "-label.nii")))
    sizes = [n // step for n, step in zip(scan.shape, steps, strict=True)]
    coarser = np.diag([*reversed(steps), 1.0])
    coarser[:3, 3] = [(step - 1) / 2 for step in reversed(steps)]
    volume = Volume(
        degrade(scan.voxels.astype(np.float32), sizes, steps), scan.ijk_to_ras @ coarser, path.stem
    )
    write_volume(file, volume)
    return volume, majority_label(label.voxels[0], 3, sizes, steps)


def take_panel_picture(scan: Path, picture: Path) -> None:
    """The module's panel after a click on Apply."""
    import slicer

    from standin import rendering

    slicer.util.loadVolume(str(scan))
    panel = slicer.modules.rareunetsegment.widgetRepresentation()
    panel.enter()
    panel.self().ui.applyButton.click()
    while panel.self()._run is not None:
        slicer.app.processEvents()
    rendering.grab_widget(panel, picture)


def render_3d(segmentation_node: Any, path: Path) -> None:
    """A 3D view of the result, where the machine has the libraries to render."""
    from standin import rendering

    segmentation_node.CreateClosedSurfaceRepresentation()
    try:
        rendering.render_3d(path)
    except Exception as error:  # a missing system library must not take the table away
        print(f"There is no 3D picture ({error}).\n{APT_LINE}", file=sys.stderr)


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
