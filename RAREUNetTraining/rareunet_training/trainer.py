"""The training loop: yields a report per epoch; knows no user interface and no logger."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from rareunet.architecture import Architecture
from rareunet.bundle import Bundle, Label
from rareunet.device import choose_device
from rareunet.network import RAREUNet
from rareunet.predictor import Predictor
from rareunet.preprocessing import IntensityRule
from rareunet_training.augmentation import build_augmentation
from rareunet_training.checkpoint import load_checkpoint, save_checkpoint
from rareunet_training.configuration import ModelConfig, TrainingConfig
from rareunet_training.dataset import Sample, View, ViewSettings, training_step
from rareunet_training.evaluation import Score, evaluate, quick_conditions
from rareunet_training.loss import total_loss

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class NonFiniteLossError(RuntimeError):
    """The loss became NaN or infinite; names the step and its cases."""


@dataclass
class EpochReport:
    """What an epoch did: mean loss by part, seconds, and validation scores if there was a validation."""

    epoch: int
    losses: dict[str, float]
    learning_rate: float
    seconds: float
    scores: list[Score] = field(default_factory=list)

    def dice(self) -> dict[str, float]:
        """Mean Dice by condition."""
        conditions = dict.fromkeys(score.condition for score in self.scores)
        return {
            c: float(np.nanmean([s.mean_dice for s in self.scores if s.condition == c])) for c in conditions
        }


class Trainer:
    """One training run.

    Args:
        config: the resolved configuration.
        training, validation: cases in memory.
        folder: where checkpoints go.
        on_step: called with (epoch, step, steps) after each step.
    """

    def __init__(
        self,
        config: TrainingConfig,
        training: Sequence[Sample],
        validation: Sequence[Sample],
        folder: Path,
        on_step: Callable[[int, int, int], None] = lambda epoch, step, steps: None,
    ) -> None:
        self.config, self.training, self.validation, self.on_step = (
            config,
            list(training),
            list(validation),
            on_step,
        )
        self.checkpoint = folder / "last.ckpt"
        self.device = choose_device(config.fit.device)
        torch.manual_seed(config.fit.seed)
        self.bundle = describe_bundle(config, self.training)
        self.network = RAREUNet(Architecture(**self.bundle.architecture)).to(self.device)
        self.average = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(config.fit.ema_decay))
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), config.fit.learning_rate, weight_decay=config.fit.weight_decay
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.fit.precision == "float16")
        self.transform = build_augmentation(config.augmentation)
        self.settings = ViewSettings(
            self.bundle.reference_spacing_mm, self.bundle.stages, self.bundle.deepest, len(self.bundle.labels) + 1,
            self.bundle.intensity, config.fit.protocol,
        )  # fmt: skip
        self.epoch = 0

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(len(self.training) / self.config.fit.batch_size)

    def run(self) -> Iterator[EpochReport]:
        """Trains from the current epoch to the last, saving a checkpoint after each."""
        while self.epoch < self.config.fit.epochs:
            report = self._train_epoch()
            self.epoch += 1
            if self.epoch % self.config.fit.validate_every == 0 or self.epoch == self.config.fit.epochs:
                report.scores = self.validate()
            save_checkpoint(self.checkpoint, self.state())
            yield report

    def validate(self) -> list[Score]:
        """Scores the averaged weights on the validation cases."""
        cases = self.validation[: self.config.data.validation_cases or None]
        return evaluate(self.predictor(), cases, quick_conditions(self.config.fit.protocol))

    def predictor(self) -> Predictor:
        """The averaged weights behind the path that users run."""
        network: RAREUNet = self.average.module  # type: ignore[assignment]  # torch types it as any Module
        return Predictor(self.bundle, str(self.device), network=network.eval())

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "config": self.config.to_dict(), "epoch": self.epoch, "network": self.network.state_dict(),
            "average": self.average.state_dict(), "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(), "torch_rng": torch.get_rng_state(),
        }  # fmt: skip

    def resume(self) -> None:
        """Goes on from the last checkpoint."""
        state = load_checkpoint(self.checkpoint)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["torch_rng"])
        self.epoch = int(state["epoch"])

    def _train_epoch(self) -> EpochReport:
        self.network.train()
        fit, start, sums = self.config.fit, time.perf_counter(), dict[str, list[float]]()
        order = self._batches()
        rate = 0.0
        for step, batch in enumerate(order):
            rate = self._set_learning_rate(self.epoch + step / len(order))
            samples = [self.training[i] for i in batch]
            key = (fit.seed, self.epoch, step)
            views = training_step(samples, self.transform, self._patch(), key, self.settings)
            for name, value in self._optimise(views, samples).items():
                sums.setdefault(name, []).append(value)
            self.on_step(self.epoch, step + 1, len(order))
        losses = {name: float(np.mean(values)) for name, values in sums.items()}
        return EpochReport(self.epoch + 1, losses, rate, time.perf_counter() - start)

    def _optimise(self, views: Sequence[View], samples: Sequence[Sample]) -> dict[str, float]:
        precision = PRECISIONS[self.config.fit.precision]
        views = [view.to(self.device) for view in views]
        with torch.autocast(self.device.type, precision, enabled=precision != torch.float32):
            walks = self.network([v.images for v in views], [v.axis_depths for v in views])
        loss, parts = total_loss(walks, views, self.config.loss)
        if not torch.isfinite(loss):
            cases = ", ".join(sample.name for sample in samples)
            raise NonFiniteLossError(
                f"the loss became {float(loss.detach())} in epoch {self.epoch + 1} with {cases}: the last checkpoint"
                " is from before. Lower fit.learning_rate or look at these cases."
            )
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.fit.gradient_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.average.update_parameters(self.network)
        return {"total": float(loss.detach()), **parts}

    def _batches(self) -> list[list[int]]:
        """Cases of equal spacing, in an order that the seed and epoch decide."""
        random = np.random.default_rng([self.config.fit.seed, self.epoch])
        groups: dict[tuple[float, ...], list[int]] = {}
        for index in random.permutation(len(self.training)):
            spacing = tuple(round(s, 3) for s in self.training[index].spacing_mm)
            groups.setdefault(spacing, []).append(int(index))
        size = self.config.fit.batch_size
        batches = [group[i : i + size] for group in groups.values() for i in range(0, len(group), size)]
        return [batches[i] for i in random.permutation(len(batches))]

    def _patch(self) -> tuple[int, int, int]:
        z, y, x = self.config.fit.patch
        return z, y, x

    def _set_learning_rate(self, epoch: float) -> float:
        fit = self.config.fit
        warm_up = min(1.0, (epoch + 1e-2) / max(fit.warm_up_epochs, 1e-9)) if fit.warm_up_epochs else 1.0
        rate = fit.learning_rate * warm_up * 0.5 * (1 + math.cos(math.pi * epoch / fit.epochs))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate


def describe_bundle(config: TrainingConfig, training: Sequence[Sample]) -> Bundle:
    """The bundle that this configuration will make, without weights."""
    model: ModelConfig = config.model
    labels = tuple(Label(**{**label, "color": tuple(label["color"])}) for label in model.labels)
    architecture = Architecture.preset(model.preset, len(model.channels), len(labels) + 1)
    extents = np.array([np.multiply(s.label.shape, s.spacing_mm) for s in training])
    z, y, x = model.reference_spacing_mm
    training_facts = {
        "data": {"cases": len(training), "fold": config.data.fold, "excluded": config.data.exclude},
        "settings": {
            "fit": asdict(config.fit),
            "loss": asdict(config.loss),
            "augmentation": asdict(config.augmentation),
        },
        "software": {"torch": torch.__version__.split("+")[0]},
    }
    return Bundle(
        name=model.name, title=model.title, description=model.description, version=model.version,
        license=model.license, architecture=asdict(architecture) | model.network, reference_spacing_mm=(z, y, x),
        channels=tuple({"name": name} for name in model.channels), labels=labels, intensity=IntensityRule(),
        field_of_view_mm={"smallest": _extent(extents.min(axis=0)), "largest": _extent(extents.max(axis=0))},
        training=training_facts,
    )  # fmt: skip


def _extent(values: np.ndarray) -> tuple[float, float, float]:
    z, y, x = (round(float(v), 2) for v in values)
    return z, y, x
