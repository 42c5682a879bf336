"""The training loop on balls in memory: it learns, resumes exactly, stops cleanly and keeps the best."""

import math

import pytest
import torch
from training_helpers import make_trainer, samples

from rareunet_training.evaluation.score_files import read_scores
from rareunet_training.training import trainer as trainer_module
from rareunet_training.training.fitting import finish
from rareunet_training.training.trainer import NonFiniteLossError, TrainingStopped


def weights(trainer):
    return {name: tensor.clone() for name, tensor in trainer.average.state_dict().items()}


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def test_training_lowers_the_loss(tmp_path):
    trainer = make_trainer(tmp_path, "fit.epochs=8", "fit.learning_rate=0.005")
    losses = [report.losses["total"] for report in trainer.run()]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("method", ["unet", "unet-aug-up", "unet-aug-pad"])
def test_baselines_train_without_gateways(tmp_path, method):
    trainer = make_trainer(tmp_path, "fit.epochs=3", "fit.learning_rate=0.005", f"fit.method={method}")
    assert trainer.bundle.depths == (0,)
    assert len(trainer.network.gateways) == 0
    reports = list(trainer.run())
    assert reports[-1].losses["total"] < reports[0].losses["total"]
    assert ("restored" in reports[0].losses) == (method != "unet")


@pytest.mark.parametrize(
    "extra", [(), ("fit.schedule=plateau", 'model.network={"filters": 4, "dropout": 0.2}')]
)
def test_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, extra):
    """Dropout and the plateau rule have a state of their own to carry over."""
    whole = make_trainer(tmp_path / "whole", "fit.plateau_patience=0", *extra)
    list(whole.run())
    next(iter(make_trainer(tmp_path / "parts", "fit.plateau_patience=0", *extra).run()))
    resumed = make_trainer(tmp_path / "parts", "fit.plateau_patience=0", *extra)
    resumed.resume()
    assert resumed.epoch == 1
    list(resumed.run())
    assert_equal(weights(whole), weights(resumed))
    assert whole.optimizer.param_groups[0]["lr"] == resumed.optimizer.param_groups[0]["lr"]


def test_run_stopped_in_the_middle_of_an_epoch_goes_on_exactly_there(tmp_path):
    whole = make_trainer(tmp_path / "whole")
    expected = [report.losses for report in whole.run()]
    steps = []
    stopped = make_trainer(
        tmp_path / "parts", on_step=lambda *where: steps.append(where), should_stop=lambda: len(steps) == 2
    )
    with pytest.raises(TrainingStopped):
        list(stopped.run())
    assert steps == [(0, 1, 3), (0, 2, 3)]
    resumed = make_trainer(tmp_path / "parts")
    resumed.resume()
    assert (resumed.epoch, resumed.step) == (0, 2)
    assert [report.losses for report in resumed.run()] == expected
    assert_equal(weights(whole), weights(resumed))


def test_stop_while_validating_keeps_the_epoch(tmp_path):
    asked = []
    trainer = make_trainer(
        tmp_path, "fit.epochs=1", validation=samples(2), should_stop=lambda: asked.append(1) or len(asked) > 3
    )
    with pytest.raises(TrainingStopped):
        list(trainer.run())
    resumed = make_trainer(tmp_path, "fit.epochs=1", validation=samples(2))
    resumed.resume()
    assert (resumed.epoch, resumed.step) == (0, 3)
    (report,) = resumed.run()
    assert report.scores
    assert_equal(weights(trainer), weights(resumed))


def test_checkpoint_is_saved_between_steps_when_it_is_due(tmp_path):
    saved = []
    trainer = make_trainer(
        tmp_path,
        "fit.checkpoint_minutes=0.0",
        on_step=lambda *where: saved.append(trainer.checkpoint.exists()),
    )
    next(iter(trainer.run()))
    assert saved == [False, True, True]


def test_nan_loss_stops_names_the_cases_and_keeps_the_last_checkpoint(tmp_path):
    trainer = make_trainer(tmp_path)
    run = iter(trainer.run())
    next(run)
    kept = trainer.checkpoint.read_bytes()
    with torch.no_grad():
        trainer.network.heads[0].bias.fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match=r"epoch 2 with ball_00\d, ball_00\d"):
        next(run)
    assert trainer.checkpoint.read_bytes() == kept


def test_weights_that_are_no_numbers_never_reach_the_checkpoint(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.save()
    before = trainer.checkpoint.read_bytes()
    with torch.no_grad():
        trainer.network.heads[0].bias.fill_(float("inf"))
    with pytest.raises(NonFiniteLossError, match=r"weights became NaN or infinite.*from before"):
        trainer.save()
    assert trainer.checkpoint.read_bytes() == before


def test_nan_gradient_stops_before_it_reaches_the_weights(tmp_path):
    """The loss of that step is a number, as with bfloat16 on the CPU now and then."""
    trainer = make_trainer(tmp_path)
    spoil = next(trainer.network.parameters())
    spoil.register_hook(lambda gradient: gradient * math.nan if trainer.epoch == 1 else gradient)
    run = iter(trainer.run())
    next(run)
    kept = trainer.checkpoint.read_bytes()
    with pytest.raises(
        NonFiniteLossError, match=r"gradient of the loss became nan in epoch 2 with ball_00\d"
    ):
        next(run)
    assert trainer.checkpoint.read_bytes() == kept
    assert all(torch.isfinite(tensor).all() for tensor in trainer.network.state_dict().values())


def test_scaler_of_float16_leaves_a_step_out_by_itself(tmp_path):
    trainer = make_trainer(tmp_path, "fit.precision=float16", "fit.epochs=1")
    spoil = next(trainer.network.parameters())
    spoil.register_hook(lambda gradient: gradient * math.inf if trainer.step == 0 else gradient)
    (report,) = trainer.run()
    assert math.isfinite(report.losses["total"])
    assert all(torch.isfinite(tensor).all() for tensor in trainer.network.state_dict().values())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"overrides": ('model.network={"filters": 8, "stages": 3, "gateways": 2}',)},
            "holds another network",
        ),
        ({"training": samples(4)}, "trained on other cases"),
        ({"overrides": ("fit.seed=7",)}, "fit.seed 0 -> 7"),
    ],
)
def test_resume_refuses_what_does_not_belong_together(tmp_path, changed, message):
    next(iter(make_trainer(tmp_path).run()))
    with pytest.raises(ValueError, match=message):
        make_trainer(tmp_path, *changed.get("overrides", ()), training=changed.get("training")).resume()


def test_training_can_begin_with_a_trained_model(tmp_path):
    """Other labels keep the weights below the heads."""
    first = make_trainer(tmp_path / "first", "fit.epochs=1")
    list(first.run())
    bundle = first.bundle.save(tmp_path / "bundle", first.predictor().network)
    two = 'model.labels=[{"value": 1, "name": "A", "color": [9, 9, 9]}, {"value": 2, "name": "B", "color": [9, 0, 9]}]'
    second = make_trainer(tmp_path / "second", two, f"model.start_from={tmp_path / 'bundle'}")
    second.start_from(bundle)
    ours, theirs = second.network.state_dict(), bundle.load_network().state_dict()
    differ = {
        name
        for name in ours
        if ours[name].shape != theirs[name].shape or not torch.equal(ours[name], theirs[name])
    }
    assert differ == {f"heads.{d}.{part}" for d in range(3) for part in ("weight", "bias")}
    assert set(second.bundle.training["data"]["case_hashes"]) == set(bundle.training["data"]["case_hashes"])
    assert second.bundle.training["started_from"]["sha256"] == bundle.sha256
    other = make_trainer(tmp_path / "other", 'model.network={"filters": 8, "stages": 3, "gateways": 2}')
    with pytest.raises(
        ValueError, match=r"another shape \(filters 4 there, 8 here, max_filters 16 there, 256 here\)"
    ):
        other.start_from(bundle)


def test_early_stopping_keeps_the_best_weights(tmp_path, monkeypatch):
    """Dice by epoch 0.1, 0.9, 0.2, 0.2 ...: stops 2 epochs after the best and goes back to it."""
    trainer = make_trainer(
        tmp_path, "fit.epochs=9", "fit.validate_every=1", "fit.patience=2", validation=samples(1)
    )
    real, seen = trainer_module.evaluate, []

    def scripted(predictor, cases, conditions, metrics):
        seen.append(weights(trainer))
        (score, *_) = real(predictor, cases, conditions[:1], metrics)
        return [score.__class__(**{**vars(score), "dice": ((0.1, 0.9, 0.2, 0.2)[len(seen) - 1],)})]

    monkeypatch.setattr(trainer_module, "evaluate", scripted)
    reports = list(trainer.run())
    assert [round(report.mean_dice, 1) for report in reports] == [0.1, 0.9, 0.2, 0.2]
    assert_equal(weights(trainer), seen[1])


def test_early_stopping_waits_for_a_validation(tmp_path, monkeypatch):
    """Patience of 1 epoch, a validation in every third, the second of which is better: ends after the third."""
    trainer = make_trainer(
        tmp_path, "fit.epochs=12", "fit.validate_every=3", "fit.patience=1", validation=samples(1)
    )
    real, dice = trainer_module.evaluate, [0.1, 0.2, 0.2]

    def scripted(predictor, cases, conditions, metrics):
        (score, *_) = real(predictor, cases, conditions[:1], metrics)
        return [score.__class__(**{**vars(score), "dice": (dice.pop(0),)})]

    monkeypatch.setattr(trainer_module, "evaluate", scripted)
    assert [report.epoch for report in trainer.run()][-1] == 9


def test_final_scores_tell_the_crop_that_they_are_of(tmp_path):
    trainer = make_trainer(tmp_path, "fit.patch=[16, 20, 16]", validation=samples(1))
    finish(trainer, tmp_path)
    scores = read_scores(tmp_path / "scores.json")
    assert scores.shape == (16, 24, 16)
    assert [s.spacing_mm for s in scores.scores if s.condition == "scale 1/8 (aligned)"] == [(8, 8, 8)]
