"""The fit command in one folder: what is refused, and that a refusal leaves the folder as it is."""

import json
import os
import sys

import pytest
import torch
from training_helpers import write_data_set

from rareunet.errors import MemoryLadderError
from rareunet_training import PROCESS_STARTED
from rareunet_training.__main__ import main
from rareunet_training.commands import fit
from rareunet_training.training import fitting, loading, output_folder
from rareunet_training.training.distributed import Processes
from rareunet_training.training.output_folder import claimed
from rareunet_training.training.trainer import Trainer


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
    assert "changed settings: fit.epochs 1 -> 3, fit.learning_rate 0.001 -> 0.01" in lines
    (second,) = [line for line in lines if line.startswith("epoch 2/3")]
    assert second.endswith("s left")


@pytest.mark.parametrize(("patch", "told"), [([8, 8, 8], True), ([16, 16, 16], False)])
def test_patches_far_smaller_than_the_scans_are_told_of(tmp_path, capsys, patch, told):
    write_data_set(tmp_path)  # of 18 voxels along each axis
    assert start(tmp_path, f"fit.patch={patch}") == 0
    assert ("warning: 4 of 4 scans are more than 1.5 times as large" in capsys.readouterr().err) == told
    assert start(tmp_path, "--resume", f"fit.patch={patch}", "fit.epochs=2") == 0
    assert "times as large" not in capsys.readouterr().err  # its advice would be refused now


def test_output_folder_that_can_not_be_made_is_explained(tmp_path, capsys):
    write_data_set(tmp_path)
    (tmp_path / "out").write_text("a file")
    assert start(tmp_path) == 1
    assert f"{tmp_path / 'out'} is not a folder and can't be made one" in capsys.readouterr().err


def test_resumed_run_that_has_its_epochs_says_so(finished, capsys):
    assert start(finished, "--resume") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "the training is done (epoch 1): only the model has yet to be written" in lines
    assert not any(line.startswith(("epoch", "going on")) for line in lines)


def test_resumed_run_that_has_waited_enough_says_so(tmp_path, capsys):
    write_data_set(tmp_path)
    words = ("fit.epochs=4", "fit.patience=1", "fit.validate_every=1", "fit.learning_rate=1e-12")
    assert start(tmp_path, *words) == 0
    assert not [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch 4/4")]
    assert start(tmp_path, "--resume", *words) == 0
    assert "the training is done (epoch 2)" in capsys.readouterr().out


def test_resuming_where_nothing_was_begun_starts_anew(tmp_path, capsys):
    write_data_set(tmp_path)
    assert start(tmp_path, "--resume") == 0
    said = capsys.readouterr()
    assert f"{tmp_path / 'out' / 'last.ckpt'} does not exist: the training starts anew" in said.err
    assert any(line.startswith("epoch 1/1") for line in said.out.splitlines())


def test_scores_are_written_before_anyone_is_shown_them(tmp_path, monkeypatch, capsys):
    write_data_set(tmp_path)

    def reader_is_gone(results):
        raise BrokenPipeError("reader is gone")

    monkeypatch.setattr(fitting, "show", reader_is_gone)
    assert start(tmp_path) == 1
    assert "reader is gone" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["scores"]
    (bundle,) = (tmp_path / "out").glob("*/bundle.json")
    assert json.loads(bundle.read_text())["resolution_card"]


def test_scores_are_those_of_the_model_that_is_written(finished):
    (folder,) = (path.parent for path in (finished / "out").glob("*/bundle.json"))
    words = ["--config", str(finished / "balls.toml"), "--output", str(finished / "again")]
    assert main(["evaluate", str(folder), *words]) == 0
    ours, theirs = (
        json.loads((finished / name / "scores.json").read_text())["scores"] for name in ("out", "again")
    )
    assert [untimed(score) for score in ours] == [untimed(score) for score in theirs]


def untimed(score):
    return {name: value for name, value in score.items() if name != "seconds"}


def test_interrupted_command_ends_by_the_code_of_the_signal(monkeypatch, capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(fit, "run", interrupted)
    assert main(["fit", "--config", "any.toml", "--output", "out"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


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
        assert stop.exists()  # asked of this process, while it started
    os.utime(stop, (PROCESS_STARTED - 1,) * 2)
    with claimed(tmp_path / "out", False, Processes()):
        assert not stop.exists()


@pytest.mark.parametrize(("fold", "code"), [(0, 0), (1, 1), (-1, 0)])
def test_model_that_has_learnt_the_held_out_cases_is_no_start(finished, capsys, fold, code):
    (model,) = [path.parent for path in (finished / "out").glob("*/bundle.json")]
    (finished / "out").rename(finished / "first")
    start_from = finished / "first" / model.name
    assert start(finished, f"model.start_from={start_from}", f"data.fold={fold}") == code
    refusal = "model.start_from was trained on 1 of the 1 held-out cases"
    assert (refusal in capsys.readouterr().err) == bool(code)


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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model.name=stop"], "choose another name"),
        (["model.name=balls"], "also holds notes.txt"),
        (["model.name=other", "log.wandb=project"], "pip install wandb"),
    ],
)
def test_what_would_fail_at_the_end_is_said_before_a_scan_is_read(
    tmp_path, monkeypatch, capsys, words, message
):
    write_data_set(tmp_path)
    (tmp_path / "out" / "balls").mkdir(parents=True)
    (tmp_path / "out" / "balls" / "notes.txt").touch()
    (tmp_path / "out" / "balls" / ".DS_Store").touch()
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr(loading, "find_cases", lambda *words: pytest.fail("scans were looked for"))
    assert start(tmp_path, *words) == 1
    assert message in capsys.readouterr().err


def test_exit_code_of_an_unknown_setting_is_the_one_that_the_help_names(tmp_path, capsys):
    write_data_set(tmp_path)
    assert start(tmp_path, "fit.epoch=3") == 1
    assert "unknown configuration fit.epoch" in capsys.readouterr().err
    assert "1 failed, or a setting or the data can't be used; 2 wrong arguments" in fit.__doc__


@pytest.mark.parametrize(
    ("rank", "size", "words"), [(0, 5, "3 of 5"), (0, 3, "1 of 3"), (0, 2, ""), (1, 5, "")]
)
def test_processes_without_a_case_are_told(tmp_path, monkeypatch, capsys, rank, size, words):
    write_data_set(tmp_path)
    monkeypatch.setattr(Processes, "start", lambda device: Processes(rank, size, rank, size))
    monkeypatch.setattr(Processes, "from_first", lambda processes, value: value)
    monkeypatch.setattr(fitting, "_prepare_and_train", lambda *words: tmp_path)
    assert start(tmp_path, "fit.batch_size=2") == 0
    told = capsys.readouterr().err
    expected = (
        f"{words} processes would have nothing to do: set fit.batch_size to at least {size}, or start 2."
    )
    assert (expected in told) if words else not told


LOWER = (
    "set fit.precision=bfloat16, lower fit.patch, fit.wide_patch, fit.batch_size, fit.coarse_patches or data.cache_gb,"
    " or choose a smaller network (model.network)."
)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), f"training ran out of memory: {LOWER}"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), f"training ran out of memory: {LOWER}"),
        (
            torch.cuda.OutOfMemoryError("CUDA out of memory."),
            f"training ran out of the GPU's memory: {LOWER}",
        ),
        (MemoryLadderError("small tiles need 3 GB."), "small tiles need 3 GB."),
        (RuntimeError("another fault"), "another fault"),
    ],
)
def test_too_little_memory_is_told_with_the_settings_to_lower(tmp_path, monkeypatch, capsys, error, message):
    def fail(trainer):
        raise error

    write_data_set(tmp_path)
    monkeypatch.setattr(Trainer, "run", fail)
    assert start(tmp_path) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == f"error: {message}"
    # Where a library's error was raised helps whoever looks for its cause.
    assert any(line.startswith("Traceback") for line in lines) == (message == "another fault")
    told = json.loads((tmp_path / "out" / "progress.json").read_text(encoding="utf-8"))
    assert (told["state"], told["message"]) == ("failed", message)


@pytest.mark.parametrize(
    ("error", "told"),
    [(MemoryError, "out of memory: close other programs."), (ConnectionResetError, "ConnectionResetError")],
)
def test_an_error_without_words_is_told_by_its_kind(tmp_path, monkeypatch, capsys, error, told):
    def fail(*words):
        raise error

    monkeypatch.setattr(fit, "read_config", fail)
    assert start(tmp_path) == 1
    assert capsys.readouterr().err == f"error: {told}\n"
