"""Scores of folds as one, and the card that they make for a model of the same network."""

from dataclasses import replace

import pytest
from evaluation_helpers import FOLD_CONDITIONS, fold_scores, save_bundle, scored

from rareunet_training.evaluation.pooling import pool, with_card_of
from rareunet_training.evaluation.scores import Score
from rareunet_training.evaluation.scoring import model_facts
from rareunet_training.model import case_hash


@pytest.fixture
def bundle(tmp_path):
    return save_bundle(tmp_path / "final")


@pytest.fixture
def fold(bundle):
    return lambda number, cases, **changes: fold_scores(bundle, number, cases, **changes)


def test_several_models_share_no_hash(fold, bundle):
    first = fold(0, ["a", "b"])
    shared = pool([first, fold(1, ["c"])]).model
    assert "sha256" not in shared
    assert shared["parameters"] == model_facts(bundle)["parameters"]
    assert pool([first]).model["sha256"] == "of fold 0"


def test_certainty_limit_comes_with_scores_of_scans_and_stays_with_those_of_label_maps(fold, bundle):
    def sure(case, certainty):
        return replace(scored(case, "native", 0.8), certainty=certainty)

    folds = [
        fold(number, list(cases), scores=tuple(sure(case, 0.9) for case in cases))
        for number, cases in enumerate(("abc", "def"))
    ]
    assert bundle.certainty_limit is None
    carded = with_card_of(bundle, pool(folds))
    assert carded.certainty_limit == 0.86
    assert with_card_of(carded, pool([fold(2, ["g"])])).certainty_limit == 0.86


def test_cases_in_two_sets_are_refused(fold):
    with pytest.raises(ValueError, match=r"a is in two of the score files \(2 such cases\)"):
        pool([fold(0, ["a", "b"]), fold(1, ["c"]), fold(2, ["b", "a"])])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"protocol": "clinical", "scores": (scored("b", "native", 0.5),)},
            "scored with protocol 'all', blobs, fold 1 with 'clinical'",
        ),
        ({"model": {"presented": "up"}}, "scored with --baseline 'none', blobs, fold 1 with 'up'"),
        ({"shape": (32, 24, 16)}, "only scores on the same crop"),
        ({"labels": ("Heart",)}, "compare models of the same structures"),
        (
            {"scores": (Score("b", "native", (1, 1, 1), (0.5,), 0.1),)},
            "one has scores in world space and the other has Dice",
        ),
    ],
)
def test_folds_that_were_not_scored_alike_are_refused(fold, changes, message):
    with pytest.raises(ValueError, match=message):
        pool([fold(0, ["a"]), fold(1, ["b"], **changes)])


def test_protocols_with_the_same_conditions_are_alike(fold):
    pooled = pool([fold(0, ["a"]), fold(1, ["b"], protocol="standard")])
    assert len(pooled.scores) == 2 * len(FOLD_CONDITIONS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"parameters": 7}}, "the scored models 7: a card describes the same network"),
        ({"model": {"presented": "up"}}, r"presented in another way \(up\)"),
        ({"labels": ("Heart",)}, "those of the scores Heart"),
        ({"scores": (scored("a", "scale 1 (published)", 0.5),)}, "displaced labels alone"),
    ],
)
def test_scores_that_describe_another_model_make_no_card(fold, bundle, changes, message):
    with pytest.raises(ValueError, match=message):
        with_card_of(bundle, pool([fold(0, ["a"], **changes)]))


def test_card_is_of_the_models_own_cases(tmp_path, fold):
    learnt = [case_hash(name) for name in "abc"]
    bundle = save_bundle(tmp_path / "all", training={"data": {"case_hashes": learnt}})
    assert with_card_of(bundle, pool([fold(0, ["a"]), fold(1, ["b"])])).resolution_card
    with pytest.raises(ValueError, match=r"not trained on 2 of the 3 scored cases \(x, y\)"):
        with_card_of(bundle, pool([fold(0, ["a", "x"]), fold(1, ["y"])]))
