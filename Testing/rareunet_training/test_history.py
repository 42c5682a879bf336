"""What a run leaves for people and programs: history.csv, event files, progress.json, pictures."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from training_helpers import config_of_balls, make_trainer, samples

from rareunet_training.conditions import quick_conditions
from rareunet_training.curves import draw_curves
from rareunet_training.history import History, read_history
from rareunet_training.pictures import draw_cases
from rareunet_training.progress import ProgressWriter, duration
from rareunet_training.scores import Score
from rareunet_training.trainer import EpochReport


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


def test_numbers_reach_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history = History(tmp_path, config_of_balls())
    history.add(report(1, own=0.5))
    history.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Scalars("loss/own")[0].value == 0.5


def test_numbers_reach_weights_and_biases_only_if_asked(tmp_path, monkeypatch):
    logged = []
    run = SimpleNamespace(
        log=lambda numbers, step: logged.append((step, numbers["loss total"])), finish=lambda: None
    )
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **options: run))
    History(tmp_path, config_of_balls("log.tensorboard=false")).add(report(1))
    assert logged == []
    History(tmp_path, config_of_balls("log.tensorboard=false", "log.wandb=project")).add(report(2))
    assert logged == [(2, 0.5)]


def test_missing_wandb_is_explained(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match="pip install wandb"):
        History(tmp_path, config_of_balls("log.wandb=project"))


def test_progress_tells_the_state_and_the_time_left(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("rareunet_training.progress.time.monotonic", lambda: clock[0])
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


def test_other_processes_write_no_progress(tmp_path):
    ProgressWriter(tmp_path, 1, enabled=False).tell("training")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "?"), (45, "45 s"), (600, "10 min"), (12000, "3 h 20 min")]
)
def test_duration_as_a_person_says_it(seconds, text):
    assert duration(seconds) == text


def test_pictures_show_curves_and_cases(tmp_path):
    """Not empty: the curves' picture has the colours of its lines, the cases' picture a panel per condition."""
    from matplotlib.image import imread

    draw_curves(
        [{"epoch": e, "loss total": 1 / e, "dice native": 0.5} for e in (1, 2)], tmp_path / "curves.png"
    )
    trainer = make_trainer(tmp_path)
    draw_cases(trainer.predictor(), [samples(1)[0]], quick_conditions("aligned"), tmp_path / "validation.png")
    curves, cases = imread(tmp_path / "curves.png"), imread(tmp_path / "validation.png")
    assert (curves[..., :3].sum(axis=2) < 0.2).any()
    red = (cases[..., 0] > 0.7) & (cases[..., 1] < 0.3)
    assert all(part.any() for part in np.array_split(red, len(quick_conditions("aligned")), axis=1))
