"""What a click on Apply costs at each entry depth: a cold one, which starts the worker, and a warm one, beside the
network alone.

Applies through the panel over the stand-in of Slicer, from the click to the segmentation in the scene. "Network
alone" is the same network on the same scan in this process. Prints a table and checks limits.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from bench_predictor import SAMPLE, four_channel_predictor

from rareunet import Predictor, Volume, read_volume

ROOT = Path(__file__).parents[2]
DEPTHS = (0, 1, 2, 3)
SECONDS_OVER_THE_NETWORK = 0.3
TIMES_THE_NETWORK = 1.3


class Panel:
    """The opened module, as a user clicks it."""

    def __init__(self) -> None:
        sys.path.insert(0, str(ROOT / "Testing"))
        import standin

        self.application = standin.start()
        module = standin.load_module(ROOT / "RAREUNetSegment" / "RAREUNetSegment.py")
        representation = module.widgetRepresentation()
        representation.enter()
        self.widget = representation.self()

    def choose(self, volume: Volume, model: str) -> None:
        """Takes a scan into the scene, a node for each channel."""
        import slicer
        import slicer.util

        slicer.mrmlScene.Clear(0)
        names = ("inputVolume", "channel2", "channel3", "channel4")
        for name, voxels in zip(names, volume.voxels, strict=False):
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
            slicer.util.updateVolumeFromArray(node, voxels)
            node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(volume.ijk_to_ras))
            setattr(self.widget._parameterNode, name, node)
        self.widget._parameterNode.model = model
        self.widget._parameterNode.device = type(self.widget._parameterNode.device)("cpu")
        self.widget._parameterNode.force = True

    def stop_worker(self) -> None:
        """The next Apply will be a cold one."""
        from RAREUNetSegmentLib.worker_client import shared_worker

        shared_worker().close()

    def apply(self, depth: int) -> float:
        """Seconds from the click on Apply to the segmentation in the scene."""
        parameters = self.widget._parameterNode
        parameters.entryDepth = type(parameters.entryDepth)(str(depth))
        start = time.perf_counter()
        self.widget.ui.applyButton.click()
        while self.widget._run is not None:
            self.application.processEvents()
            time.sleep(0.001)
        seconds = time.perf_counter() - start
        if self.application.dialogs:
            raise SystemExit(self.application.dialogs[-1].text)
        return seconds


def compare(
    title: str, panel: Panel, predictor: Predictor, volume: Volume, runs: int
) -> dict[int, tuple[float, float]]:
    """Prints, and returns by entry depth, the median seconds of (warm Apply, network alone), measured in turns."""
    z, y, x = volume.shape
    print(f"\n{title}: {len(volume.voxels)} x {z} x {y} x {x} (C x Z x Y x X)")
    table = {}
    for depth in DEPTHS:
        panel.stop_worker()
        cold = panel.apply(depth)
        predictor.predict(volume, None, depth, force=True)
        rows = [
            (panel.apply(depth), predictor.predict(volume, None, depth, force=True).seconds["network"])
            for _ in range(runs)
        ]
        warm, network = (statistics.median(column) for column in zip(*rows, strict=True))
        table[depth] = warm, network
        print(
            f"  depth {depth}: cold first Apply {cold:6.3f} s, warm Apply {warm:6.3f} s,"
            f" network alone {network:6.3f} s, over it {warm - network:6.3f} s",
            flush=True,
        )
    return table


def main() -> int:
    panel = Panel()
    sample = read_volume(SAMPLE)
    panel.choose(sample, "hippocampus")
    hippocampus = compare("sample scan, shipped model", panel, Predictor(device="cpu"), sample, 7)
    with tempfile.TemporaryDirectory() as folder:
        predictor = four_channel_predictor(Path(folder))
        voxels = np.random.default_rng(0).random((4, 64, 128, 128), dtype=np.float32)
        scan = Volume(voxels, np.eye(4), "bench")
        panel.choose(scan, str(predictor.bundle.folder))
        large = compare('preset "paper", 4 channels, 1 mm', panel, predictor, scan, 3)
    panel.application.aboutToQuit.emit()
    over = max(warm - network for warm, network in hippocampus.values())
    warm, network = large[0]
    checks = {
        f"sample scan: a warm Apply costs {over:.3f} s more than the network <= {SECONDS_OVER_THE_NETWORK} s": (
            over <= SECONDS_OVER_THE_NETWORK
        ),
        f"4 x 64 x 128 x 128: a warm Apply costs {warm / network:.2f} times the network <= {TIMES_THE_NETWORK}": (
            warm <= TIMES_THE_NETWORK * network
        ),
    }
    print()
    for text, passed in checks.items():
        print(f"{'ok  ' if passed else 'FAIL'} {text}")
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
