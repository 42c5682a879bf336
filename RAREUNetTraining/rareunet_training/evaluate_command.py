"""The evaluate command: scores a bundle on the held-out cases of a configuration."""

from __future__ import annotations

from pathlib import Path

from rareunet.predictor import Predictor
from rareunet_training.configuration import TrainingConfig
from rareunet_training.evaluation import evaluate, paper_scale, standard_conditions
from rareunet_training.fit_command import load_data
from rareunet_training.scores import table, write_csv


def evaluate_model(model: str, config: TrainingConfig, output: Path | None) -> None:
    """Prints Dice by condition for the configured fold, and writes scores.csv if there is a folder for it.

    Raises:
        ValueError: the fold holds no case, or the model was trained on it.
    """
    predictor = Predictor(model, config.fit.device)
    trained_fold = predictor.bundle.training.get("data", {}).get("fold")
    if trained_fold != config.data.fold:
        raise ValueError(
            f"{model} kept fold {trained_fold} out of its training, not fold {config.data.fold}: its scores there would"
            f" be of cases it has learnt. Use data.fold={trained_fold}."
        )
    _, cases = load_data(config)
    if not cases:
        raise ValueError("data.fold=-1 keeps no case to score: choose the fold that the training left out.")
    published = config.fit.protocol == "published"
    conditions = [paper_scale(d, "published") for d in range(4)] if published else standard_conditions()
    names = [label.name for label in predictor.bundle.labels]
    scores = evaluate(predictor, cases, conditions)
    print(table(scores, names), flush=True)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        write_csv(scores, names, output / "scores.csv")
