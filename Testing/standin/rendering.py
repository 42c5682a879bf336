"""Views and panels to PNG, offscreen: the real displayable managers for slice and 3D views, Qt's own grab
for panels.

Layout of a slice view as in Libs/MRML/Widgets/qMRMLSliceView.cxx; managers as registered by Slicer's modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import slicer
import vtk
from PySide6 import QtGui, QtWidgets

SLICE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
)
THREE_D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
)
FONT_FILES = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSansMono.ttf")
FONT_FOLDER = Path("/usr/share/fonts/truetype/dejavu")
PANEL_WIDTH = 420


class SliceView:
    """One slice view, e.g. SliceView("Red", "Axial"); show() fits, centres and writes a PNG."""

    def __init__(
        self, name: str = "Red", orientation: str = "Axial", size: tuple[int, int] = (400, 400)
    ) -> None:
        self.window, self.renderer = _make_window(size)
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        factory = _factory(slicer.vtkMRMLSliceViewDisplayableManagerFactory, SLICE_MANAGERS)
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self.logic.SetMRMLScene(slicer.mrmlScene)
        slicer.app.applicationLogic().GetSliceLogics().AddItem(self.logic)
        self.node = self.logic.AddSliceNode(name)
        self.node.SetOrientation(orientation)
        self.node.SetDimensions(*size, 1)
        self._managers = slicer.vtkMRMLDisplayableManagerGroup()
        self._managers.Initialize(factory, self.renderer)
        self._managers.SetMRMLDisplayableNode(self.node)
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        actor = vtk.vtkActor2D()
        actor.SetMapper(self._mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(actor)

    def show(self, volume_node: Any, path: str | Path, center_ras: Sequence[float] | None = None) -> None:
        self.logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume_node.GetID())
        self.logic.FitSliceToBackground()
        if center_ras is not None:
            self.node.JumpSliceByCentering(*center_ras)
        self.logic.UpdatePipeline()
        self._mapper.SetInputConnection(self.logic.GetImageDataConnection())
        width, height = self.window.GetSize()
        camera = self.renderer.GetActiveCamera()
        camera.SetParallelScale(height / 2)
        camera.SetFocalPoint(width / 2, height / 2, 0)
        write_png(self.window, path)

    def close(self) -> None:
        """Take the view out of the scene and the application again."""
        self._managers.SetMRMLDisplayableNode(None)
        slicer.app.applicationLogic().GetSliceLogics().RemoveItem(self.logic)
        composite = self.logic.GetSliceCompositeNode()
        self.logic.SetMRMLScene(None)
        for node in (composite, self.node):
            slicer.mrmlScene.RemoveNode(node)


def render_slice(
    volume_node: Any,
    path: str | Path,
    orientation: str = "Axial",
    center_ras: Sequence[float] | None = None,
    size: tuple[int, int] = (400, 400),
) -> Path:
    """Write one slice view of the volume, with the segmentations shown in it. orientation: Axial, Sagittal,
    Coronal.
    """
    names = {"Axial": "Red", "Sagittal": "Yellow", "Coronal": "Green"}
    view = SliceView(names[orientation], orientation, size)
    view.show(volume_node, path, center_ras)
    view.close()
    return Path(path)


def render_3d(path: str | Path, size: tuple[int, int] = (500, 400)) -> Path:
    """Write a 3D view of everything in the scene that has a surface."""
    window, renderer = _make_window(size)
    factory = _factory(slicer.vtkMRMLThreeDViewDisplayableManagerFactory, THREE_D_MANAGERS)
    logic = slicer.vtkMRMLViewLogic()
    logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
    logic.SetMRMLScene(slicer.mrmlScene)
    slicer.app.applicationLogic().GetViewLogics().AddItem(logic)
    view_node = logic.AddViewNode("1")
    managers = slicer.vtkMRMLDisplayableManagerGroup()
    managers.Initialize(factory, renderer)
    managers.SetMRMLDisplayableNode(view_node)
    view_node.SetBackgroundColor(0.75, 0.76, 0.9)
    view_node.SetBackgroundColor2(0.45, 0.48, 0.75)
    renderer.ResetCamera()
    write_png(window, path)
    managers.SetMRMLDisplayableNode(None)
    slicer.app.applicationLogic().GetViewLogics().RemoveItem(logic)
    logic.SetMRMLScene(None)
    slicer.mrmlScene.RemoveNode(view_node)
    return Path(path)


def grab_widget(widget: Any, path: str | Path, width: int = PANEL_WIDTH, height: int | None = None) -> Path:
    """Write a widget, e.g. a panel, as it would look docked; raises where no font is found to draw its
    text.
    """
    _use_readable_font()
    widget.resize(width, height or 10)
    widget.show()
    for _ in range(3):  # a layout settles over several rounds of events
        slicer.app.processEvents()
        widget.resize(width, height or max(widget.minimumSizeHint().height(), widget.sizeHint().height()))
    slicer.app.processEvents()
    if not widget.grab().save(str(path)):
        raise OSError(f"The picture could not be written: {path}")
    return Path(path)


def _use_readable_font() -> None:
    """The offscreen platform brings no fonts of its own."""
    families: list[str] = []
    for name in FONT_FILES:
        if (FONT_FOLDER / name).is_file():
            number = QtGui.QFontDatabase.addApplicationFont(str(FONT_FOLDER / name))
            families += QtGui.QFontDatabase.applicationFontFamilies(number)
    if not families and not QtGui.QFontDatabase.families():
        raise RuntimeError(
            f"No font to draw text with: install the package fonts-dejavu-core ({FONT_FOLDER})"
        )
    if families:
        QtWidgets.QApplication.setFont(QtGui.QFont(families[0], 9))


def _factory(factory_class: Any, managers: Sequence[str]) -> Any:
    factory = factory_class.GetInstance()
    factory.SetMRMLApplicationLogic(slicer.app.applicationLogic())
    for name in managers:
        if not factory.IsDisplayableManagerRegistered(name):
            factory.RegisterDisplayableManager(name)
    return factory


def _make_window(size: tuple[int, int]) -> tuple[Any, Any]:
    window = vtk.vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.ShowWindowOff()
    window.SetSize(*size)
    renderer = vtk.vtkRenderer()
    window.AddRenderer(renderer)
    interactor = vtk.vtkRenderWindowInteractor()
    interactor.SetRenderWindow(window)
    return window, renderer


def write_png(window: Any, path: str | Path) -> None:
    """Write what a render window shows."""
    window.Render()
    grabber = vtk.vtkWindowToImageFilter()
    grabber.SetInput(window)
    grabber.ReadFrontBufferOff()
    grabber.SetInputBufferTypeToRGB()
    grabber.Update()
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputConnection(grabber.GetOutputPort())
    writer.Write()
