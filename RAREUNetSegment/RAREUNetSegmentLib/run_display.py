"""The panel's part under Apply: progress, Cancel, result, failure and its report."""

from __future__ import annotations

import html
from typing import Any

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from RAREUNetSegmentLib import summary
from RAREUNetSegmentLib.run import Failed, Finished
from RAREUNetSegmentLib.run_progress import ProgressLine
from RAREUNetSegmentLib.run_report import route_of
from RAREUNetSegmentLib.run_request import Request

MILLISECONDS_BETWEEN_UPDATES = 500


class RunDisplay:
    """Shows a run in the panel's widgets.

    Args:
        ui: the panel's widgets.

    Attributes:
        segmentationNode: of the result that is shown; None while none is. It may have left the scene.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self.segmentationNode: Any = None
        self._line = ProgressLine()
        self._seconds_per_voxel: dict[tuple[str, str, str], float] = {}
        self._key, self._voxels = ("", "", ""), 1
        self._report = ""
        self._timer = qt.QTimer()
        self._timer.setInterval(MILLISECONDS_BETWEEN_UPDATES)
        self._timer.connect("timeout()", self._update)
        ui.copyReportButton.connect("clicked(bool)", self.copy_report)
        self.clear()

    def clear(self) -> None:
        """As before any run."""
        self._timer.stop()
        self._show_segmentation(None)
        for widget in (
            self._ui.progressBar,
            self._ui.cancelButton,
            self._ui.resultLabel,
            self._ui.copyReportButton,
        ):
            widget.visible = False

    def begin(self, request: Request) -> None:
        """A run begins; how long earlier ones of this model, device and route took tells how long it may take."""
        self.clear()
        self._key, self._voxels = (request.model, request.device, route_of(request)), request.voxels
        pace = self._seconds_per_voxel.get(self._key)
        self._line = ProgressLine(None if pace is None else pace * self._voxels)
        self._ui.progressBar.visible = self._ui.cancelButton.visible = True
        self._update()
        self._timer.start()

    def progress(self, step: str, fraction: float) -> None:
        self._line.update(step, fraction)
        self._update()

    def show_finished(self, finished: Finished) -> None:
        self.clear()
        self._seconds_per_voxel[self._key] = sum(finished.prediction.seconds.values()) / self._voxels
        scan = finished.node.GetAttribute("RAREUNet.Scan")
        self._ui.resultLabel.text = summary.volumes_table(scan, finished.prediction)
        self._ui.resultLabel.visible = True
        self._show_segmentation(finished.node)

    def show_failed(self, failed: Failed) -> None:
        """In the panel, where the report can be copied, and as a dialog for who looks elsewhere."""
        self.show_message(f"⚠ {failed.text}")
        self._report = failed.report
        self._ui.copyReportButton.visible = True
        text = f"{_('The scan could not be segmented.')}\n\n{failed.text}"
        slicer.util.errorDisplay(text, detailedText=failed.report)

    def show_message(self, text: str) -> None:
        """One sentence in the place of the result."""
        self.clear()
        self._ui.resultLabel.text = html.escape(text, quote=False)
        self._ui.resultLabel.visible = True

    def copy_report(self, checked: bool = False) -> None:
        slicer.app.clipboard().setText(self._report)
        slicer.util.showStatusMessage(
            _("The report is on the clipboard: paste it where you ask for help."), 5000
        )

    def _show_segmentation(self, node: Any) -> None:
        """Offers what can be done with it, or with None nothing."""
        self.segmentationNode = node
        self._ui.show3DButton.setSegmentationNode(node)
        self._ui.show3DButton.visible = self._ui.volumesTableButton.visible = node is not None

    def _update(self) -> None:
        self._ui.progressBar.value = round(100 * self._line.fraction)
        self._ui.progressBar.format = self._line.text()
