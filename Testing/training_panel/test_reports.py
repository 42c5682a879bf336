"""The report of a failure, to be sent to the developers: all that helps them, and nothing that names a patient."""

import json

import pytest
from training_panel_helpers import tell

PRINTED = """Traceback (most recent call last):
  File "{data}/imagesTr/Miller_Ann_0000.nii.gz", line 12
epoch 12: case Miller_Ann, label Miller_Ann.seg.nrrd, in {run}
error: Miller_Ann is damaged
"""


@pytest.fixture
def patients(ready, tmp_path):
    """The panel with scans that are named like their patient, in a folder that is named so too."""
    data = tmp_path / "Miller family"
    for name in ("imagesTr/Miller_Ann_0000.nii.gz", "labelsTr/Miller_Ann.seg.nrrd", "imagesTr/12.nii.gz"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).touch()
    ready.ui.dataFolderEdit.currentPath = str(data)
    return ready


def copied(button):
    import slicer

    slicer.app.clipboard().setText("")
    assert not button.isHidden()
    button.click()
    return slicer.app.clipboard().text()


def printed(panel, tmp_path):
    return PRINTED.format(data=panel._parameterNode.dataFolder, run=tmp_path / "run")


def test_report_of_a_training(patients, tmp_path):
    button = patients.ui.copyReportButton
    assert button.isHidden()
    patients.ui.startButton.click()
    process = patients.processes.started[-1]
    process.write("x\n" * 100 + printed(patients, tmp_path))
    process.code = 1
    patients.poll()
    patients.ui.dataFolderEdit.currentPath = ""  # what it was started with is kept out all the same
    report = copied(button)
    for part in (
        "RAREUNet 0.",
        "Slicer 5.12.3",
        "torch ",
        "monai ",
        "System: ",
        '"batch_size": 2',
        '"Anterior"',
    ):
        assert part in report
    assert "What happened: The training ended unexpectedly: error: [scan] is damaged" in report
    assert 'File "[file]", line 12' in report
    assert "epoch 12: case [scan], label [file], in [folder]" in report
    assert report.startswith("Look it over before you send it.\n")
    assert "Miller" not in report
    assert str(tmp_path) not in report
    assert report.count("x\n") == 36  # the last 40 lines
    patients.ui.dataFolderEdit.currentPath = str(tmp_path)
    patients.ui.startButton.click()
    assert button.isHidden()


def test_report_of_a_training_that_another_slicer_started(ready, tmp_path):
    """The run's own settings tell where its scans are."""
    run, data = tmp_path / "run", tmp_path / "Miller"
    data.mkdir()
    (data / "Ann.nii.gz").touch()
    tell(run, "failed", message=f"{data} holds Ann, not Bob, not Eve")
    (tmp_path / "folds.json").write_text('[["Eve"], ["7"]]')
    sections = {
        "data": {"folder": str(data), "exclude": ["Bob"], "fold": 2, "folds": str(tmp_path / "folds.json")},
        "model": {"start_from": f"{run}/a"},
    }
    sections["log"] = {"wandb": ""}
    (run / "config.json").write_text(json.dumps(sections))
    (run / "log.txt").touch()  # of the run's own files no name is taken out
    ready.poll()
    report = copied(ready.ui.copyReportButton)
    assert "What happened: The training failed: [folder] holds [scan], not [scan], not [scan]" in report
    assert 'Settings, data: {"fold": 2}' in report
    assert '"start_from": "[folder]"' in report
    assert 'Settings, log: {"wandb": ""}' in report
    assert "Bob" not in report


def test_of_a_run_that_nothing_is_known_of_no_more_than_a_traceback_is_told(ready, tmp_path):
    """It failed while it read the scans, and another Slicer started it: the names of its scans can't be found out."""
    run = tmp_path / "run"
    tell(run, "failed", message="Ann_Miller is damaged")
    (run / "log.txt").write_text(
        "case Ann Miller\nTraceback (most recent call last):\n"
        '  File "/home/Miller/site-packages/rareunet_training/data/cases.py", line 7, in find_cases\n'
        "    raise ValueError(name)\nrareunet.NoSuchError: Ann Miller\nValueError: Ann\nerror: Ann_Miller is damaged\n"
    )
    sections = {"fit": {"epochs": 77}, "data": {"folder": ""}}
    (run / "panel.json").write_text(json.dumps(sections))  # of an earlier run
    ready.poll()
    report = copied(ready.ui.copyReportButton)
    assert "What happened: left out with what was printed, but for a traceback" in report
    assert report.endswith(
        'Traceback (most recent call last):\n  File "rareunet_training/data/cases.py", line 7, in find_cases\n'
        "rareunet.NoSuchError\nValueError"
    )
    for name in ("Ann", "Miller", "77"):
        assert name not in report


def test_scans_that_are_gone_are_not_told(patients, tmp_path):
    """On a disk that was unplugged; nothing lists their names any more."""
    patients.ui.startButton.click()
    process = patients.processes.started[-1]
    process.write(
        printed(patients, tmp_path).replace("Miller_Ann", "Gone_Eve").replace("Gone_Eve is", "it is")
    )
    process.write(f"error: {patients._parameterNode.dataFolder}/imagesTr/Gone_Eve_0000.nii.gz: not there\n")
    process.code = 1
    patients.poll()
    patients.ui.dataFolderEdit.currentPath = ""
    report = copied(patients.ui.copyReportButton)
    assert "error: [file]: not there" in report
    assert "in [folder]" in report
    assert "label Gone_Eve" not in report
    assert "Gone_Eve_0000" not in report


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/x/Miller/imagesTr/Ann_Miller.nii.gz: damaged", "[file]: damaged"),
        ("error: /x/Miller family/imagesTr is no folder", "error: [file] is no folder"),
        ("read /x/O'Neil, Ann/scans, 3 of 4", "read [file], [file], 3 of 4"),
        ("/x/Ann Marie Miller.nii.gz, 3 of them", "[file], 3 of them"),
        ("'/x/Ann Miller' and \"C:\\\\Ann Miller\\\\a b\" differ", "'[file]' and \"[file]\" differ"),
        ("data.folder=/x/Miller", "data.folder=[file]"),
        (r"in D:\Miller\scans.", "in [file]."),
        (r"\\clinic\Ann Miller\7: gone", "[file]: gone"),
        ("file:///x/Miller and", "[file] and"),
        ("//clinic/Miller", "[file]"),
        ("[folder]/imagesTr/Miller_Ann (no scan)", "[file] (no scan)"),
        ("~/Miller/a", "[file]"),
        ("case Miller_Ann.NRRD, 'Ann Miller.seg.mha'", "case [file], '[file]'"),
        ("/usr/lib/python3.12/json/decoder.py:355: Warning", "json/decoder.py:355: Warning"),
        (r'File "C:\Users\Ann M\Lib\site-packages\monai\a.py", line 3', r'File "monai\a.py", line 3'),
        ('"/Miller/RAREUNetTraining/Scripts/train.py"', '"RAREUNetTraining/Scripts/train.py"'),
        ('"/Miller/rareunet/Ann.nii.gz"', '"[file]"'),
    ],
)
def test_what_looks_like_a_path_is_taken_out(slicer_app, text, told):
    from RAREUNetTrainingLib.private_names import without_paths

    assert without_paths(text) == told


@pytest.mark.parametrize(
    "text",
    [
        "epoch 1/5, 10 / 2: dice scale 1/2 is 0.5",
        "see https://github.com/a/b",
        "accepted are .nii, .nii.gz and *.nrrd",
        '{"a": "b", "shape": [1, 2]}',
        "3/10 [00:01<00:02, 1.2it/s]",
    ],
)
def test_what_is_no_path_stays(slicer_app, text):
    from RAREUNetTrainingLib.private_names import without_paths

    assert without_paths(text) == text


def test_report_of_a_check(patients, tmp_path):
    button = patients.ui.copyCheckReportButton
    assert button.isHidden()
    patients.ui.checkButton.click()
    process = patients.processes.started[-1]
    process.write(printed(patients, tmp_path))
    process.code = 1
    patients.poll()
    report = copied(button)
    assert "What happened: The check failed: error: [scan] is damaged" in report
    assert "model.reference_spacing_mm=[1.0, 1.0, 1.0]" in report
    assert "Miller" not in report
    patients.ui.checkButton.click()
    assert button.isHidden()


def test_folders_that_a_configuration_file_names_are_left_out(patients, tmp_path):
    labels = tmp_path / "Miller labels"
    (tmp_path / "Miller.toml").write_text("[data]\nlabels = 'Miller labels'\n[fit]\nepochs = 3\n")
    patients.ui.configFileEdit.currentPath = str(tmp_path / "Miller.toml")
    patients.ui.checkButton.click()
    process = patients.processes.started[-1]
    process.write(f"error: {labels} is not a folder, says {tmp_path / 'Miller.toml'}\n")
    process.code = 2
    patients.poll()
    report = copied(patients.ui.copyCheckReportButton)
    assert "error: [folder] is not a folder, says [folder]" in report
    assert '"epochs": 3' in report
    assert "Miller" not in report


def test_a_training_that_was_stopped_has_no_report(ready, tmp_path):
    ready.ui.startButton.click()
    tell(tmp_path / "run", "stopped")
    ready.processes.started[-1].code = 130
    ready.poll()
    assert ready.ui.copyReportButton.isHidden()


def test_names_in_a_csv_file_are_taken_out(slicer_app, tmp_path):
    from RAREUNetTrainingLib.private_names import without_names

    file = tmp_path / "cases.csv"
    file.write_text('case,image,label\nMiller 1,"scans/Ann/1.nii.gz",bob.mha\n')
    text = f"{file}: Miller 1 and scans/Ann/1.nii.gz have label bob, not bobsleigh; line 1"
    told = "[folder]: [scan] and [scan]/[scan]/[scan] have label [scan], not bobsleigh; line 1"
    assert without_names(text, [str(file)]) == told


def test_half_a_name_is_left_out(slicer_app, tmp_path):
    from RAREUNetTrainingLib.training_run import LOG_BYTES, end_of_file

    (tmp_path / "log").write_text("Miller\n" + "x" * (LOG_BYTES - 4))
    assert end_of_file(tmp_path / "log") == "x" * (LOG_BYTES - 4)


@pytest.mark.parametrize("source", ["", "/", "/nowhere/at/all"])
def test_where_there_are_no_scans_the_text_stays(slicer_app, source):
    from RAREUNetTrainingLib.private_names import without_names

    assert without_names("10 / 2 imagesTr", [source]) == "10 / 2 imagesTr"
