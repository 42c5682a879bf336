"""A chart node to PNG: the scatter and line plots of Libs/MRML/Widgets/qMRMLPlotView.cxx (updateWidgetFromMRML and
updatePlotFromPlotSeriesNode), through the same VTK chart.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
import vtk

from standin.rendering import write_png


def render_plot(chart_node: Any, path: str | Path, size: tuple[int, int] = (600, 400)) -> Path:
    """Write a vtkMRMLPlotChartNode as a plot view of this size shows it; bars are refused."""
    view = vtk.vtkContextView()
    view.GetRenderWindow().SetOffScreenRendering(1)
    view.GetRenderWindow().SetSize(*size)
    chart = vtk.vtkChartXY()
    view.GetScene().AddItem(chart)
    chart.SetTitle(chart_node.GetTitle() or "")
    chart.GetTitleProperties().SetFontSize(chart_node.GetTitleFontSize())
    chart.SetShowLegend(chart_node.GetLegendVisibility())
    chart.GetLegend().GetLabelProperties().SetFontSize(chart_node.GetLegendFontSize())
    titles = {vtk.vtkAxis.BOTTOM: chart_node.GetXAxisTitle(), vtk.vtkAxis.LEFT: chart_node.GetYAxisTitle()}
    for position, title in titles.items():
        axis = chart.GetAxis(position)
        axis.SetTitle(title or "")
        axis.GetTitleProperties().SetFontSize(chart_node.GetAxisTitleFontSize())
        axis.GetLabelProperties().SetFontSize(chart_node.GetAxisLabelFontSize())
        axis.SetGridVisible(chart_node.GetGridVisibility())
    if not chart_node.GetXAxisRangeAuto():
        chart.GetAxis(vtk.vtkAxis.BOTTOM).SetBehavior(vtk.vtkAxis.FIXED)
        chart.GetAxis(vtk.vtkAxis.BOTTOM).SetRange(*chart_node.GetXAxisRange())
    for number in range(chart_node.GetNumberOfPlotSeriesNodes()):
        _add_plot(chart, chart_node.GetNthPlotSeriesNode(number))
    write_png(view.GetRenderWindow(), path)
    return Path(path)


def _add_plot(chart: Any, series: Any) -> None:
    kinds = slicer.vtkMRMLPlotSeriesNode
    if series.GetPlotType() not in (kinds.PlotTypeScatter, kinds.PlotTypeLine):
        raise NotImplementedError("The stand-in draws lines and scatter plots only")
    table = series.GetTableNode().GetTable()
    for column in (series.GetXColumnName(), series.GetYColumnName()):
        if not isinstance(table.GetColumnByName(column), vtk.vtkDataArray):
            raise ValueError(f"the table has no column of numbers named '{column}'")
    markers = {
        kinds.MarkerStyleNone: vtk.vtkPlotLine.NONE,
        kinds.MarkerStyleCross: vtk.vtkPlotLine.CROSS,
        kinds.MarkerStylePlus: vtk.vtkPlotLine.PLUS,
        kinds.MarkerStyleSquare: vtk.vtkPlotLine.SQUARE,
        kinds.MarkerStyleCircle: vtk.vtkPlotLine.CIRCLE,
        kinds.MarkerStyleDiamond: vtk.vtkPlotLine.DIAMOND,
    }
    plot = vtk.vtkPlotLine()
    plot.SetWidth(series.GetLineWidth())
    plot.SetColorF(*series.GetColor())
    plot.GetPen().SetLineType(
        vtk.vtkPen.NO_PEN if series.GetLineStyle() == kinds.LineStyleNone else vtk.vtkPen.SOLID_LINE
    )
    plot.SetMarkerSize(series.GetMarkerSize())
    plot.SetMarkerStyle(markers[series.GetMarkerStyle()])
    plot.SetInputData(table, series.GetXColumnName(), series.GetYColumnName())
    plot.SetLabel(series.GetName())
    chart.AddPlot(plot)
