"""One step and one epoch in detail: what the optimiser is told, what is averaged, drawn, validated and reported."""

import math
import multiprocessing

import pytest
import torch
from training_helpers import make_trainer, samples

from rareunet_training.data.samples import KeptSamples, SampleCache
from rareunet_training.evaluation.scores import Score
from rareunet_training.monitoring.epoch_report import EpochReport
from rareunet_training.training import trainer as trainer_module
from rareunet_training.training.trainer import moving_average

DROPOUT = 'model.network={"filters": 4, "stages": 3, "gateways": 2, "max_filters": 16, "dropout": 0.5}'


def first_weights(trainer):
    return torch.cat([parameter.detach().flatten() for parameter in trainer.network.parameters()])


def watched(folder, *overrides, **options):
    """A finished run: the trainer, its reports, and what `watch` saw of it in each step, whose walks see the same."""
    seen = []
    trainer = make_trainer(folder, *overrides, **options)

    def watch(network, arguments):
        now = torch.initial_seed(), torch.is_autocast_enabled("cpu")
        if network.training and now not in seen[-1:]:
            seen.append(now)

    trainer.network.register_forward_pre_hook(watch)
    return trainer, list(trainer.run()), seen


def test_average_moves_by_the_decay_and_faster_at_first():
    """By 1 - (1 + n) / (10 + n) after n steps while that is more: 9/10, 9/11, ... and at last 1 - decay."""
    for decay, steps, moved in ((0.9, 0, 0.9), (0.9, 1, 9 / 11), (0.9, 1000, 0.1), (0.05, 0, 0.95)):
        average = [torch.zeros(3)]
        moving_average(decay)(average, [torch.ones(3)], torch.tensor(steps))
        assert average[0].tolist() == pytest.approx([moved] * 3)


def test_average_has_the_decay_of_the_configuration_and_is_what_predicts(tmp_path):
    """Without any decay the average is the weights themselves."""
    trainer = make_trainer(tmp_path, "fit.ema_decay=0.0", "fit.epochs=1")
    list(trainer.run())
    for name, tensor in trainer.network.state_dict().items():
        torch.testing.assert_close(trainer.average.module.state_dict()[name], tensor)
    predicting = trainer.predictor().network.state_dict()
    for name, tensor in trainer.average.module.state_dict().items():
        assert torch.equal(predicting[name], tensor.half().float())  # as bundles store them
    slow = make_trainer(tmp_path / "slow", "fit.ema_decay=0.99", "fit.epochs=1")
    list(slow.run())
    assert not torch.equal(slow.average.module.heads[0].weight, slow.network.heads[0].weight)


def test_prediction_is_without_dropout_and_training_with_it(tmp_path):
    trainer, _, seen = watched(tmp_path, DROPOUT, "fit.validate_every=1", validation=samples(1))
    assert len(seen) == 6
    assert not trainer.predictor().network.training


def test_seed_decides_the_first_weights(tmp_path):
    zero, again, one = (first_weights(make_trainer(tmp_path, f"fit.seed={seed}")) for seed in (0, 0, 1))
    assert torch.equal(zero, again)
    assert not torch.equal(zero, one)


def test_dropout_is_drawn_anew_for_each_step_epoch_and_seed(tmp_path):
    seeds = [seed for run in (0, 1) for seed, _ in watched(tmp_path / str(run), f"fit.seed={run}")[2]]
    assert len(set(seeds)) == len(seeds) == 12


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_optimiser_has_the_settings_and_each_step_its_rate(tmp_path, precision):
    """Gradients are clipped at their own size, not at that of float16's scaled loss."""
    trainer = make_trainer(
        tmp_path, "fit.weight_decay=0.125", "fit.gradient_clip=0.001", "fit.learning_rate=0.01",
        f"fit.precision={precision}",
    )  # fmt: skip
    run = trainer.run()
    (group,) = trainer.optimizer.param_groups
    found = []
    trainer.on_step = lambda epoch, step, steps: found.append((epoch + (step - 1) / steps, group["lr"]))
    report = next(run)
    assert group["weight_decay"] == 0.125
    assert [rate for _, rate in found] == [trainer.schedule.rate(moment) for moment, _ in found]
    assert len({rate for _, rate in found}) == 3
    assert report.learning_rate == found[-1][1]
    norm = math.sqrt(
        sum(float(p.grad.square().sum()) for p in trainer.network.parameters() if p.grad is not None)
    )
    assert norm == pytest.approx(0.001, rel=0.01)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_precision_is_that_of_the_configuration(tmp_path, precision):
    _, reports, seen = watched(tmp_path, f"fit.precision={precision}", "fit.epochs=1")
    assert {low for _, low in seen} == {precision != "float32"}
    assert math.isfinite(reports[0].losses["total"])


def test_validation_comes_every_few_epochs_and_at_the_end(tmp_path):
    trainer = make_trainer(tmp_path, "fit.epochs=3", "fit.validate_every=2", validation=samples(1))
    assert [bool(report.scores) for report in trainer.run()] == [False, True, True]


@pytest.mark.parametrize(("limit", "scored"), [(0, 3), (2, 2)])
def test_validation_is_of_so_many_cases(tmp_path, limit, scored):
    trainer = make_trainer(tmp_path, f"data.validation_cases={limit}", validation=samples(3))
    scores = trainer.validate()
    assert len({score.case for score in scores}) == scored
    assert [score.case for score in scores] == sorted(score.case for score in scores)


@pytest.mark.parametrize("protocol", ["aligned", "published"])
def test_protocol_and_settings_reach_the_steps_and_the_validation(tmp_path, monkeypatch, protocol):
    made = []

    class Recorded(trainer_module.StepDataset):
        def __init__(self, *arguments):
            made.append(arguments)
            super().__init__(*arguments)

    monkeypatch.setattr(trainer_module, "StepDataset", Recorded)
    trainer = make_trainer(
        tmp_path, f"fit.protocol={protocol}", "augmentation.noise=0.5", "fit.epochs=1", validation=samples(1)
    )
    (report,) = trainer.run()
    _, _, augmentation, settings, *_ = made[0]
    assert augmentation.noise == 0.5
    assert (settings.protocol, settings.classes) == (protocol, 2)
    assert f"scale 1 ({protocol})" in report.dice()


def test_report_is_a_mean_by_condition_that_leaves_out_what_is_not_there(tmp_path):
    (nothing, half, whole) = ((float("nan"),), (0.5,), (1.0,))
    rows = [("a", "native", half), ("b", "native", whole), ("c", "native", nothing), ("a", "2 mm", half)]
    scores = [Score(case, condition, (1.0,) * 3, dice, 0.1) for case, condition, dice in rows]
    report = EpochReport(1, {}, 0.1, 1.0, 1.0, scores)
    assert report.dice() == {"native": 0.75, "2 mm": 0.5}
    assert report.mean_dice == 0.625
    assert math.isnan(EpochReport(1, {}, 0.1, 1.0, 1.0).mean_dice)


def test_seconds_and_speed_count_the_epoch_over_interruptions(tmp_path):
    trainer = make_trainer(tmp_path, "fit.epochs=1")
    trainer.seconds = 1000.0  # of the part before
    trainer.save()
    resumed = make_trainer(tmp_path, "fit.epochs=1")
    resumed.resume()
    (report,) = resumed.run()
    assert report.seconds > 1000
    assert report.samples_per_second == pytest.approx(5 / report.seconds)


def test_resumed_run_knows_its_best_epoch_and_the_scale_of_its_loss(tmp_path):
    trainer = make_trainer(tmp_path, "fit.precision=float16")
    trainer.best = {"dice": 0.5, "epoch": 3, "average": None}
    trainer.scaler.load_state_dict({**trainer.scaler.state_dict(), "scale": 128.0})
    trainer.save()
    resumed = make_trainer(tmp_path, "fit.precision=float16")
    resumed.resume()
    assert resumed.best == trainer.best
    assert resumed.scaler.get_scale() == 128


def test_batches_are_prepared_by_so_many_processes(tmp_path, monkeypatch):
    asked, real = [], trainer_module.DataLoader

    def loader(*arguments, num_workers, **options):
        asked.append(num_workers)
        return real(*arguments, num_workers=0, **options)

    monkeypatch.setattr(trainer_module, "DataLoader", loader)
    list(make_trainer(tmp_path, "fit.workers=3", "fit.epochs=1").run())
    assert asked == [3]


@pytest.mark.skipif(multiprocessing.get_start_method() != "fork", reason="only forked workers share memory")
def test_workers_read_no_scan_that_fits_into_memory_again(tmp_path):
    balls, log = samples(3), tmp_path / "reads.txt"

    def load(name):
        with open(log, "a") as file:
            file.write(f"{name}\n")
        return next(ball for ball in balls if ball.name == name)

    def losses(workers):
        training = SampleCache(balls.facts, load, KeptSamples(1e9))
        reports = make_trainer(tmp_path, f"fit.workers={workers}", training=training).run()
        return [report.losses for report in reports]

    with_workers = losses(1)
    assert sorted(log.read_text().split()) == [ball.name for ball in balls]
    for ours, theirs in zip(with_workers, losses(0), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)  # a worker has one thread, which sums in another order


def test_plateau_is_told_each_loss_and_resumed(tmp_path):
    trainer = make_trainer(tmp_path, "fit.schedule=plateau")
    losses = [report.losses["total"] for report in trainer.run()]
    assert trainer.schedule.best == min(losses)
    resumed = make_trainer(tmp_path, "fit.schedule=plateau")
    resumed.resume()
    assert resumed.schedule.state() == trainer.schedule.state()
