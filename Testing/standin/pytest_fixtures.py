"""Fixture ``slicer_app``: the stand-in, started once per pytest process, with an empty scene for every
test.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from standin.application import Application, start


@pytest.fixture
def slicer_app() -> Iterator[Application]:
    """Fails the test at its end if a slot raised and the test did not look (slotExceptions,
    takeSlotExceptions).
    """
    import slicer.util

    application = start()
    slicer.mrmlScene.Clear(0)
    for node in slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode"):
        slicer.mrmlScene.RemoveNode(node)  # Clear(0) keeps singletons, and parameter nodes are singletons
    application.clearRecords()
    slicer.packaging.reset()
    slicer.packaging.install_pytorch_utils()
    yield application
    slicer.packaging.reset()  # torch, hidden from the module, is there for tests that need no Slicer
    application.processEvents()
    unseen = application.takeSlotExceptions()
    assert not unseen, f"slots raised exceptions that the test did not expect: {unseen!r}"
