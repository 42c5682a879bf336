"""The fit command in one folder: what is refused, and that a refusal leaves the folder as it is."""

import json

import pytest
from training_helpers import write_data_set

from rareunet_training import loading, output_folder
from rareunet_training.__main__ import main
from rareunet_training.commands import fit
from rareunet_training.distributed import Processes
from rareunet_training.output_folder import claimed


def start(folder, *words):
    files = ["--config", str(folder / "balls.toml"), "--output", str(folder / "out")]
    return main(["fit", *files, "fit.epochs=1", "log.tensorboard=false", *words])


@pytest.fixture
def finished(tmp_path):
    """A folder with a run of one epoch that has ended."""
    write_data_set(tmp_path)
    assert start(tmp_path) == 0
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_finished_run_stays_as_it_is_unless_it_is_resumed(finished, capsys):
    before = contents(finished / "out")
    assert start(finished) == 1
    assert "go on with it by --resume, or choose a new --output folder" in capsys.readouterr().err
    assert contents(finished / "out") == before
    assert json.loads((finished / "out" / "progress.json").read_text())["state"] == "finished"


def test_resumed_run_tells_changed_settings_and_the_time_left(finished, capsys):
    assert start(finished, "--resume", "fit.seed=7") == 1
    assert "fit.seed 0 -> 7" in capsys.readouterr().err
    assert start(finished, "--resume", "fit.epochs=3", "fit.learning_rate=0.01") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "changed settings: fit.learning_rate 0.001 -> 0.01" in lines
    (second,) = [line for line in lines if line.startswith("epoch 2/3")]
    assert second.endswith("s left")


def test_second_run_in_a_folder_is_refused(tmp_path, monkeypatch, capsys):
    write_data_set(tmp_path)
    monkeypatch.setattr(output_folder, "SECONDS_TO_BE_GONE", 0.3)
    stop = tmp_path / "out" / "stop"
    with claimed(tmp_path / "out", False, Processes()):
        stop.touch()  # meant for the run that goes on
        before = contents(tmp_path / "out")
        assert start(tmp_path) == 1
        assert f"another run writes to {tmp_path / 'out'}: wait for its end" in capsys.readouterr().err
        assert contents(tmp_path / "out") == before
    with claimed(tmp_path / "out", False, Processes()):
        assert not stop.exists()


def test_refusal_reaches_the_processes_that_hold_no_lock(tmp_path, monkeypatch):
    second = Processes(1, 2, 1, 2)
    monkeypatch.setattr(Processes, "from_first", lambda processes, problem: "another run writes")
    with pytest.raises(ValueError, match="another run writes"), claimed(tmp_path / "out", False, second):
        pass
    assert not (tmp_path / "out").exists()


def test_what_the_bundle_refuses_is_said_before_a_scan_is_read(tmp_path, monkeypatch, capsys):
    write_data_set(tmp_path)
    monkeypatch.setattr(loading, "find_cases", lambda *words: pytest.fail("scans were looked for"))
    assert start(tmp_path, "model.name=Hippo Campus") == 1
    assert "name must match pattern" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_exit_code_of_an_unknown_setting_is_the_one_that_the_help_names(tmp_path, capsys):
    write_data_set(tmp_path)
    assert start(tmp_path, "fit.epoch=3") == 1
    assert "unknown configuration fit.epoch" in capsys.readouterr().err
    assert "1 failed, or a setting or the data can't be used; 2 wrong arguments" in fit.__doc__
