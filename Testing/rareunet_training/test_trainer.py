"""A whole run on small synthetic scans: folders -> configuration -> epochs -> bundle -> prediction."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from rareunet import Predictor, Volume, read_volume
from rareunet.preprocessing import IntensityRule
from rareunet.volume_files import write_label_map, write_volume
from rareunet_training.__main__ import main, parse
from rareunet_training.cases import find_cases, make_folds
from rareunet_training.checkpoint import load_checkpoint, save_checkpoint
from rareunet_training.configuration import read_config
from rareunet_training.dataset import Sample, ViewSettings, random_factors, training_step
from rareunet_training.evaluate_command import evaluate_model
from rareunet_training.fit_command import fit, load_data
from rareunet_training.trainer import NonFiniteLossError, Trainer

TOML = """
[data]
folder = "data"
fold = 0
validation_cases = 1

[model]
name = "balls"
title = "Balls"
channels = ["T1"]
network = {filters = 4, stages = 3, gateways = 2, max_filters = 16}

[[model.labels]]
value = 3
name = "Ball"
color = [200, 30, 30]

[fit]
patch = [16, 16, 16]
epochs = 2
validate_every = 2
device = "cpu"
"""


@pytest.fixture
def config_file(tmp_path):
    random = np.random.default_rng(0)
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    z, y, x = np.meshgrid(*[np.arange(18)] * 3, indexing="ij")
    for case in range(5):
        centre = random.uniform(6, 11, 3)
        inside = (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 < 20
        scan = Volume((100 * inside + random.normal(0, 10, inside.shape)).astype(np.float32), np.eye(4))
        write_volume(tmp_path / "data" / "imagesTr" / f"ball_{case:03d}.nii.gz", scan)
        write_label_map(
            tmp_path / "data" / "labelsTr" / f"ball_{case:03d}.nii.gz", (inside * 3).astype(np.uint8), scan
        )
    path = tmp_path / "balls.toml"
    path.write_text(TOML)
    return path


def test_fit_writes_a_bundle_that_predicts_with_the_labels_own_values(config_file, tmp_path):
    folder = fit(read_config(config_file, ["fit.epochs=3"]), tmp_path / "run")
    predictor = Predictor(folder, "cpu")
    card = predictor.bundle.resolution_card
    assert {row["condition"] for row in card} >= {
        "scale 1 (aligned)",
        "native",
        "thick 4 mm along S",
        "isotropic 2 mm",
    }
    scan = read_volume(tmp_path / "data" / "imagesTr" / "ball_000.nii.gz")
    assert set(np.unique(predictor.predict(scan).label_map)) <= {0, 3}
    history = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in history] == [1, 2, 3]


def test_card_equals_what_evaluate_prints_for_the_held_out_fold(config_file, tmp_path, capsys):
    folder = fit(read_config(config_file), tmp_path / "run")
    card = Predictor(folder, "cpu").bundle.resolution_card
    capsys.readouterr()
    evaluate_model(str(folder), read_config(config_file), tmp_path / "scores")
    printed = capsys.readouterr().out.splitlines()[1:]
    assert [line[:24].strip() for line in printed] == [row["condition"] for row in card]
    # The bundle's weights are float16, the ones scored after training float32.
    for line, row in zip(printed, card, strict=True):
        assert float(line[31:36]) == pytest.approx(row["dice_mean"], abs=0.05)
    rows = (tmp_path / "scores" / "scores.csv").read_text().splitlines()
    assert len(rows) == 1 + len(card)


def test_evaluate_refuses_cases_the_model_was_trained_on(config_file, tmp_path):
    folder = fit(read_config(config_file, ["fit.epochs=1"]), tmp_path / "run")
    with pytest.raises(ValueError, match="kept fold 0 out of its training, not fold 1"):
        evaluate_model(str(folder), read_config(config_file, ["data.fold=1"]), None)


def test_training_lowers_the_loss(config_file, tmp_path):
    training, validation = load_data(read_config(config_file))
    config = read_config(config_file, ["fit.epochs=8", "fit.validate_every=8", "fit.learning_rate=0.005"])
    trainer = Trainer(config, training, validation, tmp_path)
    losses = [report.losses["total"] for report in trainer.run()]
    assert losses[-1] < 0.9 * losses[0]


def test_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(config_file, tmp_path):
    config = read_config(config_file)
    training, validation = load_data(config)
    whole = Trainer(config, training, validation, tmp_path / "whole")
    list(whole.run())
    interrupted = Trainer(config, training, validation, tmp_path / "parts")
    next(iter(interrupted.run()))
    resumed = Trainer(config, training, validation, tmp_path / "parts")
    resumed.resume()
    list(resumed.run())
    for name, tensor in whole.average.state_dict().items():
        assert torch.equal(tensor, resumed.average.state_dict()[name]), name


def test_nan_loss_stops_and_names_the_cases(config_file, tmp_path):
    config = read_config(config_file)
    training, _ = load_data(config)
    trainer = Trainer(config, training, [], tmp_path)
    with torch.no_grad():
        trainer.network.heads[0].bias.fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match="ball_00"):
        next(iter(trainer.run()))
    assert not trainer.checkpoint.exists()


def test_checkpoint_survives_a_failed_write(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, {"epoch": 1})

    def full_disk(state, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(path, {"epoch": 2})
    monkeypatch.undo()
    assert load_checkpoint(path) == {"epoch": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("fit.epoch=3", "unknown configuration fit.epoch"),
        ("fit.epochs=many", "fit.epochs is 'many'"),
        ("fit.protocol=displaced", "aligned or published"),
        ("epochs=3", "section.name=value"),
        ("data.fold=9", "folds 0 to 4"),
        ("data.exclude=['nobody']", "no cases"),
    ],
)
def test_wrong_configuration_is_explained(config_file, override, message):
    with pytest.raises(ValueError, match=message):
        load_data(read_config(config_file, [override]))


def test_label_outside_the_label_set_is_named(config_file, tmp_path):
    scan = read_volume(tmp_path / "data" / "imagesTr" / "ball_002.nii.gz")
    label = np.full(scan.shape, 7, dtype=np.uint8)
    write_label_map(tmp_path / "data" / "labelsTr" / "ball_002.nii.gz", label, scan)
    with pytest.raises(ValueError, match=r"ball_002: label values \[7\]"):
        load_data(read_config(config_file))


def test_label_on_another_grid_is_refused(config_file, tmp_path):
    shifted = np.eye(4)
    shifted[0, 3] = 5
    label = Volume(np.zeros((18, 18, 18), dtype=np.uint8), shifted)
    write_volume(tmp_path / "data" / "labelsTr" / "ball_001.nii.gz", label)
    with pytest.raises(ValueError, match="ball_001: the label map does not lie on the scan's grid"):
        find_cases(tmp_path / "data")[1].read()


def test_command_line_reports_errors_without_a_traceback(config_file):
    command = [
        sys.executable,
        "-m",
        "rareunet_training",
        "fit",
        "--config",
        str(config_file),
        "--output",
        "x",
        "a.b=1",
    ]
    run = subprocess.run(command, capture_output=True, text=True, cwd=config_file.parent)
    assert run.returncode == 1
    assert "unknown configuration a" in run.stderr
    assert "Traceback" not in run.stderr


def test_folds_are_disjoint_complete_and_fixed_by_the_seed():
    names = [f"case_{i}" for i in range(11)]
    folds = make_folds(names, 5, 7)
    assert sorted(name for fold in folds for name in fold) == sorted(names)
    assert {len(fold) for fold in folds} == {2, 3}
    assert folds == make_folds(list(reversed(names)), 5, 7)


def test_scan_of_2_mm_enters_at_depth_1_and_trains_no_finer_view():
    random = np.random.default_rng(0)
    sample = Sample(
        "coarse", random.random((1, 16, 16, 16), dtype=np.float32), np.zeros((16,) * 3, np.uint8), (2.0,) * 3
    )
    settings = ViewSettings((1.0, 1.0, 1.0), 4, 3, 2, IntensityRule())
    views = training_step([sample, sample], None, (16, 16, 16), (0, 0, 0), settings)
    assert views[0].axis_depths == (1, 1, 1)
    assert all(min(view.axis_depths) >= 1 for view in views)


def test_random_factors_reach_every_axis_and_never_refine():
    random = np.random.default_rng(1)
    factors = np.array([random_factors(random) for _ in range(300)])
    assert factors.min() >= 1
    assert (factors.max(axis=0) > 5).all()


def test_overrides_may_stand_anywhere_and_other_words_are_wrong_usage(capsys):
    words = [
        "evaluate",
        "hippocampus",
        "--config",
        "c.toml",
        "data.folder=x",
        "--output",
        "out",
        "fit.seed=1",
    ]
    assert parse(words).overrides == ["data.folder=x", "fit.seed=1"]
    for wrong in ("--epochs=3", "epochs"):
        with pytest.raises(SystemExit) as raised:
            parse([*words, wrong])
        assert raised.value.code == 2
        assert "section.name=value" in capsys.readouterr().err


def test_evaluate_from_the_command_line(config_file, tmp_path, capsys):
    folder = fit(read_config(config_file, ["fit.epochs=1"]), tmp_path / "run")
    assert main(["evaluate", str(folder), "--config", str(config_file), "fit.seed=0"]) == 0
    assert "isotropic 2 mm" in capsys.readouterr().out
