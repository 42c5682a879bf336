"""Loss and Dice of a run as a chart in Slicer's plot view, brought up to date in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _
from vtk.util import numpy_support

LOSS_COLUMN, DICE_PREFIX = "loss total", "dice "
LOSS_COLOR = (0.35, 0.35, 0.35)
DICE_COLORS = (
    (0.12, 0.47, 0.71), (0.84, 0.37, 0.0), (0.17, 0.63, 0.17), (0.58, 0.4, 0.74),
    (0.55, 0.34, 0.29), (0.89, 0.47, 0.76), (0.74, 0.74, 0.13), (0.09, 0.75, 0.81),
)  # fmt: skip
EPOCH_COLUMN = "epoch"
LEGEND_FONT_SIZE = 12
LEGEND_SHARE = 1.6  # room on the right, where the legend would lie on the curves

Rows = Sequence[dict[str, float]]


class TrainingCurves:
    """One chart, one table for the losses and one for the Dice, which not every epoch has.

    The nodes are made again where the scene was closed, and are not saved with it. They are not looked up by their
    IDs: a new scene gives those to nodes of others.
    """

    def __init__(self) -> None:
        self._nodes: dict[str, Any] = {}
        self._rows: Rows = ()

    def update(self, rows: Rows, *, bring_up: bool) -> None:
        """Shows rows of history.csv.

        Args:
            bring_up: with a new chart, also show the plot view.
        """
        if not rows or (list(rows) == list(self._rows) and self._find("chart") is not None):
            return
        self._rows = rows
        dice = list(dict.fromkeys(name for row in rows for name in row if name.startswith(DICE_PREFIX)))
        validated = [row for row in rows if any(name in row for name in dice)]
        losses = self._table("losses", [EPOCH_COLUMN, LOSS_COLUMN], rows)
        scores = self._table("dice", [EPOCH_COLUMN, *dice], validated)
        chart_is_new = self._find("chart") is None
        chart = self._node("chart", "vtkMRMLPlotChartNode", _("RAREUNet training"))
        if chart_is_new:
            chart.SetTitle(_("Training"))
            chart.SetXAxisTitle(_("Epoch"))
            chart.SetYAxisTitle(_("Loss and Dice"))
            chart.SetLegendFontSize(LEGEND_FONT_SIZE)
            chart.SetXAxisRangeAuto(False)
        chart.SetXAxisRange(0, LEGEND_SHARE * rows[-1][EPOCH_COLUMN])
        self._series(chart, losses, LOSS_COLUMN, _("loss"), LOSS_COLOR, marked=False)
        for number, name in enumerate(dice):
            color = DICE_COLORS[number % len(DICE_COLORS)]
            self._series(
                chart, scores, name, name.replace(DICE_PREFIX, _("Dice") + " ", 1), color, marked=True
            )
        chart.Modified()  # the view may stay empty otherwise, says slicer.util.plot
        if chart_is_new and bring_up:
            self.show()

    def show(self) -> None:
        """Brings the chart into the plot view."""
        chart = self._find("chart")
        if chart is not None:
            slicer.modules.plots.logic().ShowChartInLayout(chart)

    def remove(self) -> None:
        """Takes all nodes out of the scene."""
        for key in list(self._nodes):
            node = self._find(key)
            if node is not None:
                slicer.mrmlScene.RemoveNode(node)
        self._nodes.clear()

    def _find(self, key: str) -> Any:
        node = self._nodes.get(key)
        return node if node is not None and slicer.mrmlScene.IsNodePresent(node) else None

    def _node(self, key: str, class_name: str, name: str) -> Any:
        node = self._find(key)
        if node is None:
            node = slicer.mrmlScene.AddNewNodeByClass(class_name, name)
            node.SetSaveWithScene(False)
            self._nodes[key] = node
        return node

    def _table(self, key: str, columns: Sequence[str], rows: Rows) -> Any:
        """A table node with a column of numbers each; a cell that a row lacks is NaN."""
        node = self._node(key, "vtkMRMLTableNode", f"RAREUNet training {key}")
        table = vtk.vtkTable()
        for name in columns:
            values = np.array([row.get(name, np.nan) for row in rows], dtype=float)
            array = numpy_support.numpy_to_vtk(values, deep=True)
            array.SetName(name)
            table.AddColumn(array)
        node.SetAndObserveTable(table)
        return node

    def _series(
        self, chart: Any, table: Any, column: str, name: str, color: tuple[float, float, float], marked: bool
    ) -> None:
        if self._find(column) is not None:
            return
        series = self._node(column, "vtkMRMLPlotSeriesNode", name)
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetPlotType(series.PlotTypeScatter)
        series.SetXColumnName(EPOCH_COLUMN)
        series.SetYColumnName(column)
        series.SetMarkerStyle(series.MarkerStyleCircle if marked else series.MarkerStyleNone)
        series.SetLineStyle(series.LineStyleSolid)
        series.SetColor(*color)
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
