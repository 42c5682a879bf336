"""What the tests of the Segment module share: scans made by hand, a predictor that answers at once, tiny models."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

ROOT = Path(__file__).parent.parent
MODULE = ROOT / "RAREUNetSegment" / "RAREUNetSegment.py"
TERMINOLOGY = {
    "category": ["SCT", "123037004", "Anatomical Structure"],
    "type": ["SCT", "5366008", "Hippocampus"],
    "type_modifier": ["SCT", "255549009", "Anterior"],
}


# A worker whose predictor needs no torch and hence starts in a moment.
LIGHT_WORKER = """
import sys, time, types
sys.path.insert(0, {folder!r})
from segment_helpers import FakePredictor
import rareunet.worker.server
class Predictor(FakePredictor):
    def __init__(self, bundle, device):
        super().__init__()
    def predict(self, volume, *arguments, progress, **options):
        progress("network", 0.5)
        {instead}
        return FakePredictor.predict(self, volume, *arguments, **options)
sys.modules["rareunet.predictor"] = types.SimpleNamespace(Predictor=Predictor)
sys.modules["rareunet.device"] = types.SimpleNamespace(choose_device=str)  # without torch
{before}
rareunet.worker.server.main()
"""


def light_worker(instead="", before=""):
    """Command of a worker that finds what FakePredictor finds.

    Args:
        instead: statements to run in predict() before it answers, separated by semicolons.
        before: statements to run before the first message.
    """
    folder = str(Path(__file__).parent)
    code = LIGHT_WORKER.format(folder=folder, instead=instead or "pass", before=before)
    return sys.executable, ("-c", code)


def behind_launcher(command):
    """The same command as Slicer's PythonSlicer runs it."""
    program, arguments = command
    return program, (str(Path(__file__).parent / "standin" / "launcher.py"), *arguments)


def wait_until(condition, seconds=60):
    """Lets events happen until a condition holds, as Slicer's own loop does."""
    import slicer

    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        slicer.app.processEvents()
        time.sleep(0.005)


def is_alive(pid):
    """Whether a process still runs."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


class Outcome:
    """What a run told: its steps, then an answer or a failure."""

    def __init__(self, client, request):
        self.steps, self.answer, self.failure = [], None, None
        client.segment(
            request, lambda step, fraction: self.steps.append(step), self.take_answer, self.take_failure
        )

    def take_answer(self, answer):
        self.answer = answer

    def take_failure(self, failure):
        self.failure = failure

    def wait(self):
        wait_until(lambda: self.answer is not None or self.failure is not None)
        return self


def finish_run(panel):
    """Waits until the panel's run is over."""
    wait_until(lambda: panel._run is None)


def segmentations():
    """All segmentation nodes of the scene."""
    import slicer.util

    return slicer.util.getNodesByClass("vtkMRMLSegmentationNode")


def add_scan(array=None, ijk_to_ras=None, name="scan"):
    """A volume node with these voxels (Z, Y, X) and this world matrix."""
    import slicer
    import slicer.util

    if array is None:
        array = np.random.default_rng(0).normal(100, 20, (24, 26, 28)).astype(np.float32)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, array)
    if ijk_to_ras is not None:
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.asarray(ijk_to_ras, dtype=float)))
    return node


def add_transform(matrix, name="transform"):
    import slicer
    import slicer.util

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.asarray(matrix, dtype=float)))
    return node


def make_labels(values=(5, 9), names=("Front", "Back")):
    from rareunet.bundle import Label

    colors = [(230, 96, 66), (64, 156, 214)]
    rows = zip(values, names, colors, strict=True)
    return tuple(Label(value, name, color, TERMINOLOGY) for value, name, color in rows)


def answer_by(predictor):
    """From now on the module's runs are answered by this predictor, at once."""
    sys.modules["RAREUNetSegment"].shared_worker = lambda: InstantWorker(predictor)


class InstantWorker:
    """Stands for the worker process: segment() returns when the predictor has answered or failed."""

    busy = False

    def __init__(self, predictor):
        self.predictor = predictor

    def segment(self, request, on_progress, on_answer, on_failure):
        from rareunet.channel_grids import join_channels
        from rareunet.worker import failures

        try:
            answer = self.predictor.predict(
                join_channels(request.channels, request.channels[0].name),
                request.region,
                request.entry_depth,
                force=request.force,
                memory_gb=request.memory_gb,
                structures=request.structures,
                progress=on_progress,
            )
        except Exception as error:
            on_failure(failures.from_exception(0, error))
        else:
            on_answer(answer)


class FakePredictor:
    """Finds the first label where the scan is above 1000 and the second where it is below -1000; as the core does,
    it answers on the scan's grid.
    """

    def __init__(self, labels=None, error=None):
        self.bundle = SimpleNamespace(labels=labels or make_labels(), name="fake", channel_names=("T1",))
        self.error = error
        self.calls = []

    def predict(
        self,
        volume,
        region=None,
        entry_depth=None,
        *,
        force=False,
        memory_gb=None,
        structures=None,
        progress=lambda step, fraction: None,
    ):
        from rareunet.geometry import box_of_region, whole_box
        from rareunet.prediction import Prediction
        from rareunet.routing import route_for

        self.calls.append(
            SimpleNamespace(
                volume=volume,
                region=region,
                entry_depth=entry_depth,
                force=force,
                memory_gb=memory_gb,
                structures=structures,
            )
        )
        progress("network", 0.5)
        if self.error:
            raise self.error
        shape = volume.shape
        box = box_of_region(region, shape, volume.ijk_to_ras) if region else whole_box(shape)
        label_map = np.zeros(shape, np.uint8)
        first, second = (label.value for label in self.bundle.labels)
        voxels = volume.voxels[0][box]
        label_map[box] = np.where(voxels > 1000, first, np.where(voxels < -1000, second, 0))
        labels = tuple(
            label for label in self.bundle.labels if structures is None or label.name in structures
        )
        label_map[~np.isin(label_map, [label.value for label in labels])] = 0
        counts = {label.name: np.count_nonzero(label_map == label.value) for label in labels}
        volumes = {name: count * volume.voxel_ml for name, count in counts.items()}
        return Prediction(
            label_map=label_map,
            route=route_for(volume.spacing_mm),
            device="cpu",
            seconds={"network": 1.5},
            volumes_ml=volumes,
            certainty=0.9 if any(counts.values()) else None,
            warnings=[f"{name} was not found in this scan." for name, ml in volumes.items() if not ml],
            model={"name": self.bundle.name, "version": "1.2.3", "sha256": "ab" * 32},
            labels=labels,
        )


def scan_with_blobs(shape=(24, 26, 28)):
    """Noise with a box of 4 x 5 x 6 voxels for the first label and one of 3 x 3 x 3 for the second."""
    array = np.random.default_rng(0).normal(100, 20, shape).astype(np.float32)
    array[8:12, 9:14, 10:16] = 2000
    array[14:17, 15:18, 16:19] = -2000
    return array


def save_tiny_model(folder, name="tiny", **changes):
    """A bundle of random weights in folder / name."""
    from bundle_helpers import save_tiny

    from rareunet.architecture import Architecture

    channels = changes.pop("channels", ({"name": "T1"},))
    classes = len(changes.get("labels", make_labels())) + 1
    architecture = Architecture(
        in_channels=len(channels), classes=classes, stages=4, filters=2, max_filters=4, gateways=3
    )
    content = {
        "name": name,
        "title": "Tiny model",
        "channels": channels,
        "labels": make_labels(),
        "field_of_view_mm": {"smallest": (20.0, 20.0, 20.0), "largest": (32.0, 30.0, 28.0)},
        "resolution_card": (
            {
                "condition": "isotropic 1 mm",
                "spacing_mm": [1, 1, 1],
                "cases": 42,
                "dice_mean": 0.88,
                "dice_sd": 0.03,
            },
            {
                "condition": "slices of 4 mm",
                "spacing_mm": [4, 1, 1],
                "cases": 40,
                "dice_mean": 0.8,
                "dice_sd": 0.05,
            },
        ),
    }
    return save_tiny(Path(folder) / name, architecture, **{**content, **changes})
