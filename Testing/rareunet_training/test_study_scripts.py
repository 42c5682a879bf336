"""What the scripts of docs/study share: each model meets the cases that it was trained without, and no others."""

import json
import sys
from pathlib import Path

import pytest
from evaluation_helpers import save_bundle, write_blobs

from rareunet.routing import route_for
from rareunet_training.model import case_hash

STUDY = Path(__file__).parents[2] / "docs" / "study"


@pytest.fixture
def pairs(monkeypatch):
    monkeypatch.syspath_prepend(str(STUDY))
    import pairs

    yield pairs
    del sys.modules["pairs"]


@pytest.fixture
def shown(pairs, tmp_path, monkeypatch):
    """Runs held_out_samples with a command line: the model and the case of each sample."""
    write_blobs(tmp_path / "data", count=3)
    (tmp_path / "folds.json").write_text(json.dumps([["blob_0", "blob_2"], ["blob_1"]]))
    config = tmp_path / "balls.toml"
    config.write_text(
        '[data]\nfolder = "data"\nfolds = "folds.json"\n[[model.labels]]\nvalue = 3\nname = "Ball"\ncolor = [1, 2, 3]\n'
    )

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["script", *map(str, words), "--config", str(config)])
        return [(p.bundle.folder.name, sample.name) for p, sample in pairs.held_out_samples("what it does")]

    return run


@pytest.fixture
def model(tmp_path):
    def make(name, fold, learnt="somebody"):
        data = {"fold": fold, "case_hashes": [case_hash(learnt)]}
        save_bundle(tmp_path / name, training={"data": data})
        return tmp_path / name

    return make


def test_each_model_meets_its_own_fold(shown, model):
    samples = shown(model("first", 0), model("second", 1))
    assert samples == [("first", "blob_0"), ("first", "blob_2"), ("second", "blob_1")]
    assert shown(model("third", 0), "data.exclude=['blob_0']") == [("third", "blob_2")]


def test_models_that_would_be_scored_wrongly_are_refused(shown, model):
    with pytest.raises(ValueError, match="second model of fold 0"):
        shown(model("first", 0), model("again", 0))
    with pytest.raises(ValueError, match="was trained on 1 of these 2 cases"):
        shown(model("learnt", 0, learnt="blob_2"))
    with pytest.raises(ValueError, match="keeps no case to score"):
        shown(model("all", -1))
    with pytest.raises(ValueError, match="no model is given"):
        shown("data.fold=0")


def test_another_rule_is_in_force_for_its_own_routes_alone(pairs):
    rule = pairs.router(COARSEST_FINE_RESIDUAL=1.25)
    spacing, reference = (1.2, 1.2, 1.2), (1.0, 1.0, 1.0)
    assert rule(spacing, reference, 3, None).network_spacing_mm == spacing
    assert route_for(spacing, reference).network_spacing_mm == reference


def test_difference_is_paired_over_the_cases(pairs, capsys):
    pairs.print_pairs(("as it is", "finer"), {"2 mm": [(0.5, 0.6), (0.7, 0.9)]})
    row = capsys.readouterr().out.splitlines()[1]
    assert row.split() == ["2", "mm", "0.600", "0.750", "+0.150", "+-", "0.050"]
