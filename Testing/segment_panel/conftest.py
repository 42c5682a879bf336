"""The panel, opened as Slicer opens it, and clients of worker processes of their own."""

import numpy as np
import pytest
from segment_helpers import MODULE, save_tiny_model

from rareunet.volume import Volume


@pytest.fixture
def models(tmp_path, monkeypatch):
    """Packaged models: one of random weights, called hippocampus, and one with two channels."""
    from rareunet import installed_models

    folder = tmp_path / "packaged"
    save_tiny_model(folder, "hippocampus")
    save_tiny_model(folder, "pair", title="Pair", channels=({"name": "T1"}, {"name": "T2"}))
    monkeypatch.setattr(installed_models, "PACKAGED_MODELS", folder)
    return folder


@pytest.fixture
def panel(slicer_app, models):
    """The module's Python widget, opened and entered."""
    import standin

    module = standin.load_module(MODULE)
    representation = module.widgetRepresentation()
    representation.enter()
    yield representation.self()
    standin.unload_module(module)


@pytest.fixture
def request_one(tmp_path):
    from RAREUNetSegmentLib.worker_client import Request

    voxels = np.random.default_rng(0).normal(100, 20, (20, 22, 24)).astype(np.float32)
    model = save_tiny_model(tmp_path / "models").folder
    return Request((Volume(voxels, np.eye(4), "Mrs Miller"),), None, str(model), "cpu", None, True)


@pytest.fixture
def make_client(slicer_app, tmp_path):
    """Clients with private folders in tmp_path / "temporary"; nothing may be left there."""
    from RAREUNetSegmentLib.worker_client import WorkerClient

    folder, made = tmp_path / "temporary", []
    folder.mkdir()

    def make(command=None, **options):
        made.append(WorkerClient(str(folder), command, **options))
        return made[-1]

    yield make
    for client in made:
        client.close()
    slicer_app.processEvents()
    assert list(folder.iterdir()) == []
