"""The training loop: yields a report per epoch; knows no user interface and no logger."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from rareunet.bundle import Bundle
from rareunet.network import RAREUNet
from rareunet.predictor import Predictor
from rareunet_training.configuration import TrainingConfig
from rareunet_training.data.dataset import Step, StepDataset
from rareunet_training.data.samples import SampleCache
from rareunet_training.data.views import ViewSettings
from rareunet_training.evaluation.conditions import Condition, crop_of_patch, quick_conditions
from rareunet_training.evaluation.evaluate import Metrics, evaluate
from rareunet_training.evaluation.scores import Score, mean_of
from rareunet_training.model import take_weights
from rareunet_training.monitoring.epoch_report import EpochReport
from rareunet_training.monitoring.progress import CHECKPOINT_FILE
from rareunet_training.training.checkpoint import load_checkpoint, save_checkpoint
from rareunet_training.training.distributed import Processes
from rareunet_training.training.loss import total_loss
from rareunet_training.training.resuming import changed_settings
from rareunet_training.training.schedule import Schedule
from rareunet_training.training.stopping import leave_signals_to_parent

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class NonFiniteLossError(RuntimeError):
    """The loss or its gradient became NaN or infinite; names the epoch and its cases."""


class TrainingStopped(Exception):
    """The run was asked to stop and has saved a checkpoint."""


class Trainer:
    """One training run.

    Args:
        config: the resolved configuration.
        bundle: describes the model to be made, without weights (see model.describe_bundle).
        training, validation: the samples.
        folder: where checkpoints go.
        processes: the processes that share the run.
        on_step: called with (epoch, step, steps) after each step.
        should_stop: asked after each step; if True in any process, a checkpoint is saved and TrainingStopped raised.
    """

    def __init__(
        self,
        config: TrainingConfig,
        bundle: Bundle,
        training: SampleCache,
        validation: SampleCache,
        folder: Path,
        processes: Processes | None = None,
        on_step: Callable[[int, int, int], None] = lambda epoch, step, steps: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.config, self.bundle, self.training, self.validation = config, bundle, training, validation
        self.processes, self.on_step, self.should_stop = processes or Processes(), on_step, should_stop
        self.checkpoint = folder / CHECKPOINT_FILE
        fit = config.fit
        self.device = self.processes.device(fit.device)
        torch.manual_seed(fit.seed)
        self.network = RAREUNet(bundle.architecture).to(self.device)
        self.average = AveragedModel(self.network, multi_avg_fn=moving_average(fit.ema_decay))
        self.best: dict[str, Any] = {"dice": -1.0, "epoch": 0, "average": None}
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), fit.learning_rate, weight_decay=fit.weight_decay
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=fit.precision == "float16")
        self.schedule = Schedule(fit)
        self.settings = ViewSettings(
            bundle.reference_spacing_mm, bundle.architecture.stages, bundle.deepest, len(bundle.labels) + 1,
            bundle.intensity, fit.protocol,
        )  # fmt: skip
        self.epoch, self.step, self.seconds = 0, 0, 0.0
        self.losses: dict[str, list[float]] = {}
        self._saved_at = time.monotonic()

    def run(self) -> Iterator[EpochReport]:
        """Trains from where it stands to the end, saving a checkpoint after each epoch.

        Raises:
            TrainingStopped: it was asked to stop; everything up to the last step is saved.
            NonFiniteLossError: the loss or its gradient is no number any more; the last checkpoint is from before.
            OSError: a checkpoint could not be written; the one before is intact.
        """
        fit = self.config.fit
        self.processes.align(self.network, self.average)
        while not self.is_done:
            rate = self._train_epoch()
            losses = {name: mean_of(values) for name, values in self.losses.items()}
            speed = len(self.training) / self.seconds
            report = EpochReport(self.epoch + 1, losses, rate, self.seconds, speed)
            if self._is_validated(self.epoch + 1):
                report.scores = self.validate()
                self._remember_best(report)
            self.schedule.epoch_done(losses["total"])
            self.epoch, self.step, self.seconds, self.losses = self.epoch + 1, 0, 0.0, {}
            self.save()
            yield report
        if fit.patience and self.best["average"] is not None:
            self.average.load_state_dict(self.best["average"])

    @property
    def is_done(self) -> bool:
        """Whether all epochs are trained, or enough of them without a gain."""
        return self.epoch >= self.config.fit.epochs or self._has_waited_enough()

    def validate(self) -> list[Score]:
        """Scores the averaged weights on some validation cases, at the few resolutions that matter most."""
        cases = self.validation[: self.config.data.validation_cases or None]
        return self.score(
            cases, quick_conditions(self.config.fit.protocol, crop_of_patch(self.config.fit.patch))
        )

    def score(
        self, cases: SampleCache, conditions: Sequence[Condition], metrics: Metrics = "dice"
    ) -> list[Score]:
        """Scores the averaged weights; every process does its share, and every one gets all scores, by case.

        Raises:
            TrainingStopped: it was asked to stop; the training so far is saved.
        """
        predictor, mine = self.predictor(), self.processes.share(range(len(cases)))
        scores: list[Score] = []
        for turn in range(math.ceil(len(cases) / self.processes.world_size)):
            if turn < len(mine):
                scores += evaluate(predictor, [cases[mine[turn]]], conditions, metrics)
            self._stop_if_asked()
        return sorted(self.processes.gather(scores), key=lambda score: score.case)

    def predictor(self) -> Predictor:
        """The averaged weights, rounded as a bundle stores them, behind the path that users run."""
        network: RAREUNet = deepcopy(self.average.module)  # type: ignore[assignment]  # torch types it as any Module
        network.load_state_dict({name: weights.half() for name, weights in network.state_dict().items()})
        return Predictor(self.bundle, str(self.device), network=network.eval())

    def save(self) -> None:
        """Saves a checkpoint; a failure of the first process to write it fails every process.

        Raises:
            NonFiniteLossError: the weights are no numbers any more; the checkpoint from before stays.
        """
        if not all(torch.isfinite(weights).all() for weights in self.network.parameters()):
            raise NonFiniteLossError(
                f"weights became NaN or infinite in epoch {self.epoch}: the last checkpoint is from before. Lower"
                " fit.learning_rate or fit.weight_decay."
            )
        problem = None
        if self.processes.is_first:
            try:
                save_checkpoint(self.checkpoint, self.state())
            except OSError as error:
                problem = error
        if self.processes.any(problem is not None):
            raise problem or OSError("the first process could not write the checkpoint.")
        self._saved_at = time.monotonic()

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds. Random numbers are keyed by seed, epoch and step, so there is no state of theirs."""
        return {
            "config": self.config.to_dict(), "architecture": asdict(self.bundle.architecture),
            "cases": [facts.name for facts in self.training.facts],
            "epoch": self.epoch, "step": self.step, "seconds": self.seconds, "losses": self.losses,
            "network": self.network.state_dict(), "average": self.average.state_dict(), "best": self.best,
            "optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict(),
            "schedule": self.schedule.state(),
        }  # fmt: skip

    def resume(self) -> list[str]:
        """Goes on from the last checkpoint, exactly where it stood; returns the changed settings, in words.

        Raises:
            ValueError: there is none, or it is of another network, other cases or settings that can't be mixed.
        """
        state = self.processes.from_first(
            load_checkpoint(self.checkpoint) if self.processes.is_first else None
        )
        assert state is not None
        if missing := sorted(self.state().keys() - state.keys()):
            raise ValueError(
                f"{self.checkpoint} is another program's: it has no {missing[0]}. Choose a new output folder."
            )
        if state["architecture"] != asdict(self.bundle.architecture):
            raise ValueError(
                f"{self.checkpoint} holds another network ({state['architecture']}): resume with the configuration"
                " it was started with, or choose a new output folder."
            )
        if state["cases"] != [facts.name for facts in self.training.facts]:
            raise ValueError(
                f"{self.checkpoint} was trained on other cases: resume with the data and fold it was started with, or"
                " choose a new output folder."
            )
        changed = changed_settings(state["config"], self.config.to_dict())
        for name in ("network", "average", "optimizer", "scaler"):
            getattr(self, name).load_state_dict(state[name])
        self.schedule.load_state(state["schedule"])
        self.epoch, self.step, self.seconds = state["epoch"], state["step"], state["seconds"]
        self.losses, self.best = state["losses"], state["best"]
        return changed

    def start_from(self, bundle: Bundle) -> None:
        """Begins with the weights of a trained model instead of random ones."""
        take_weights(self.network, bundle)
        self.average.module.load_state_dict(self.network.state_dict())

    def _train_epoch(self) -> float:
        """The steps that this epoch still has; returns the last learning rate."""
        steps = StepDataset(
            self.training, self.config.fit, self.config.augmentation, self.settings, self.epoch,
            self.processes.rank, self.processes.world_size,
        )  # fmt: skip
        if self.config.fit.workers:
            self.training.fill()
        loader = DataLoader(
            steps, batch_size=None, sampler=range(self.step, len(steps)), num_workers=self.config.fit.workers,
            worker_init_fn=leave_signals_to_parent,
        )  # fmt: skip
        self.network.train()
        rate = self.schedule.rate(self.epoch + self.step / len(steps))
        start = time.perf_counter()
        for step in loader:
            rate = self.schedule.rate(self.epoch + self.step / len(steps))
            for name, value in self._optimise(step, rate).items():
                self.losses.setdefault(name, []).append(value)
            self.step += 1
            now = time.perf_counter()
            self.seconds, start = self.seconds + now - start, now
            self.on_step(self.epoch, self.step, len(steps))
            self._save_if_due()
            start = time.perf_counter()
        return rate

    def _optimise(self, step: Step, rate: float) -> dict[str, float]:
        """One step; returns its loss by part."""
        fit = self.config.fit
        precision = PRECISIONS[fit.precision]
        views = [view.to(self.device) for view in step.views]
        torch.manual_seed(_dropout_seed(fit.seed, self.epoch, self.step, self.processes.rank))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(self.device.type, precision, enabled=precision != torch.float32):
            walks = [self.network(view.images, view.axis_depths) for view in views]
        loss = total_loss(walks, views, self.config.loss, step.weight, self.processes.sum)
        self._refuse_non_finite("loss", loss.total, step)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss.total).backward()
        self.processes.sum_gradients(self.network)
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), fit.gradient_clip)
        if not self.scaler.is_enabled():  # it leaves such a step out by itself
            self._refuse_non_finite("gradient of the loss", norm, step)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.average.update_parameters(self.network)
        return {"total": float(loss.total.detach()), **loss.parts}

    def _refuse_non_finite(self, what: str, value: Tensor, step: Step) -> None:
        """Before it reaches the weights. Loss and gradients are sums over the processes: all see the same."""
        if not torch.isfinite(value):
            raise NonFiniteLossError(
                f"the {what} became {float(value.detach())} in epoch {self.epoch + 1} with {', '.join(step.cases)}:"
                " the last checkpoint is from before. Lower fit.learning_rate or look at these cases."
            )

    def _save_if_due(self) -> None:
        """Between two steps: stops if asked to, and saves if the last checkpoint is long ago."""
        self._stop_if_asked()
        minutes = (time.monotonic() - self._saved_at) / 60
        if self.processes.any(minutes >= self.config.fit.checkpoint_minutes):
            self.save()

    def _stop_if_asked(self) -> None:
        if self.processes.any(self.should_stop()):
            self.save()
            raise TrainingStopped

    def _is_validated(self, epoch: int) -> bool:
        fit = self.config.fit
        return len(self.validation) > 0 and (epoch % fit.validate_every == 0 or epoch == fit.epochs)

    def _remember_best(self, report: EpochReport) -> None:
        if self.config.fit.patience and report.mean_dice > self.best["dice"]:
            weights = deepcopy(self.average.state_dict())
            self.best = {"dice": report.mean_dice, "epoch": report.epoch, "average": weights}

    def _has_waited_enough(self) -> bool:
        """Asked only where a validation could have brought a better Dice, however short the patience."""
        patience, best = self.config.fit.patience, self.best["epoch"]
        return bool(patience and best and self._is_validated(self.epoch) and self.epoch - best >= patience)


def moving_average(decay: float) -> Callable[[Any, Any, Any], None]:
    """Moves averaged weights towards the current ones by 1 - decay, faster in the first steps, so that a short run's
    average does not hold the random weights it began with."""

    @torch.no_grad()
    def update(averaged: Any, current: Any, steps: Any) -> None:
        n = float(steps)
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + n) / (10 + n)))

    return update


def _dropout_seed(*key: int) -> int:
    return int(np.random.SeedSequence(key).generate_state(1)[0])
