"""pool: scores of folds as one, and the card of a model that was trained on all cases."""

import json

import pytest
from evaluation_helpers import fold_scores, save_bundle, write_blobs

from rareunet.bundle import Bundle
from rareunet.bundle_format import WEIGHTS_FILE, hash_file, verify
from rareunet_training.__main__ import main
from rareunet_training.evaluation.score_files import read_scores, write_scores
from rareunet_training.evaluation.scoring import model_facts
from rareunet_training.model import case_hash

LEARNT = [case_hash(name) for name in ("a", "b", "c")]


@pytest.fixture
def bundle(tmp_path):
    return save_bundle(tmp_path / "final", training={"data": {"case_hashes": LEARNT}})


@pytest.fixture
def fold(tmp_path, bundle):
    """Writes the scores of a fold with those cases; returns the file."""

    def write(number, cases, **changes):
        write_scores(fold_scores(bundle, number, cases, **changes), tmp_path / f"fold{number}.json")
        return tmp_path / f"fold{number}.json"

    return write


def pool(*words):
    return main(["pool", *map(str, words)])


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
    assert written.training["data"] == {"case_hashes": LEARNT}
    assert hash_file(bundle.folder / WEIGHTS_FILE) == weights


def test_scores_of_a_fold_are_not_replaced_by_those_of_all(fold, tmp_path, capsys):
    (tmp_path / "fold0").mkdir()
    first = fold(0, ["a"]).rename(tmp_path / "fold0" / "scores.json")
    before = first.read_bytes()
    assert pool(first, fold(1, ["b"]), "--output", first.parent) == 1
    assert "choose another --output" in capsys.readouterr().err
    assert first.read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "files", "settings", "message"),
    [
        ({}, [], ["data.fold=1"], "no use for 'data.fold=1'"),
        ({}, ["none.json"], [], "can't be read"),
        ({}, ["fold0.json"], [], "a is in two of the score files"),
        ({"labels": ("Heart",)}, [], [], "those of the scores Heart"),
    ],
)
def test_what_can_not_be_pooled_is_refused_and_nothing_is_written(
    fold, bundle, tmp_path, monkeypatch, capsys, changes, files, settings, message
):
    monkeypatch.chdir(tmp_path)
    words = [
        fold(0, ["a"], **changes),
        *files,
        "--card",
        bundle.folder,
        "--output",
        tmp_path / "out",
        *settings,
    ]
    assert pool(*words) == 1
    assert message in capsys.readouterr().err
    assert Bundle.load(bundle.folder).resolution_card == ()
    assert not (tmp_path / "out").exists()
