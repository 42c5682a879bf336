"""Packages that training needs: looked for without importing them, installed when the user agrees."""

from __future__ import annotations

import importlib.util
from pathlib import Path

REQUIREMENTS = Path(__file__).parent.parent / "Resources" / "RAREUNetTraining-requirements.txt"


def missing_packages() -> list[str]:
    """Names of the packages that are not there, PyTorch included."""
    import slicer.packaging

    importlib.invalidate_caches()
    missing = [] if importlib.util.find_spec("torch") else ["torch"]
    requirements = slicer.packaging.load_requirements(REQUIREMENTS)
    return missing + [r.name for r in requirements if not slicer.packaging.pip_check(r)]
