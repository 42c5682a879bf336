"""What compare's words stand for: score sets, and models that can be asked for pictures."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rareunet.wording import some
from rareunet_training.commands.scored_data import (
    find_labelled,
    paper_crop,
    warn_of_unknown_folders,
    with_progress,
)

if TYPE_CHECKING:
    from rareunet.geometry import Shape
    from rareunet_training.configuration import TrainingConfig
    from rareunet_training.data.cases import Case
    from rareunet_training.evaluation.comparison import Terms
    from rareunet_training.evaluation.evaluate import Segmenter
    from rareunet_training.evaluation.score_files import ScoreSet
    from rareunet_training.evaluation.scoring import Contestant, ScoringPlan


def score_all(names: Sequence[str], arguments: argparse.Namespace, config: TrainingConfig) -> list[ScoreSet]:
    """Score sets in the order of the names; what was scored before is read, the rest is scored on the same cases.

    Two of the same name get a number.

    Raises:
        ValueError: before anything is scored, where the first can't be paired with another.
    """
    from rareunet_training.evaluation.comparison import terms_of
    from rareunet_training.evaluation.score_files import read_scores
    from rareunet_training.evaluation.scoring import score_contestants

    sets = {name: read_scores(Path(name)) for name in names if _is_score_file(name)}
    others = [name for name in dict.fromkeys(names) if name not in sets]
    if others:
        plan = _plan(arguments, config)
        contestants = [_contestant(name, names, plan, config) for name in others]
        terms = {name: replace(terms_of(scores), name=name) for name, scores in sets.items()}
        terms |= {name: _terms(name, one, plan) for name, one in zip(others, contestants, strict=True)}
        _check_pairs([terms[name] for name in names])
        with with_progress(plan, f"{len(contestants)} contestants") as watched:
            sets |= zip(others, score_contestants(contestants, watched), strict=True)
    return _named_apart([sets[name] for name in names])


def _terms(name: str, contestant: Contestant, plan: ScoringPlan) -> Terms:
    """What a contestant's scores will be of."""
    from rareunet_training.evaluation.comparison import Terms

    return Terms(name, tuple(contestant.labels.values()), contestant.conditions, plan.shape)


def _check_pairs(terms: Sequence[Terms]) -> None:
    """Refuses what can't be paired with the first, see comparison.check_terms."""
    from rareunet_training.evaluation.comparison import check_terms

    for other in terms[1:]:
        check_terms(terms[0], other)


def _plan(arguments: argparse.Namespace, config: TrainingConfig) -> ScoringPlan:
    """The cases and conditions of the arguments."""
    from rareunet_training.evaluation.scoring import ScoringPlan

    labelled, shape = find_labelled(arguments, config), paper_crop(arguments, config)
    dice_alone = arguments.metric == "dice" and not arguments.world
    return ScoringPlan(labelled, arguments.protocol or "standard", shape, "dice" if dice_alone else "all")


def pictured_case(names: Sequence[str], arguments: argparse.Namespace, config: TrainingConfig) -> Case:
    """The case that --pictures names.

    Raises:
        ValueError: it is not among the cases, or no contestant is a model, which alone can be shown.
    """
    if not any(is_model(name) for name in names):
        raise ValueError(
            "--pictures asks models for their answers, and all of these are saved scores or label maps: name a model"
            " among them."
        )
    cases = {case.name: case for case in find_labelled(arguments, config).cases}
    if arguments.pictures not in cases:
        raise ValueError(
            f"--pictures: no case is called {arguments.pictures!r}: choose one of the {len(cases)} that are compared"
            f" ({some(list(cases))})."
        )
    return cases[arguments.pictures]


def draw_pictures(
    names: Sequence[str],
    sets: Sequence[ScoreSet],
    case: Case,
    arguments: argparse.Namespace,
    config: TrainingConfig,
) -> list[str]:
    """Writes figure_scales.png: the reference and each model's answers on a case, a column per resolution.

    Returns:
        names of the contestants that are not in it, because they are no models.
    """
    from rareunet_training.data.samples import load_sample
    from rareunet_training.evaluation.conditions import quick_conditions
    from rareunet_training.reports.pictures import PictureRow, draw_rows

    shape = paper_crop(arguments, config)
    rows: list[PictureRow] = []
    for name, scores in zip(names, sets, strict=True):
        if is_model(name):
            segmenter = _segmenter(name, shape, config)
            bundle = segmenter.bundle
            sample = load_sample(case, [label.value for label in bundle.labels], bundle.intensity)
            rows += [PictureRow(scores.name, sample, segmenter)]
    left_out = [scores.name for name, scores in zip(names, sets, strict=True) if not is_model(name)]
    note = f"Not shown, since no model was given: {', '.join(left_out)}." if left_out else ""
    conditions = quick_conditions("published" if arguments.protocol == "published" else "aligned", shape)
    reference = PictureRow("reference", rows[0].sample)
    path = arguments.output / "figure_scales.png"
    draw_rows([reference, *rows], bundle, conditions, path, f"{case.name}. {note}".strip())
    return left_out


def is_model(name: str) -> bool:
    """Whether a word names a model, not saved scores or a folder of label maps."""
    return not _is_score_file(name) and not _is_folder_of_predictions(name)


def _contestant(name: str, names: Sequence[str], plan: ScoringPlan, config: TrainingConfig) -> Contestant:
    from rareunet.predictor import Predictor
    from rareunet_training.evaluation.labelled_cases import check_channels, check_unseen
    from rareunet_training.evaluation.scoring import folder_contestant, model_contestant

    if _is_folder_of_predictions(name):
        warn_of_unknown_folders(Path(name))
        return folder_contestant(Path(name), plan, _labels(names, config))
    model, way = _model_and_way(name)
    predictor = Predictor(model, config.fit.device)
    check_channels(predictor.bundle, plan.labelled)
    if warning := check_unseen(predictor.bundle, plan.labelled):
        print(f"warning: {warning}", file=sys.stderr)
    return model_contestant(predictor, plan, way)


def _segmenter(name: str, shape: Shape, config: TrainingConfig) -> Segmenter:
    from rareunet.predictor import Predictor
    from rareunet_training.evaluation.baselines import baseline

    model, way = _model_and_way(name)
    predictor = Predictor(model, config.fit.device)
    return baseline(way, predictor, shape) if way else predictor


def _model_and_way(name: str) -> tuple[str, str]:
    """ "MODEL:up" -> ("MODEL", "up"); a name without a way of baselines.BASELINES stays whole."""
    from rareunet_training.evaluation.baselines import BASELINES

    model, _, way = name.rpartition(":")
    return (model, way) if model and way in BASELINES else (name, "")


def _is_score_file(name: str) -> bool:
    from rareunet.bundle_format import DESCRIPTION_FILE

    return name.endswith(".json") and Path(name).name != DESCRIPTION_FILE


def _is_folder_of_predictions(name: str) -> bool:
    from rareunet.bundle_format import DESCRIPTION_FILE
    from rareunet.installed_models import installed_models

    return (
        name not in installed_models()
        and Path(name).is_dir()
        and not (Path(name) / DESCRIPTION_FILE).exists()
    )


def _labels(names: Sequence[str], config: TrainingConfig) -> dict[int, str]:
    """The label set: the configuration's, else that of the first model among the contestants."""
    from rareunet.bundle import Bundle

    if config.model.labels:
        return dict(zip(config.model.label_values, config.model.label_names, strict=True))
    for name in filter(is_model, names):
        return {label.value: label.name for label in Bundle.load(_model_and_way(name)[0]).labels}
    raise ValueError(
        "the label set of the predictions is not known: give --config, or a model to compare with."
    )


def _named_apart(sets: Sequence[ScoreSet]) -> list[ScoreSet]:
    """The sets with a number behind a name that occurs again."""
    apart: list[ScoreSet] = []
    for scores in sets:
        taken = {other.name for other in apart}
        names = [scores.name, *(f"{scores.name} ({number})" for number in range(2, len(sets) + 1))]
        apart.append(replace(scores, name=next(name for name in names if name not in taken)))
    return apart
