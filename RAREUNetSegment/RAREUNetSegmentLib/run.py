"""One run: nodes in, nodes out, with a predictor elsewhere and a living scene in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer

from rareunet.prediction import Prediction
from rareunet.wording import capital
from rareunet.worker import failures as worker_failures
from rareunet.worker.protocol import Failure
from RAREUNetSegmentLib import own_segments, segments
from RAREUNetSegmentLib.place import described_place, place_in_scan
from RAREUNetSegmentLib.run_report import make_report
from RAREUNetSegmentLib.run_request import OnProgress, Request
from RAREUNetSegmentLib.scene import ijk_to_ras
from RAREUNetSegmentLib.worker_client import WorkerClient

MILLISECONDS_BETWEEN_EVENTS = 20


class SegmentationError(RuntimeError):
    """A run failed, not by the user's fault; `report` is the text to send to the developers."""

    def __init__(self, message: str, report: str) -> None:
        super().__init__(message)
        self.report = report


@dataclass(frozen=True)
class Finished:
    """A run that came to its end: the segmentation node, what was predicted, and the node that was to take it."""

    node: Any
    prediction: Prediction
    target: Any


@dataclass(frozen=True)
class Failed:
    """A run that did not: cause and next step as text, and a report without names.

    `refused`: the scan, region, model or device was at fault.
    """

    text: str
    report: str
    refused: bool

    def error(self) -> Exception:
        return ValueError(self.text) if self.refused else SegmentationError(self.text, self.report)


class Run:
    """Segments nodes in the worker and writes the result into the scene.

    Args:
        worker: where the predictor is.
        nodes: the scan's volume nodes, one for each channel.
        request: the scan's voxels and how to segment them.
        target: segmentation node to write to; None for a new one.
    """

    def __init__(
        self, worker: WorkerClient, nodes: Sequence[Any], request: Request, target: Any = None
    ) -> None:
        self._worker, self._nodes, self.request, self._target = worker, list(nodes), request, target
        self._seen = [_NodeState.of(node) for node in self._nodes]
        self.outcome: Finished | Failed | None = None

    def start(
        self,
        on_progress: OnProgress,
        on_finished: Callable[[Finished], None],
        on_failed: Callable[[Failed], None],
    ) -> None:
        """Returns at once; one of on_finished and on_failed is called, unless the run is cancelled.

        Raises:
            ValueError: another scan is being segmented, or there is no such model.
        """

        def finish(prediction: Prediction) -> None:
            try:
                self.outcome = self._write(prediction)
            except Exception as error:
                fail(worker_failures.from_exception(0, error))
                return
            on_finished(self.outcome)

        def fail(failure: Failure) -> None:
            self.outcome = self._describe(failure)
            on_failed(self.outcome)

        self._worker.segment(self.request, on_progress, finish, fail)

    def cancel(self) -> None:
        """Drops it; the scene stays as it is."""
        self._worker.cancel()

    def wait(self) -> Finished:
        """Starts it and returns when it is done; Slicer stays alive meanwhile.

        Raises:
            ValueError: the scan, the region, the model or the device can't be used, or the scan is gone.
            SegmentationError: it failed otherwise.
        """
        ignore = lambda *news: None  # noqa: E731
        self.start(ignore, ignore, ignore)
        try:
            while self.outcome is None and self._worker.busy:
                slicer.app.processEvents()
                self._worker.wait(MILLISECONDS_BETWEEN_EVENTS)
        except BaseException:  # interrupted in the console
            self.cancel()
            raise
        if self.outcome is None:
            raise SegmentationError("The segmentation was cancelled; the scene is as it was.", "")
        if isinstance(self.outcome, Failed):
            raise self.outcome.error()
        return self.outcome

    def _write(self, prediction: Prediction) -> Finished:
        for node, seen in zip(self._nodes, self._seen, strict=True):
            seen.check(node, prediction)
        target = self._target
        if target is not None and not slicer.mrmlScene.IsNodePresent(target):
            target = None  # the user removed it meanwhile; the result is worth a new one
        place = place_in_scan(self.request, self._nodes[0])
        if target is not None and (reason := _why_left(target, prediction, place)):
            prediction.warnings.append(
                f"{target.GetName()} was left as it is, since {reason}: the result is in a new segmentation."
            )
            target = None
        node = segments.write_segmentation(
            prediction, self._nodes[0], described_place(self.request, self._nodes[0]), target
        )
        return Finished(node, prediction, self._target)

    def _describe(self, failure: Failure) -> Failed:
        nodes = [*self._nodes, self._target] if self._target else self._nodes
        report = make_report(failure, self.request, [node.GetName() for node in nodes])
        text = capital(f"{failure.cause} {failure.next_step}".strip())
        return Failed(text, report, failure.refused)


def _why_left(target: Any, prediction: Prediction, place: np.ndarray) -> str:
    """Why the segments that writing would replace have to stay; '' where they need not.

    Args:
        place: what the run looked at, (N, 3) points in the scan's own frame.
    """
    segmentation = target.GetSegmentation()
    if own_segments.elsewhere_ids_replaced_by(prediction, segmentation, place):
        return "its segments lie elsewhere in the scan"
    changed = own_segments.changed_ids_replaced_by(prediction, segmentation)
    names = ", ".join(segmentation.GetSegment(i).GetName() for i in changed)
    return f"it was changed by hand ({names})" if changed else ""


@dataclass(frozen=True)
class _NodeState:
    """What a volume node was like when its voxels were read."""

    size: tuple[int, ...]
    ijk_to_ras: np.ndarray
    changed_at: int

    @classmethod
    def of(cls, node: Any) -> _NodeState:
        image = node.GetImageData()
        return cls(image.GetDimensions(), ijk_to_ras(node), image.GetMTime())

    def check(self, node: Any, prediction: Prediction) -> None:
        """Refuses a result that has no place any more, and warns of one for voxels that have changed.

        Raises:
            ValueError: the node has left the scene or has another grid.
        """
        if not slicer.mrmlScene.IsNodePresent(node) or node.GetImageData() is None:
            raise ValueError(
                "the scan was removed while it was being segmented; nothing was written. Load it again."
            )
        now = _NodeState.of(node)
        if now.size != self.size or not np.allclose(now.ijk_to_ras, self.ijk_to_ras):
            raise ValueError(
                f"{node.GetName()} was given another grid while it was being segmented; nothing was written."
                " Press Apply again."
            )
        if now.changed_at != self.changed_at:
            prediction.warnings.append(
                "the scan's voxels were changed while it was being segmented: these are the segments of the earlier"
                " ones. Press Apply again."
            )
