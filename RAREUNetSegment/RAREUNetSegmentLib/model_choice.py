"""The panel's choice of a model: a list of the installed ones, and a field for the file of another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctk
import slicer.util
from slicer.i18n import tr as _

from rareunet.model_import import import_model
from RAREUNetSegmentLib import dependencies, models


class ModelChoice:
    """Shows a choice in the panel's widgets, and tells of another one.

    Args:
        ui: the panel's widgets.
        onChosen: gets the name of an installed model or the path of a bundle, '' for none.
    """

    def __init__(self, ui: Any, onChosen: Callable[[str], None]) -> None:
        self._list, self._file, self._fileLabel = ui.modelComboBox, ui.modelPathEdit, ui.modelPathLabel
        self._onChosen = onChosen
        self._file.filters = ctk.ctkPathLineEdit.Files | ctk.ctkPathLineEdit.Readable
        self.fill()
        self._list.connect("activated(int)", self._chosen)
        self._file.connect("currentPathChanged(QString)", self._fileChanged)
        self._file.connect("validInputChanged(bool)", self._fileValid)

    def fill(self) -> None:
        """Lists the models that are installed now; show() follows."""
        self._list.clear()
        for name, title in models.titles().items():
            self._list.addItem(title, name)
        self._list.addItem(_("From a file..."), "")

    def show(self, name: str) -> None:
        """Shows a choice, and tells nobody: one that is not installed here is kept in its scene."""
        index = self._list.findData(name) if name else -1
        isFile = index < 0
        self._list.setCurrentIndex(self._list.count - 1 if isFile else index)
        if isFile:
            self._showFile(name if Path(name).is_absolute() else "")
        for widget in (self._fileLabel, self._file):
            widget.visible = isFile

    def remember(self) -> None:
        """Keeps the file for the field's history."""
        if self._file.currentPath and not self._list.currentData:
            self._file.blockSignals(True)  # it shows another path of the history for a moment
            self._file.addCurrentPathToHistory()
            self._file.blockSignals(False)

    def _chosen(self, index: int = 0) -> None:
        self._onChosen(self._list.currentData or self._file.currentPath)

    def _fileChanged(self, path: str) -> None:
        if self._list.currentData:
            return
        if not path.lower().endswith(".zip"):
            self._onChosen(path)
        elif Path(path).is_file():
            self._import(path)

    def _fileValid(self, isValid: bool) -> None:
        """An emptied field counts as invalid input, and tells of no changed path (ctkPathLineEdit.cpp)."""
        if not isValid:
            self._fileChanged("")

    def _import(self, path: str) -> None:
        """Takes a zip's model into the list and chooses it."""
        with slicer.util.tryWithErrorDisplay(_("The model could not be imported.")):
            try:
                dependencies.ensure_packages()  # one of them checks it
                name = import_model(path).name
            finally:
                self._showFile("")  # so that the same file can be chosen again
            self.fill()
            self._onChosen(name)

    def _showFile(self, path: str) -> None:
        if self._file.currentPath != path:
            self._file.blockSignals(True)
            self._file.currentPath = path
            self._file.blockSignals(False)
