"""A stand-in of the 3D Slicer application, so that the modules can be tested where Slicer is not installed.

MRML is real (PyPI package slicer-core); the application, PythonQt, CTK and qMRML widgets are stood in over
PySide6.
See README.md for what it covers and what it cannot verify.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from standin.application import Application, start

__all__ = ["Application", "load_module", "start", "unload_module"]


def load_module(path: str | Path) -> Any:
    """Load a scripted module file as Slicer does; ``.widgetRepresentation().self()`` is its Python widget."""
    start()
    from standin import scripted_module  # needs the modules qt and slicer.app of a started stand-in

    return scripted_module.load_module(path)


def unload_module(module: Any) -> None:
    """Clean up and close the module's panel."""
    from standin import scripted_module

    scripted_module.unload_module(module)
