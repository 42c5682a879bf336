"""slicer.app and slicer.mrmlScene: start() makes this process look like a running Slicer."""

from __future__ import annotations

import atexit
import importlib
import os
import sys
import tempfile
import traceback
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("QT_QPA_FONTDIR", "/usr/share/fonts/truetype/dejavu")

import slicer
import slicer.util
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Signal

from standin import dialogs, module_logics, pythonqt
from standin.application_parts import CommandOptions, LayoutManager, ModuleManager
from standin.core_io import CoreIOManager

DOCUMENTATION_URL = "https://slicer.readthedocs.io/en/latest/"
_application: Application | None = None


class Application(QtCore.QObject):
    """qSlicerApplication, as far as scripted modules use it; what it lacks raises AttributeError.

    For tests: dialogs, statusMessages, dialogAnswers, slotExceptions, setTestingEnabled, clearRecords.
    """

    startupCompleted = Signal()
    aboutToQuit = Signal()
    applicationName = mainApplicationName = "Slicer"
    applicationVersion = "5.12.3"
    majorVersion, minorVersion, revision = 5, 12, "stand-in"
    documentationBaseUrl = DOCUMENTATION_URL

    def __init__(self, scene: Any, logic: Any, qt_application: QtWidgets.QApplication) -> None:
        super().__init__()
        self._scene, self._logic, self._qt = scene, logic, qt_application
        self._temporary_path = tempfile.mkdtemp(prefix="slicer-standin-")
        self._settings_path = os.path.join(self._temporary_path, "Slicer.ini")
        self._options = CommandOptions()
        self._recorder = dialogs.DialogRecorder()
        self._slot_exceptions: list[BaseException] = []
        self._module_manager = ModuleManager(self)
        self._layout_manager: LayoutManager | None = LayoutManager(self)
        self._io: CoreIOManager | None = None

    # --- what modules use -----------------------------------------------------------------------------------

    temporaryPath = slicerHome = property(lambda self: self._temporary_path)

    def mrmlScene(self) -> Any:
        return self._scene

    def applicationLogic(self) -> Any:
        return self._logic

    def coreIOManager(self) -> CoreIOManager:
        return self._io

    def moduleManager(self) -> ModuleManager:
        return self._module_manager

    def layoutManager(self) -> LayoutManager | None:
        return self._layout_manager

    def commandOptions(self) -> CommandOptions:
        return self._options

    def testingEnabled(self) -> bool:
        return self._options.testingEnabled

    def processEvents(self, *arguments: Any) -> None:
        self._qt.processEvents(*arguments)

    def translate(self, context: str, text: str) -> str:
        return text

    def pauseRender(self) -> None:
        """Accepted: there is no view."""

    def resumeRender(self) -> None:
        """Accepted: there is no view."""

    def userSettings(self) -> QtCore.QSettings:
        return QtCore.QSettings()

    settings = revisionUserSettings = userSettings

    def setOverrideCursor(self, cursor: Any) -> None:
        self._qt.setOverrideCursor(cursor)

    def restoreOverrideCursor(self) -> None:
        self._qt.restoreOverrideCursor()

    def clipboard(self) -> QtGui.QClipboard:
        return self._qt.clipboard()

    def topLevelWidgets(self) -> list[QtWidgets.QWidget]:
        return self._qt.topLevelWidgets()

    def startupEnvironment(self) -> dict[str, str]:
        return dict(os.environ)

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"{DOCUMENTATION_URL}user_guide/modules/{name.lower()}.html"

    def pythonConsole(self) -> None:
        return None

    def exit(self, status: int = 0) -> None:
        raise SystemExit(status)

    def restart(self) -> None:
        raise SystemExit("restart")

    # --- what tests use -------------------------------------------------------------------------------------

    dialogs = property(lambda self: self._recorder.dialogs)
    dialogAnswers = property(lambda self: self._recorder.answers)
    statusMessages = property(lambda self: self._recorder.status_messages)
    slotExceptions = property(lambda self: self._slot_exceptions)

    def setTestingEnabled(self, enabled: bool) -> None:
        self._options.testingEnabled = bool(enabled)

    def takeSlotExceptions(self) -> list[BaseException]:
        """The exceptions that slots raised (Slicer prints them and goes on); they count as seen from now
        on.
        """
        taken = list(self._slot_exceptions)
        self._slot_exceptions.clear()
        return taken

    def clearRecords(self) -> None:
        self._recorder.clear()
        self._slot_exceptions.clear()
        self.setTestingEnabled(False)


def start(main_window: bool = True) -> Application:
    """Start the stand-in, once per process, and return ``slicer.app``."""
    global _application
    if _application is not None:
        return _application
    qt_application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["Slicer"])
    _use_private_settings(qt_application)
    pythonqt.install()
    _install_widgets()
    scene, logic = _make_scene()
    _application = slicer.app = Application(scene, logic, qt_application)
    atexit.register(_application.aboutToQuit.emit)  # QCoreApplication::exec emits it when its loop has ended
    if main_window:
        _application._main_window = QtWidgets.QMainWindow()
        _application._main_window.setObjectName("qSlicerMainWindow")  # by which slicer.util finds it
    else:
        _application._layout_manager = None
    logics = module_logics.install(scene, logic)
    _application._io = CoreIOManager(logics, logic)
    dialogs.install(_application._recorder)
    slicer.util.selectModule = _select_module
    _record_slot_exceptions(_application)
    _install_python_layer()
    return _application


def _use_private_settings(qt_application: QtWidgets.QApplication) -> None:
    folder = tempfile.mkdtemp(prefix="slicer-settings-")
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
    QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, folder)
    qt_application.setOrganizationName("standin")
    qt_application.setApplicationName("Slicer")


def _install_widgets() -> None:
    ctk_widgets = importlib.import_module("standin.ctk_widgets")  # needs the patched PySide6
    ctk_widgets.install()
    importlib.import_module("standin.process").install(sys.modules["qt"])
    importlib.import_module("standin.range_widgets").install()
    importlib.import_module("standin.qmrml_widgets").install()
    importlib.import_module("standin.ui_loader").install()


def _make_scene() -> tuple[Any, Any]:
    scene = slicer.vtkMRMLScene()
    logic = slicer.vtkSlicerApplicationLogic()
    logic.SetMRMLScene(scene)
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)
    logic.SetSliceLogics(vtk.vtkCollection())
    logic.SetViewLogics(vtk.vtkCollection())
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    slicer.mrmlScene = scene
    return scene, logic


def _install_python_layer() -> None:
    """slicer.i18n, packaging, ScriptedLoadableModule and parameterNodeWrapper: ours, or Slicer's from
    SLICER_SRC.
    """
    for name in ("vtkITK", "vtkTeem", "vtkSegmentationCore"):
        sys.modules.setdefault(name, importlib.import_module(f"slicer_core.{name}"))
    sys.modules.setdefault("MRMLCorePython", importlib.import_module("slicer_core.MRMLCore"))
    sys.modules.setdefault("vtkSegmentationCorePython", sys.modules["vtkSegmentationCore"])
    ours = {"i18n": "i18n", "packaging": "packaging"}
    source = os.environ.get("SLICER_SRC")
    if source:
        slicer.__path__.append(os.path.join(source, "Base", "Python", "slicer"))
    else:
        ours |= {"ScriptedLoadableModule": "scripted_module", "parameterNodeWrapper": "parameter_node"}
    for slicer_name, own_name in ours.items():
        module = importlib.import_module(f"standin.{own_name}")
        sys.modules[f"slicer.{slicer_name}"] = module
        setattr(slicer, slicer_name, module)
    for slicer_name in ("ScriptedLoadableModule", "parameterNodeWrapper"):
        importlib.import_module(f"slicer.{slicer_name}")
    importlib.import_module("standin.packaging").install_pytorch_utils()


def _select_module(module: Any) -> None:
    """slicer.util.selectModule needs the main window's selector; here the panel is opened and entered."""
    name = module if isinstance(module, str) else module.name
    representation = slicer.util.getModule(name).widgetRepresentation()
    representation.enter()


def _record_slot_exceptions(application: Application) -> None:
    """PythonQt prints an exception of a slot and goes on; so does this, and the test can ask for it."""

    def hook(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        application._slot_exceptions.append(error)
        traceback.print_exception(kind, error, trace)

    sys.excepthook = hook
