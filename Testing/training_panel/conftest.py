"""The training panel, opened as Slicer opens it."""

import json

import pytest
from training_panel_helpers import MODULE, FakeProcesses, training_process


@pytest.fixture
def processes(slicer_app, monkeypatch):
    """Processes that are made up, and end when the test says so; monkeypatch.undo() brings back real ones."""
    fakes = FakeProcesses()
    monkeypatch.setattr(training_process(), "start_process", fakes.start)
    return fakes


@pytest.fixture
def panel(slicer_app, processes):
    """The module's Python widget, opened and entered."""
    import standin

    slicer_app.userSettings().clear()
    module = standin.load_module(MODULE)
    representation = module.widgetRepresentation()
    representation.enter()
    widget = representation.self()
    widget.processes = processes
    yield widget
    standin.unload_module(module)


@pytest.fixture
def data(tmp_path):
    """A data set's folder; the panel itself looks at nothing but dataset.json."""
    folder = tmp_path / "data"
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    content = {"labels": {"0": "background", "1": "Anterior", "2": "Posterior"}, "modality": {"0": "T1"}}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def ready(panel, data, tmp_path):
    """The panel with everything chosen."""
    panel.ui.dataFolderEdit.currentPath = str(data)
    panel.ui.outputFolderEdit.currentPath = str(tmp_path / "run")
    return panel
