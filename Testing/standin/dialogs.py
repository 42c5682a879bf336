"""Dialogs and status messages: recorded and answered by the test, never shown, because a modal dialog would
block.

The functions of slicer.util (errorDisplay, confirmOkCancelDisplay, tryWithErrorDisplay ...) stay Slicer's
own; only
the two at their bottom, _messageDisplay and messageBox, are replaced. The recorder behaves like a Slicer
with a main
window; in testing mode the return values are those of _messageDisplay in Slicer's Base/Python/slicer/util.py.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import slicer.util
from PySide6 import QtWidgets


@dataclasses.dataclass(frozen=True)
class Dialog:
    """One dialog that the user would have seen. kind: info, warning, error, question, box, delay."""

    kind: str
    text: str
    title: str = ""
    detail: str = ""


class DialogRecorder:
    """What was shown, and the answers to give: True for OK/Yes/Retry, False for Cancel/No/Close."""

    def __init__(self) -> None:
        self.dialogs: list[Dialog] = []
        self.status_messages: list[str] = []
        self.answers: list[bool] = []

    def clear(self) -> None:
        self.dialogs.clear()
        self.status_messages.clear()
        self.answers.clear()

    def message_display(
        self, level: int, text: str, testing_return_value: Any, mainWindowNeeded: bool = False, **kwargs: Any
    ) -> Any:
        logging.log(level, text)
        if slicer.app.testingEnabled():
            return testing_return_value
        kind = logging.getLevelName(level).lower()
        if kwargs.get("icon") == QtWidgets.QMessageBox.Question:
            kind = "question"
        return self.show(kind, text, **kwargs)

    def message_box(self, text: str, parent: Any = None, **kwargs: Any) -> Any:
        if slicer.app.testingEnabled():
            return QtWidgets.QMessageBox.Ok
        return self.show("box", text, **kwargs)

    def delay_display(
        self, message: str, autoCloseMsec: int = 1000, parent: Any = None, **kwargs: Any
    ) -> None:
        logging.info(message)
        self.dialogs.append(Dialog("delay", message))
        slicer.app.processEvents()

    def show_status_message(self, message: str, duration: int = 0) -> bool:
        self.status_messages.append(message)
        return True

    def show(
        self, kind: str, text: str, windowTitle: str | None = None, detailedText: str = "", **kwargs: Any
    ) -> QtWidgets.QMessageBox.StandardButton:
        self.dialogs.append(Dialog(kind, str(text), windowTitle or "", detailedText))
        box = QtWidgets.QMessageBox
        buttons = kwargs.get("standardButtons", box.Ok)
        offered = [b for b in (box.Ok, box.Yes, box.Retry, box.Cancel, box.No, box.Close) if buttons & b]
        agreed = self.answers.pop(0) if self.answers else True
        return offered[0] if agreed else offered[-1]


def install(recorder: DialogRecorder) -> None:
    """Replace the functions at the bottom of slicer.util's dialogs, and make Qt's modal calls raise."""
    slicer.util._messageDisplay = recorder.message_display
    slicer.util.messageBox = recorder.message_box
    slicer.util.delayDisplay = recorder.delay_display
    slicer.util.showStatusMessage = recorder.show_status_message
    modal_calls = {
        QtWidgets.QDialog: ("exec", "exec_"),
        QtWidgets.QMessageBox: ("exec", "exec_", "question", "information", "warning", "critical"),
        QtWidgets.QFileDialog: (
            "getOpenFileName",
            "getOpenFileNames",
            "getSaveFileName",
            "getExistingDirectory",
        ),
        QtWidgets.QInputDialog: ("getText", "getInt", "getDouble", "getItem"),
    }
    for cls, names in modal_calls.items():
        for name in names:
            setattr(cls, name, _refusal(f"{cls.__name__}.{name}"))


def _refusal(name: str) -> Any:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError(f"{name} would open a modal dialog and block; replace it in the test")

    return refuse
