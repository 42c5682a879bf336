"""What a run leaves for people and programs: history.csv, event files, progress.json, pictures."""

import json
import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_helpers import config_of_balls, make_trainer, samples

from rareunet_training.evaluation.conditions import quick_conditions
from rareunet_training.evaluation.scores import Score
from rareunet_training.monitoring import curves
from rareunet_training.monitoring.curves import draw_curves
from rareunet_training.monitoring.epoch_report import EpochReport
from rareunet_training.monitoring.history import History, check_log
from rareunet_training.monitoring.history_file import read_history
from rareunet_training.monitoring.progress import Progress, ProgressWriter, duration
from rareunet_training.reports.pictures import draw_cases


def report(epoch, **losses):
    return EpochReport(epoch, {"total": 1.0 / epoch, **losses}, 1e-3, 2.0, 5.0)


def test_rows_have_a_column_for_every_view_that_was_drawn(tmp_path):
    history = History(tmp_path, config_of_balls("log.tensorboard=false"))
    history.add(report(1, own=0.5))
    second = report(2, degraded=0.25)
    second.scores = [
        Score("a", "native", (1.0,) * 3, (0.5, 0.7), 0.1),
        Score("b", "native", (1.0,) * 3, (0.8, 0.8), 0.1),
    ]
    history.add(second)
    header = (tmp_path / "history.csv").read_text(encoding="utf-8").splitlines()[0]
    assert (
        header
        == "epoch,seconds,learning_rate,samples_per_second,loss total,loss own,loss degraded,dice native"
    )
    first, last = read_history(tmp_path / "history.csv")
    assert "dice native" not in first
    assert last["dice native"] == pytest.approx(0.7)


def test_resumed_run_replaces_the_rows_it_repeats(tmp_path):
    quiet = config_of_balls("log.tensorboard=false")
    first = History(tmp_path, quiet)
    for epoch in (1, 2, 3):
        first.add(report(epoch))
    again = History(tmp_path, quiet, first_epoch=1)
    again.add(report(2))
    assert [row["epoch"] for row in read_history(tmp_path / "history.csv")] == [1, 2]


@pytest.mark.parametrize(
    "content",
    [
        b"epoch;loss total\n1;0,5\n",
        b"Epoch,loss total\n1,0.5\n",
        b"epoch,a\n1,2,3\n",
        b"epoch,a\n1,\xff\n",
        b"epoch,a\n1," + b"1" * 200_000,
    ],
    ids=["another language's", "another title", "too many cells", "no text", "too long"],
)
def test_a_history_that_another_program_has_changed_is_put_aside(tmp_path, capsys, content):
    (tmp_path / "history.csv").write_bytes(content)
    history = History(tmp_path, config_of_balls("log.tensorboard=false"), first_epoch=1)
    history.add(report(2))
    assert [row["epoch"] for row in read_history(tmp_path / "history.csv")] == [2]
    assert (tmp_path / "history.old.csv").read_bytes() == content
    assert "was renamed to history.old.csv" in capsys.readouterr().err


def test_numbers_reach_tensorboard(tmp_path):
    history = History(tmp_path, config_of_balls())
    history.add(report(1, own=0.5))
    history.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Scalars("loss/own")[0].value == 0.5


def test_repeated_epochs_replace_those_of_tensorboard(tmp_path):
    """Each number has its epoch, is there before the run ends, and is given once."""

    def loss():
        events = EventAccumulator(str(tmp_path / "tensorboard"))
        events.Reload()
        return [(event.step, round(event.value, 3)) for event in events.Scalars("loss/own")]

    first = History(tmp_path, config_of_balls())
    for epoch in (1, 2, 3):
        first.add(report(epoch, own=0.5))
    assert loss() == [(1, 0.5), (2, 0.5), (3, 0.5)]
    first.close()
    again = History(tmp_path, config_of_balls(), first_epoch=1)
    again.add(report(2, own=0.25))
    again.close()
    assert loss() == [(1, 0.5), (2, 0.25)]


def test_conditions_keep_their_spaces_in_tensorboard(tmp_path):
    history, scored = History(tmp_path, config_of_balls()), report(1)
    scored.scores = [Score("a", "scale 1/2 (aligned)", (1.0,) * 3, (0.5,), 0.1)]
    history.add(scored)
    history.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert "dice/scale 1/2 (aligned)" in events.Tags()["scalars"]


def test_small_rates_and_whole_epochs_survive_the_file(tmp_path):
    quiet = config_of_balls("log.tensorboard=false")
    History(tmp_path, quiet).add(EpochReport(1, {"total": 1.0}, 3.3e-7, 2.34, 5.0))
    (row,) = read_history(tmp_path / "history.csv")
    assert (row["learning_rate"], row["seconds"]) == (3.3e-7, 2.34)
    assert isinstance(row["epoch"], int)
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]  # no event files


def test_numbers_reach_weights_and_biases_only_if_asked(tmp_path, monkeypatch):
    logged, begun = [], []
    run = SimpleNamespace(
        log=lambda numbers, step: logged.append((step, numbers["loss total"])),
        finish=lambda: logged.append("finished"),
    )
    told = []

    def init(**options):
        begun.append(options["id"])
        told.append(options["config"])
        return run

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    History(tmp_path, config_of_balls("log.tensorboard=false")).add(report(1))
    assert logged == []
    asked = config_of_balls("log.tensorboard=false", "log.wandb=project", "data.exclude=['Brown']")
    history = History(tmp_path, asked)
    history.add(report(2))
    history.close()
    assert logged == [(2, 0.5), "finished"]
    for first_epoch in (2, 0):
        History(tmp_path, asked, first_epoch)
    assert begun[0] == begun[1] != begun[2]  # Weights & Biases knows a run that goes on by its id alone
    assert told[0]["data"] == {"fold": 0, "fold_count": 5}  # no folder, no name of a case
    assert "Brown" not in str(told)


def test_missing_wandb_is_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match="pip install wandb"):
        check_log(config_of_balls("log.wandb=project"))
    check_log(config_of_balls())


def test_progress_tells_the_state_and_the_time_left(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("rareunet_training.monitoring.progress.time.monotonic", lambda: clock[0])
    progress = ProgressWriter(tmp_path, epochs=4)
    for step in range(1, 5):  # 10 s a step, 4 steps an epoch: 16 steps in all
        clock[0] += 10
        progress.step(0, step, 4)
    now = json.loads((tmp_path / "progress.json").read_text(encoding="utf-8"))
    assert (now["state"], now["step"], now["steps"], now["epochs"]) == ("training", 4, 4, 4)
    assert now["seconds_left"] == pytest.approx(120)
    progress.tell("failed", "the disk is full")
    now = json.loads((tmp_path / "progress.json").read_text(encoding="utf-8"))
    assert (now["state"], now["message"]) == ("failed", "the disk is full")


def progress_of(folder):
    return json.loads((folder / "progress.json").read_text(encoding="utf-8"))


def test_progress_is_written_once_a_second_and_at_the_end_of_an_epoch(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("rareunet_training.monitoring.progress.time.monotonic", lambda: clock[0])
    progress = ProgressWriter(tmp_path, epochs=2)
    seen = []
    for step in range(1, 5):
        progress.step(0, step, 4)
        seen.append(progress_of(tmp_path)["step"])
        clock[0] += 0.6
    assert seen == [1, 1, 3, 3]
    assert progress_of(tmp_path)["pid"] == os.getpid()
    progress.epoch_done(1)
    assert (progress_of(tmp_path)["epoch"], progress_of(tmp_path)["step"]) == (1, 0)
    progress.tell("finished", bundle="a folder")
    assert progress_of(tmp_path)["bundle"] == "a folder"


def test_time_left_is_unknown_at_first_and_counts_what_this_run_did(tmp_path, monkeypatch):
    """A run resumed in epoch 3 of 4: 10 s a step, 6 of 16 steps left after its second one."""
    clock = [0.0]
    monkeypatch.setattr("rareunet_training.monitoring.progress.time.monotonic", lambda: clock[0])
    progress = ProgressWriter(tmp_path, epochs=4)
    left = []
    for step in (1, 2):
        clock[0] += 10
        progress.step(2, step, 4)
        left.append(progress_of(tmp_path)["seconds_left"])
    assert left == [-1, 60]


@pytest.mark.parametrize(
    ("progress", "fraction"),
    [
        (Progress(), 0),
        (Progress(epochs=4, epoch=1), 0.25),
        (Progress(epochs=4, epoch=1, step=1, steps=2), 0.375),
        (Progress(epochs=4, epoch=4, step=1, steps=2), 1),
    ],
)
def test_fraction_counts_the_steps_of_the_epoch(progress, fraction):
    assert progress.fraction == fraction


def test_full_disk_does_not_end_the_run_that_tells_of_itself(tmp_path, capsys):
    (tmp_path / "progress.json").mkdir()  # a folder in the way fails the write
    ProgressWriter(tmp_path, 1).tell("training")
    assert "progress.json could not be written" in capsys.readouterr().err


def test_other_processes_write_no_progress(tmp_path):
    ProgressWriter(tmp_path, 1, enabled=False).tell("training")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "?"), (89, "89 s"), (100, "2 min"), (600, "10 min"), (12000, "3 h 20 min")],
)
def test_duration_as_a_person_says_it(seconds, text):
    assert duration(seconds) == text


def drawn(monkeypatch, folder, rows):
    """The two plots of curves.png."""
    figures = []

    class Recorded(Figure):
        def savefig(self, *arguments, **options):
            figures.append(self)
            super().savefig(*arguments, **options)

    monkeypatch.setattr(curves, "Figure", Recorded)
    draw_curves(rows, folder / "curves.png")
    assert [path.name for path in folder.iterdir()] == ["curves.png"]
    (figure,) = figures
    return figure.axes


def test_curves_hold_every_number_at_its_epoch(tmp_path, monkeypatch):
    rows = [
        {"epoch": 3, "loss total": 2.0, "dice native": 0.5},
        {"epoch": 4, "loss total": 1.5, "loss own": 1.0},
    ]
    loss, dice = drawn(monkeypatch, tmp_path, rows)
    assert {line.get_label(): line.get_xydata().tolist() for line in loss.lines} == {
        "total": [[3, 2.0], [4, 1.5]],
        "own": [[4, 1.0]],
    }
    assert [(line.get_label(), line.get_xydata().tolist()) for line in dice.lines] == [("native", [[3, 0.5]])]
    assert loss.get_ylim()[0] == 0
    assert loss.get_ylim()[1] > 2
    assert loss.get_xlim()[1] > 4
    assert dice.get_ylim() == (0, 1)
    assert not dice.texts


def test_curves_without_a_validation_say_so(tmp_path, monkeypatch):
    loss, dice = drawn(monkeypatch, tmp_path, [{"epoch": 1, "loss total": 2.0}])
    assert [text.get_text() for text in dice.texts] == ["no validation yet"]
    assert not dice.lines
    assert len(loss.lines) == 1


def test_pictures_show_curves_and_cases(tmp_path):
    """Not empty: the curves' picture has the colours of its lines, the cases' picture a panel per condition."""
    from matplotlib.image import imread

    draw_curves(
        [{"epoch": e, "loss total": 1 / e, "dice native": 0.5} for e in (1, 2)], tmp_path / "curves.png"
    )
    trainer = make_trainer(tmp_path)
    draw_cases(trainer.predictor(), [samples(1)[0]], quick_conditions("aligned"), tmp_path / "validation.png")
    lines, cases = imread(tmp_path / "curves.png"), imread(tmp_path / "validation.png")
    assert (lines[..., :3].sum(axis=2) < 0.2).any()
    red = (cases[..., 0] > 0.7) & (cases[..., 1] < 0.3)
    assert all(part.any() for part in np.array_split(red, len(quick_conditions("aligned")), axis=1))
