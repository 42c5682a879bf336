"""The fit command: a configuration and folders of scans in, a bundle out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from rareunet.preprocessing import IntensityRule
from rareunet_training.cases import find_cases, make_folds, read_folds
from rareunet_training.configuration import TrainingConfig
from rareunet_training.dataset import Sample, load_sample
from rareunet_training.evaluation import (
    evaluate,
    quick_conditions,
    resolution_card,
    standard_conditions,
)
from rareunet_training.scores import table, write_csv
from rareunet_training.trainer import EpochReport, Trainer


def load_data(config: TrainingConfig) -> tuple[list[Sample], list[Sample]]:
    """Training and validation cases of the configured fold."""
    data = config.data
    cases = find_cases(data.folder, data.exclude)
    values = [int(label["value"]) for label in config.model.labels]
    samples = [load_sample(case, values, IntensityRule()) for case in cases]
    if data.fold < 0:
        return samples, []
    folds = read_folds(data.folds) if data.folds else make_folds([c.name for c in cases], 5, config.fit.seed)
    if data.fold >= len(folds):
        raise ValueError(
            f"data.fold is {data.fold}, but there are folds 0 to {len(folds) - 1} (-1 trains on all)."
        )
    held_out = set(folds[data.fold])
    return [s for s in samples if s.name not in held_out], [s for s in samples if s.name in held_out]


def fit(config: TrainingConfig, output: Path, resume: bool = False) -> Path:
    """Trains, then writes the bundle with its resolution card; returns the bundle's folder."""
    output.mkdir(parents=True, exist_ok=True)
    training, validation = load_data(config)
    print(f"{len(training)} training and {len(validation)} validation cases", flush=True)
    (output / "config.json").write_text(json.dumps(config.to_dict(), indent=2) + "\n", encoding="utf-8")
    trainer = Trainer(config, training, validation, output)
    if resume and trainer.checkpoint.exists():
        trainer.resume()
        print(f"going on after epoch {trainer.epoch}", flush=True)
    for report in trainer.run():
        _log(report, output / "history.jsonl", config.fit.epochs)
    return finish(trainer, output)


def finish(trainer: Trainer, output: Path) -> Path:
    """Scores the final weights on all validation cases and saves the bundle."""
    bundle, predictor = trainer.bundle, trainer.predictor()
    folder = bundle.save(output / bundle.name, predictor.network).folder
    assert folder is not None
    if trainer.validation:
        published = trainer.config.fit.protocol == "published"
        conditions = quick_conditions("published") if published else standard_conditions()
        scores = evaluate(predictor, trainer.validation, conditions)
        names = [label.name for label in bundle.labels]
        print(table(scores, names), flush=True)
        write_csv(scores, names, output / "scores.csv")
        card = tuple(resolution_card(scores, names))
        replace(bundle, resolution_card=card).save(folder, predictor.network)
    return folder


def _log(report: EpochReport, path: Path, epochs: int) -> None:
    row = {"epoch": report.epoch, "seconds": round(report.seconds, 1), "learning_rate": report.learning_rate}
    row |= {f"loss {name}": round(value, 4) for name, value in report.losses.items()}
    dice = " ".join(f"{name}: {value:.3f}" for name, value in report.dice().items())
    print(
        f"epoch {report.epoch}/{epochs} {report.seconds:.0f} s loss {report.losses['total']:.4f} {dice}",
        flush=True,
    )
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(row | {"dice": report.dice()}) + "\n")
