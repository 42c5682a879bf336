"""pool: scores of folds as one, and the card of a model that was trained on all cases."""

import json
from dataclasses import replace

import pytest
from evaluation_helpers import save_bundle, scored, write_blobs

from rareunet.bundle import Bundle
from rareunet.bundle_format import WEIGHTS_FILE, hash_file, verify
from rareunet_training.__main__ import main
from rareunet_training.evaluation.score_files import ScoreSet, read_scores, write_scores
from rareunet_training.evaluation.scores import Score
from rareunet_training.evaluation.scoring import model_facts

CONDITIONS = ("native", "scale 1 (aligned)", "scale 1 (published)")


@pytest.fixture
def bundle(tmp_path):
    return save_bundle(tmp_path / "final", training={"data": {"case_hashes": ["1"]}})


@pytest.fixture
def fold(tmp_path, bundle):
    """Writes the scores of a fold with those cases; returns the file."""

    def write(number, cases, **changes):
        facts = {**model_facts(bundle), "name": "tiny", "sha256": f"of fold {number}"}
        values = {name: 0.9 - 0.1 * index for index, name in enumerate(cases)}
        scores = [scored(case, condition, dice) for case, dice in values.items() for condition in CONDITIONS]
        found = ScoreSet(
            "tiny",
            facts,
            "all",
            (16, 24, 16),
            f"blobs, fold {number}",
            ("Ball",),
            dict.fromkeys(cases, "hash"),
            tuple(scores),
        )
        write_scores(replace(found, **changes), tmp_path / f"fold{number}.json")
        return tmp_path / f"fold{number}.json"

    return write


def pool(*words):
    return main(["pool", *map(str, words)])


def refusal(capsys, *words):
    assert pool(*words) == 1
    return capsys.readouterr().err


def test_pooled_scores_are_those_of_an_evaluation_of_all_cases(bundle, tmp_path):
    write_blobs(tmp_path / "data", count=3)
    (tmp_path / "folds.json").write_text(json.dumps([["blob_0", "blob_2"], ["blob_1"]]))
    (tmp_path / "config.toml").write_text('[data]\nfolder = "data"\nfolds = "folds.json"\n')

    def evaluate(name, *words):
        quick = ["--protocol", "aligned", "--shape", "16", "24", "16", "fit.device=cpu"]
        words = ["evaluate", bundle.folder, *words, "--output", tmp_path / name, *quick]
        assert main(list(map(str, words))) == 0
        return tmp_path / name / "scores.json"

    folds = [evaluate(f"fold{k}", "--config", tmp_path / "config.toml", f"data.fold={k}") for k in (0, 1)]
    assert pool(*folds, "--output", tmp_path / "pooled") == 0
    pooled = read_scores(tmp_path / "pooled" / "scores.json")
    together = read_scores(evaluate("together", "--data", tmp_path / "data"))
    assert pooled.references == together.references
    assert pooled.data == "data, fold 0 of folds.json; data, fold 1 of folds.json"
    ours, theirs = ({(s.case, s.condition): s.dice for s in one.scores} for one in (pooled, together))
    assert ours == theirs
    assert (tmp_path / "pooled" / "scores.html").stat().st_size > 5000


def test_several_models_share_no_hash(fold, tmp_path, bundle):
    first, second = fold(0, ["a", "b"]), fold(1, ["c"])
    assert pool(first, second, "--output", tmp_path / "both") == 0
    shared = read_scores(tmp_path / "both" / "scores.json").model
    assert "sha256" not in shared
    assert shared["parameters"] == model_facts(bundle)["parameters"]
    assert pool(first, "--output", tmp_path / "one") == 0
    assert read_scores(tmp_path / "one" / "scores.json").model["sha256"] == "of fold 0"


def test_folds_whose_models_were_named_apart(fold, bundle, tmp_path):
    facts = {**model_facts(bundle), "name": "fold1", "version": "2.0.0"}
    assert pool(fold(0, ["a"]), fold(1, ["b"], model=facts), "--output", tmp_path / "both") == 0
    assert "several" in (tmp_path / "both" / "scores.html").read_text(encoding="utf-8")


def test_card_of_the_final_model_is_that_of_the_folds(fold, bundle, capsys):
    weights = hash_file(bundle.folder / WEIGHTS_FILE)
    assert pool(fold(0, ["a", "b"]), fold(1, ["c"]), "--card", bundle.folder) == 0
    assert "0.867 +- 0.058" in capsys.readouterr().out
    verify(bundle.folder)
    written = Bundle.load(bundle.folder)
    rows = [(row["condition"], row["cases"], row["dice_mean"]) for row in written.resolution_card]
    assert rows == [("native", 3, 0.866667), ("scale 1 (aligned)", 3, 0.866667)]  # no displaced labels
    source = written.training["resolution_card"]
    assert source.startswith("Out of fold: 3 cases (blobs, fold 0; blobs, fold 1), each scored by a model")
    assert written.training["data"] == {"case_hashes": ["1"]}
    assert hash_file(bundle.folder / WEIGHTS_FILE) == weights


def test_certainty_limit_comes_with_scores_of_scans_and_stays_with_those_of_label_maps(fold, bundle):
    def sure(case, certainty):
        return replace(scored(case, "native", 0.8), certainty=certainty)

    first, second = (
        fold(number, list(cases), scores=tuple(sure(case, 0.9) for case in cases))
        for number, cases in enumerate(("abc", "def"))
    )
    assert Bundle.load(bundle.folder).certainty_limit is None
    assert pool(first, second, "--card", bundle.folder) == 0
    assert Bundle.load(bundle.folder).certainty_limit == 0.86
    assert pool(fold(2, ["g"]), "--card", bundle.folder) == 0
    assert Bundle.load(bundle.folder).certainty_limit == 0.86


def test_scores_of_a_fold_are_not_replaced_by_those_of_all(fold, tmp_path, capsys):
    (tmp_path / "fold0").mkdir()
    first = fold(0, ["a"]).rename(tmp_path / "fold0" / "scores.json")
    before = first.read_bytes()
    assert pool(first, fold(1, ["b"]), "--output", first.parent) == 1
    assert "choose another --output" in capsys.readouterr().err
    assert first.read_bytes() == before


def test_cases_in_two_files_are_refused(fold, capsys):
    message = refusal(capsys, fold(0, ["a", "b"]), fold(1, ["c"]), fold(2, ["b", "a"]))
    assert "a is in two of the score files (2 such cases)" in message


@pytest.mark.parametrize(
    ("changes", "expected"),
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
def test_folds_that_were_not_scored_alike_are_refused(fold, changes, expected, capsys):
    assert expected in refusal(capsys, fold(0, ["a"]), fold(1, ["b"], **changes))


def test_protocols_with_the_same_conditions_are_alike(fold, tmp_path):
    assert pool(fold(0, ["a"]), fold(1, ["b"], protocol="standard"), "--output", tmp_path / "both") == 0
    assert len(read_scores(tmp_path / "both" / "scores.json").scores) == 2 * len(CONDITIONS)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model": {"parameters": 7}}, "the scored models 7: a card describes the same network"),
        ({"model": {"presented": "up"}}, "presented in another way (up)"),
        ({"labels": ("Heart",)}, "those of the scores Heart"),
        ({"scores": (scored("a", "scale 1 (published)", 0.5),)}, "displaced labels alone"),
    ],
)
def test_scores_that_describe_another_model_make_no_card(fold, bundle, changes, expected, capsys):
    assert expected in refusal(capsys, fold(0, ["a"], **changes), "--card", bundle.folder)
    assert Bundle.load(bundle.folder).resolution_card == ()


def test_settings_and_missing_files_are_refused(fold, tmp_path, capsys):
    words = [fold(0, ["a"]), "--output", tmp_path / "out", "data.fold=1"]
    assert "no use for 'data.fold=1'" in refusal(capsys, *words)
    assert "can't be read" in refusal(capsys, tmp_path / "none.json")
