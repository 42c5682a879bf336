"""Sweeps: the trials themselves are made up, so that a good setting is known and nothing takes long."""

import csv
import math
import os
import shlex
import threading
import time
from dataclasses import dataclass

import optuna
import pytest
import torch
from optuna.trial import TrialState
from training_helpers import write_data_set

from rareunet.errors import BundleError
from rareunet_training.__main__ import main, parse
from rareunet_training.sweep import trials as sweep
from rareunet_training.sweep.report import best_trial, repeat_command, write_report
from rareunet_training.sweep.search_space import SweepPlan, parse_search
from rareunet_training.sweep.trials import open_study, queue_dead_trials, run_trials, trials_taken
from rareunet_training.training.memory import NotEnoughMemoryError
from rareunet_training.training.trainer import NonFiniteLossError, TrainingStopped

EPOCHS = 4


@dataclass
class Report:
    epoch: int
    mean_dice: float


def dice_of(config):
    """Best at a learning rate of 1e-3."""
    return 0.9 - 0.1 * abs(math.log10(config.fit.learning_rate) + 3)


def train(config, output, resume, watch):
    """Validates each second epoch."""
    for epoch in range(1, config.fit.epochs + 1):
        watch(Report(epoch, dice_of(config) if epoch % 2 == 0 else math.nan))


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    monkeypatch.setattr(sweep, "TOUCH_SECONDS", 0.05)


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text("[data]\nfold = 0\n")
    space = dict(map(parse_search, ("fit.learning_rate=log:1e-4:1e-2", "model.preset=default,paper")))
    return SweepPlan(path, (f"fit.epochs={EPOCHS}",), tmp_path / "sweep", space)


def test_search_is_read():
    float_range = optuna.distributions.FloatDistribution
    assert parse_search("a.b=log:1e-4:1e-2") == ("a.b", float_range(1e-4, 1e-2, log=True))
    assert parse_search("a.b=range:0:0.5") == ("a.b", float_range(0, 0.5))
    assert parse_search("a.b=range:1:4") == ("a.b", optuna.distributions.IntDistribution(1, 4))
    assert parse_search("a.b=one,two") == (
        "a.b",
        optuna.distributions.CategoricalDistribution(["one", "two"]),
    )


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("[16,16,16],[24,24,24]", ("[16,16,16]", "[24,24,24]")),
        ('{"1/2": 2, "1/4": [1,2]},{}', ('{"1/2": 2, "1/4": [1,2]}', "{}")),
    ],
)
def test_commas_in_brackets_part_no_choices(text, choices):
    assert parse_search(f"fit.patch={text}")[1].choices == choices


def test_patches_can_be_searched(plan):
    space = dict([parse_search("fit.patch=[16,16,16],[24,24,24]")])
    own = SweepPlan(plan.config, plan.overrides, plan.output, space)
    own.check()
    assert own.training_config({"fit.patch": "[24,24,24]"}).fit.patch == [24, 24, 24]


@pytest.mark.parametrize(
    "text", ["a.b", "ab=1,2", "a.b=", "a.b=log:1", "a.b=log:x:1", "a.b=log:0:1", "a.b=range:2:1"]
)
def test_unreadable_search_is_refused(text):
    with pytest.raises(ValueError, match="--search"):
        parse_search(text)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ("fit.rate=log:1e-4:1e-2", "unknown configuration fit.rate"),
        ("model.preset=default,large", "model.preset is 'large'"),
        ("fit.epochs=range:0.5:1.5", "fit.epochs is 0.5"),
    ],
)
def test_a_mistaken_search_shows_before_the_first_trial(plan, search, message):
    with pytest.raises(ValueError, match=message):
        SweepPlan(plan.config, (), plan.output, dict([parse_search(search)])).check()
    plan.check()
    with pytest.raises(ValueError, match="keeps no case"):
        SweepPlan(plan.config, ("data.fold=-1",), plan.output, plan.space).check()


def test_trials_are_drawn_from_the_space_and_the_best_is_repeated(plan):
    study = open_study(plan)
    trials = list(run_trials(plan, study, train, 6))
    assert [trial.number for trial in trials] == list(range(6))
    for trial in trials:
        assert 1e-4 <= trial.params["fit.learning_rate"] <= 1e-2
        assert trial.params["model.preset"] in ("default", "paper")
    best = best_trial(study)
    assert best.value == max(dice_of(plan.training_config(trial.params)) for trial in trials)
    words = shlex.split(repeat_command(plan, best))
    assert words[:4] == ["python", "-m", "rareunet_training", "fit"]
    repeated = parse(words[3:])
    assert SweepPlan(repeated.config, (), plan.output, {}).training_config({}) != plan.training_config(
        best.params
    )
    own = SweepPlan(repeated.config, tuple(repeated.overrides), plan.output, {}).training_config({})
    assert own == plan.training_config(best.params)


def test_table_and_picture(plan):
    study = open_study(plan)
    list(run_trials(plan, study, train, 3))
    write_report(plan, study)
    with open(plan.output / "sweep.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["folder"] for row in rows] == ["trial_0000", "trial_0001", "trial_0002"]
    for row in rows:
        expected = 0.9 - 0.1 * abs(math.log10(float(row["fit.learning_rate"])) + 3)
        assert float(row["mean_dice"]) == pytest.approx(expected, abs=1e-4)
        assert (row["state"], row["epoch"]) == ("finished", str(EPOCHS))
    assert (plan.output / "sweep.png").read_bytes()[:4] == b"\x89PNG"


def test_a_second_start_goes_on_and_ends_at_the_same_number(plan):
    assert len(list(run_trials(plan, open_study(plan), train, 2))) == 2
    assert [trial.number for trial in run_trials(plan, open_study(plan), train, 5)] == [2, 3, 4]
    assert list(run_trials(plan, open_study(plan), train, 5)) == []


def test_a_database_serves_as_well(plan):
    storage = f"sqlite:///{plan.output.parent / 'sweep.db'}"
    assert len(list(run_trials(plan, open_study(plan, storage), train, 2))) == 2
    assert [trial.number for trial in run_trials(plan, open_study(plan, storage), train, 3)] == [2]
    assert not (plan.output / "sweep.journal").exists()


@pytest.mark.parametrize(
    ("storage", "words"),
    [
        ("foo://x", "error: the storage foo://x can't be used (Can't load plugin"),
        ("sqlite:////no/such/folder/sweep.db", "unable to open database file"),
        ("foo://me:secret@host/x", "the storage foo://me:***@host/x can't"),
        (
            "/no/such/folder/sweep.journal",
            "the storage /no/such/folder/sweep.journal can't be used (No such file or directory)",
        ),
    ],
)
def test_a_storage_that_can_not_be_used_is_named(plan, storage, words, capsys):
    command = ["sweep", "--config", str(plan.config), "--output", str(plan.output), "--storage", storage]
    assert main(command) == 1
    told = capsys.readouterr().err
    assert words in told
    assert "give --storage a journal file" in told
    assert "Traceback" not in told


def test_a_database_that_can_not_be_written_is_named(plan):
    path = plan.output.parent / "sweep.db"
    open_study(plan, f"sqlite:///{path}")
    other = SweepPlan(plan.config, (), plan.output, plan.space)
    with pytest.raises(ValueError, match=r"the storage .* can't be used .*readonly"):
        open_study(other, f"sqlite:///file:{path}?mode=ro&uri=true")


@pytest.mark.parametrize(
    ("option", "value"),
    [("--trials", "0"), ("--trials", "-1"), ("--trials", "x"), ("--timeout", "0"), ("--timeout", "nan")],
)
def test_no_trial_and_no_time_are_refused(option, value, capsys):
    with pytest.raises(SystemExit, match="2"):
        parse(["sweep", "--config", "a.toml", "--output", "out", option, value])
    assert f"{value!r}: give a" in (told := capsys.readouterr().err)
    assert "above 0" in told


def test_time_is_limited(plan):
    assert list(run_trials(plan, open_study(plan), train, 5, seconds=0)) == []


@pytest.mark.parametrize(
    "error", [NonFiniteLossError, BundleError, torch.cuda.OutOfMemoryError, MemoryError, NotEnoughMemoryError]
)
def test_a_diverged_trial_fails_alone(plan, error):
    def fail_once(config, output, resume, watch):
        if output.name == "trial_0001":
            raise error("the loss became nan")
        train(config, output, resume, watch)

    trials = list(run_trials(plan, open_study(plan), fail_once, 3))
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]
    assert trials[1].user_attrs["error"] == "the loss became nan"


def test_a_trial_below_the_median_is_pruned(plan):
    epochs_seen = []

    def poor_last(config, output, resume, watch):
        for epoch in range(1, EPOCHS + 1):
            epochs_seen.append((output.name, epoch))
            watch(Report(epoch, 0.1 if output.name == "trial_0005" else 0.8))

    *_, last = run_trials(plan, open_study(plan), poor_last, 6)
    assert last.state == TrialState.PRUNED
    assert [epoch for name, epoch in epochs_seen if name == "trial_0005"] == [1]


@pytest.mark.parametrize("error", [KeyboardInterrupt, TrainingStopped])
def test_an_interrupted_trial_goes_on_in_its_folder(plan, error):
    calls = []

    def interrupted(config, output, resume, watch):
        calls.append((output.name, config.fit.learning_rate, resume))
        watch(Report(2, 0.5))
        raise error

    def go_on(config, output, resume, watch):
        calls.append((output.name, config.fit.learning_rate, resume))
        watch(Report(4, 0.6))

    with pytest.raises(error):
        list(run_trials(plan, open_study(plan), interrupted, 1))
    study = open_study(plan)
    (trial,) = run_trials(plan, study, go_on, 1)
    assert calls[0] == calls[1]
    assert calls[1][0] == "trial_0000"
    assert trial.intermediate_values == {2: 0.5, 4: 0.6}
    assert states_told(plan, study) == ["stopped", "finished"]


def states_told(plan, study):
    """The state of each trial in sweep.csv."""
    write_report(plan, study)
    rows = csv.DictReader((plan.output / "sweep.csv").read_text(encoding="utf-8").splitlines())
    return [row["state"] for row in rows]


def test_a_trial_that_is_stopped_often_is_never_given_up(plan, monkeypatch):
    def stop(config, output, resume, watch):
        raise TrainingStopped

    for _ in range(sweep.MOST_ATTEMPTS + 1):
        with pytest.raises(TrainingStopped):
            list(run_trials(plan, open_study(plan), stop, 1))
    with monkeypatch.context() as at_once:
        at_once.setattr(sweep, "STILL_SECONDS", -1.0)
        for _ in range(sweep.MOST_ATTEMPTS - 1):
            start_and_die(plan, open_study(plan))
            queue_dead_trials(plan, open_study(plan))
    with pytest.raises(TrainingStopped):
        list(run_trials(plan, open_study(plan), stop, 1))
    (trial,) = run_trials(plan, open_study(plan), train, 1)
    assert trial.state == TrialState.COMPLETE
    assert plan.folder(trial).name == "trial_0000"


def start_and_die(plan, study):
    """What a killed worker leaves."""
    trial = study.ask(dict(plan.space))
    plan.folder(trial).mkdir(parents=True, exist_ok=True)
    alive = plan.folder(trial) / "alive"
    alive.touch()
    return trial, alive


def test_a_trial_whose_worker_died_is_done_by_another(plan, monkeypatch):
    study = open_study(plan)
    dead, alive = start_and_die(plan, study)
    queue_dead_trials(plan, study)
    assert study.trials[0].state == TrialState.RUNNING  # it may well be alive
    monkeypatch.setattr(sweep, "STILL_SECONDS", 0.3)  # the worker below waits for it: nothing else is to do
    (trial,) = run_trials(plan, open_study(plan), train, 1)
    assert trial.params == dead.params
    assert plan.folder(trial) == plan.folder(dead)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.COMPLETE]
    assert states_told(plan, study) == ["died", "finished"]


def test_a_trial_that_kills_its_worker_each_time_is_given_up(plan, monkeypatch):
    study = open_study(plan)
    monkeypatch.setattr(sweep, "STILL_SECONDS", -1.0)
    for _ in range(sweep.MOST_ATTEMPTS):
        start_and_die(plan, study)
        queue_dead_trials(plan, study)
    assert trials_taken(study) == 1
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * sweep.MOST_ATTEMPTS


def test_a_living_trial_is_left_alone(plan, monkeypatch):
    monkeypatch.setattr(sweep, "STILL_SECONDS", 1.0)
    study = open_study(plan)

    def slow(config, output, resume, watch):
        started = os.path.getmtime(output / "alive")
        while os.path.getmtime(output / "alive") < started + 1.2:
            time.sleep(0.05)
        queue_dead_trials(plan, open_study(plan))
        train(config, output, resume, watch)

    (trial,) = run_trials(plan, study, slow, 1)
    assert trial.state == TrialState.COMPLETE
    assert not (plan.folder(trial) / "alive").exists()


def test_workers_share_the_trials(plan):
    folders = []

    def note(config, output, resume, watch):
        folders.append(output.name)
        train(config, output, resume, watch)

    def work():
        list(run_trials(plan, open_study(plan), note, 8))

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(folders) == len(set(folders))
    assert 8 <= len(folders) <= 9  # both may take up a last one at the same moment
    study = open_study(plan)
    assert {trial.state for trial in study.trials} <= {TrialState.COMPLETE, TrialState.PRUNED}


def test_with_patience_a_trial_is_worth_its_best_epoch(plan):
    def rise_and_fall(config, output, resume, watch):
        for epoch, dice in enumerate((0.5, 0.8, 0.6), start=1):
            watch(Report(epoch, dice))

    for patience, expected in ((0, 0.6), (2, 0.8)):
        own = SweepPlan(plan.config, (f"fit.patience={patience}",), plan.output / str(patience), plan.space)
        (trial,) = run_trials(own, open_study(own), rise_and_fall, 1)
        assert trial.value == expected


def test_other_settings_are_refused(plan):
    open_study(plan)
    open_study(SweepPlan(plan.config, (*plan.overrides, "fit.device=cpu"), plan.output, plan.space))
    with pytest.raises(ValueError, match=r"other settings \(fit.epochs\)"):
        open_study(SweepPlan(plan.config, (), plan.output, plan.space))
    with pytest.raises(ValueError, match=r"--search model.preset"):
        open_study(
            SweepPlan(
                plan.config,
                plan.overrides,
                plan.output,
                {"fit.learning_rate": plan.space["fit.learning_rate"]},
            )
        )


def test_without_optuna_the_command_says_what_to_install(plan, monkeypatch, capsys):
    from rareunet_training.commands import sweep as command

    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    assert main(["sweep", "--config", str(plan.config), "--output", str(plan.output)]) == 1
    assert "python -m pip install" in capsys.readouterr().err


def test_command_trains(tmp_path, capsys):
    """A real run of one trial, which the second start finds done."""
    config, output = write_data_set(tmp_path, cases=2), tmp_path / "sweep"
    command = ["sweep", "--config", str(config), "--output", str(output), "--trials", "1"]
    command += ["fit.epochs=1", "fit.protocol=published", "data.fold_count=2", "log.tensorboard=false"]
    for _ in range(2):
        assert main([*command, "--search", "fit.learning_rate=log:1e-3:1e-2"]) == 0
    assert "fit.learning_rate=" in capsys.readouterr().out.splitlines()[-1]
    assert [path.name for path in output.glob("trial_*")] == ["trial_0000"]
    assert (output / "trial_0000" / "balls" / "bundle.json").is_file()


def test_command_is_stopped_by_a_file_and_goes_on(tmp_path, monkeypatch, capsys):
    from rareunet_training.training import fitting

    config, output = write_data_set(tmp_path, cases=1), tmp_path / "sweep"
    command = ["sweep", "--config", str(config), "--output", str(output), "--trials", "2"]

    def stop_once(config, folder, resume, watch, should_stop):
        watch(Report(1, 0.5))
        if folder.name == "trial_0001" and not (folder / "seen").exists():
            (folder / "seen").touch()
            (output / "stop").touch()
        if should_stop():
            raise TrainingStopped

    monkeypatch.setattr(fitting, "fit", stop_once)
    assert main(command) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert main(command) == 0
    assert {path.name for path in output.glob("trial_*")} == {"trial_0000", "trial_0001"}


def test_report_is_written_of_a_sweep_that_ends_in_an_error(tmp_path, monkeypatch):
    from rareunet_training.training import fitting

    def fail(config, folder, resume, watch, should_stop):
        raise OSError("disk full")

    monkeypatch.setattr(fitting, "fit", fail)
    output = tmp_path / "sweep"
    assert main(["sweep", "--config", str(write_data_set(tmp_path, 1)), "--output", str(output)]) == 1
    (row,) = csv.DictReader((output / "sweep.csv").read_text(encoding="utf-8").splitlines())
    assert row["state"] == "failed"
