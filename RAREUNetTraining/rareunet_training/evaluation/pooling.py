"""The scores of several folds as one: each case by a model that was trained without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rareunet.bundle import Bundle
from rareunet.wording import some
from rareunet_training.evaluation.comparison import check_terms, terms_of
from rareunet_training.evaluation.resolution_card import with_card
from rareunet_training.evaluation.score_files import ScoreSet
from rareunet_training.evaluation.scoring import model_facts
from rareunet_training.model import case_hash

COMMON_FACTS = ("name", "version", "presented", "parameters")  # what models of several folds may share


def pool(sets: Sequence[ScoreSet]) -> ScoreSet:
    """One set of all cases, named like the first; of the models it tells what they share.

    Args:
        sets: one or more, of different cases.

    Raises:
        ValueError: a case is in two sets, or they differ in structures, protocol, crop, or way of presenting the scans.
    """
    first, *others = sets
    references = dict(first.references)
    for other in others:
        check_terms(terms_of(first), terms_of(other))
        for what, ours, theirs, alike in (
            ("protocol", first.protocol, other.protocol, _conditions(first) == _conditions(other)),
            ("--baseline", _presented(first), _presented(other), False),
        ):
            if ours != theirs and not alike:
                raise ValueError(
                    f"{first.data} was scored with {what} {ours or 'none'!r}, {other.data} with {theirs or 'none'!r}:"
                    " evaluate all folds alike."
                )
        if any(score.in_world for score in first.scores) != any(score.in_world for score in other.scores):
            raise ValueError(
                f"of {first.data} and {other.data} one has scores in world space and the other has Dice on the scan's"
                " grid alone: evaluate all folds alike."
            )
        if twice := sorted(references.keys() & other.references.keys()):
            raise ValueError(
                f"{twice[0]} is in two of the score files ({len(twice)} such cases): give one file for each fold, each"
                " of the cases that its model was trained without."
            )
        references |= other.references
    shared = {
        key: first.model[key]
        for key in COMMON_FACTS
        if key in first.model and all(other.model.get(key) == first.model[key] for other in others)
    }
    return replace(
        first,
        model=shared if others else first.model,
        data="; ".join(dict.fromkeys(one.data for one in sets)),
        references=references,
        scores=tuple(score for one in sets for score in one.scores),
    )


def with_card_of(bundle: Bundle, pooled: ScoreSet) -> Bundle:
    """The bundle with a resolution card of scores that other models got: trained alike, but without the scored cases.

    Its certainty limit becomes theirs, and stays where only label maps were scored.

    Raises:
        ValueError: the scores are of other structures, another network, cases that the bundle was not trained on, scans
            presented in another way, or displaced labels alone.
    """
    labels = bundle.structure_names
    if pooled.labels != labels:
        raise ValueError(
            f"the structures of {bundle.name} are {', '.join(labels)}, those of the scores"
            f" {', '.join(pooled.labels)}: a card describes the same structures."
        )
    if presented := _presented(pooled):
        raise ValueError(
            f"these scores are of scans that were presented in another way ({presented}): evaluate without --baseline."
        )
    learnt, names = bundle.case_hashes, list(pooled.references)
    if learnt and (others := [name for name in names if case_hash(name) not in learnt]):
        raise ValueError(
            f"{bundle.name} was not trained on {len(others)} of the {len(names)} scored cases ({some(others)}): a card"
            " out of fold is of the model's own cases. For a card from other cases run evaluate --write-card."
        )
    own, scored = model_facts(bundle)["parameters"], pooled.model.get("parameters", 0)
    if scored and scored != own:
        raise ValueError(
            f"{bundle.name} has {own} weights, the scored models {scored}: a card describes the same network."
        )
    carded = with_card(bundle, pooled.scores)
    if not carded.resolution_card:
        raise ValueError(
            "these scores are of the paper's displaced labels alone: evaluate without --protocol published."
        )
    source = (
        f"Out of fold: {len(pooled.references)} cases ({pooled.data}), each scored by a model of this network that was"
        " trained without it."
    )
    return replace(carded, training={**bundle.training, "resolution_card": source})


def _conditions(scores: ScoreSet) -> set[str]:
    return {score.condition for score in scores.scores}


def _presented(scores: ScoreSet) -> str:
    return str(scores.model.get("presented", ""))
