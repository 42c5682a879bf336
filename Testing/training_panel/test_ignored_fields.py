"""Fields that don't count are greyed out, and the others are not."""

from dataclasses import replace

import pytest
from training_panel_helpers import stopped_run

FOLDERS = {"data_folder", "labels_folder"}  # Check reads them, whatever Resume does


@pytest.fixture
def choices(slicer_app, tmp_path):
    """A choice, and one that differs in all fields but the output folder."""
    from RAREUNetTrainingLib.training_choice import TrainingChoice, structure

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "own.toml").touch()
    folder, run = str(tmp_path / "a"), str(tmp_path / "run")
    one = TrainingChoice(
        folder, "", run, "a", (structure(1, "A"),), ("T1",), "1 x 1 x 1", "8 x 8 x 8", 5, "auto"
    )
    folder, structures = str(tmp_path / "b"), (structure(2, "B"),)
    other = TrainingChoice(folder, folder, run, "b", structures, ("T2",), "2 x 2 x 2", "9 x 9 x 9", 6, "cpu")
    file = str(tmp_path / "own.toml")
    return one, replace(other, config_file=file, batch_size=3, precision="bfloat16", patience=4)


@pytest.mark.parametrize("is_begun", [False, True])
@pytest.mark.parametrize("has_file", [False, True])
@pytest.mark.parametrize("device", ["auto", "cuda:1"])
def test_a_field_is_told_to_be_ignored_if_it_makes_no_difference(
    choices, processes, tmp_path, is_begun, has_file, device
):
    from RAREUNetTrainingLib.ignored_fields import ignored_fields
    from RAREUNetTrainingLib.training_session import TrainingSession

    def started(choice):
        """The command of the process, and the settings that were written for it."""
        TrainingSession(run).start(choice)
        return processes.started[-1].command, [file.read_text() for file in tmp_path.glob("run/panel.json")]

    run, (one, other) = str(tmp_path / "run"), choices
    if is_begun:
        stopped_run(tmp_path / "run", epoch=1, epochs=5, device=device)
    if has_file:
        one, other = (replace(choice, config_file=other.config_file) for choice in choices)
    values = {name: value for name, value in vars(other).items() if value != getattr(one, name)}
    assert len(values) == len(vars(one)) - 1 - has_file  # all but the output folder
    as_it_is = started(one)
    without_effect = {name for name in values if started(replace(one, **{name: values[name]})) == as_it_is}
    ignored, reason = ignored_fields(one, TrainingSession(run).status())
    assert set(ignored) == without_effect - FOLDERS
    assert bool(reason) == (is_begun or has_file)


def test_ignored_fields_are_greyed_out_and_the_reason_is_said(ready, tmp_path):
    ui = ready.ui

    def enabled():
        edits = ui.nameEdit, ui.structuresTable, ui.patienceSpinBox, ui.epochsSpinBox, ui.dataFolderEdit
        return [edit.enabled for edit in edits]

    assert enabled() == [True] * 5
    assert ui.ignoredLabel.isHidden()
    (tmp_path / "own.toml").touch()
    ui.configFileEdit.currentPath = str(tmp_path / "own.toml")
    assert enabled() == [False] * 4 + [True]
    assert "clear the file under Advanced" in ui.ignoredLabel.text
    ui.configFileEdit.currentPath = ""
    ui.startButton.click()
    assert enabled() == [False] * 5
    assert ui.outputFolderEdit.enabled
    stopped_run(tmp_path / "run", epoch=1, epochs=5, device="auto")
    ready.processes.started[-1].code = 130
    ready.poll()
    assert enabled() == [False] * 3 + [True] * 2
    assert "only Epochs and Compute on" in ui.ignoredLabel.text
    assert not ui.ignoredLabel.isHidden()
    ui.outputFolderEdit.currentPath = str(tmp_path / "another")
    assert enabled() == [True] * 5


def test_every_field_has_its_widgets(panel):
    from RAREUNetTrainingLib.panel_state import WIDGETS
    from RAREUNetTrainingLib.training_choice import TrainingChoice

    assert set(WIDGETS) == set(TrainingChoice.__dataclass_fields__)
