"""Packages that training needs: looked for without importing them, installed when the user agrees."""

from __future__ import annotations

import importlib
from pathlib import Path

from RAREUNetSegmentLib.dependencies import TORCH_VERSION, has_torch

REQUIREMENTS = Path(__file__).parent.parent / "Resources" / "RAREUNetTraining-requirements.txt"


def missing_packages() -> list[str]:
    """What is not there or too old: names of packages, and PyTorch with the version that is needed."""
    import slicer.packaging

    importlib.invalidate_caches()
    missing = [] if has_torch() else [f"torch{TORCH_VERSION}"]
    requirements = slicer.packaging.load_requirements(REQUIREMENTS)
    return missing + [r.name for r in requirements if not slicer.packaging.pip_check(r)]
