"""evaluate from the command line: which cases, what is written, and what is refused."""

import json
import shutil
from dataclasses import replace
from operator import itemgetter

import pytest
from evaluation_helpers import save_bundle, write_blobs

from rareunet.bundle import Bundle
from rareunet.bundle_format import WEIGHTS_FILE, hash_file, verify
from rareunet_training.__main__ import main
from rareunet_training.configuration import read_config
from rareunet_training.evaluation.labelled_cases import (
    LabelledCases,
    check_channels,
    check_unseen,
    external_cases,
    held_out_cases,
)
from rareunet_training.model import case_hash

QUICK = ["--protocol", "aligned", "--shape", "16", "24", "16", "fit.device=cpu"]


@pytest.fixture
def data(tmp_path):
    write_blobs(tmp_path / "data", count=3)
    return tmp_path / "data"


@pytest.fixture
def model(tmp_path):
    save_bundle(tmp_path / "tiny", training={"data": {"fold": 0, "case_hashes": [case_hash("somebody")]}})
    return tmp_path / "tiny"


@pytest.fixture
def config(tmp_path, data):
    (tmp_path / "folds.json").write_text(json.dumps([["blob_0", "blob_2"], ["blob_1"]]))
    path = tmp_path / "balls.toml"
    path.write_text(
        '[data]\nfolder = "data"\nfolds = "folds.json"\n[[model.labels]]\nvalue = 3\nname = "Ball"\ncolor = [1, 2, 3]\n'
    )
    return path


def evaluate(*words):
    return main(["evaluate", *map(str, words)])


def test_held_out_fold_is_scored_and_written(model, config, tmp_path, capsys):
    assert evaluate(model, "--config", config, "--output", tmp_path / "out", *QUICK) == 0
    printed = capsys.readouterr().out
    assert "scale 1/8 (aligned)" in printed
    assert "Dice, aligned protocol" in printed
    content = json.loads((tmp_path / "out" / "scores.json").read_text(encoding="utf-8"))
    assert {score["case"] for score in content["scores"]} == {"blob_0", "blob_2"}
    assert content["data"] == "data, fold 0 of folds.json"
    assert content["shape"] == [16, 24, 16]
    assert content["model"]["sha256"] == hash_file(model / WEIGHTS_FILE)
    assert (tmp_path / "out" / "scores.html").stat().st_size > 5000
    rows = (tmp_path / "out" / "scores.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 1 + 2 * 4


def test_other_scans_are_scored_without_a_configuration(model, data, tmp_path, capsys):
    assert (
        evaluate(model, "--data", data, "--output", tmp_path / "out", "data.exclude=['blob_1']", *QUICK) == 0
    )
    content = json.loads((tmp_path / "out" / "scores.json").read_text(encoding="utf-8"))
    assert set(content["references"]) == {"blob_0", "blob_2"}
    assert "warning" not in capsys.readouterr().err


def test_crop_of_the_configuration_is_as_large_as_its_patch(model, config, tmp_path):
    words = ["--config", config, "fit.patch=[10, 24, 17]", "--output", tmp_path / "out"]
    assert evaluate(model, *words, "--protocol", "aligned", "fit.device=cpu") == 0
    content = json.loads((tmp_path / "out" / "scores.json").read_text(encoding="utf-8"))
    assert content["shape"] == [16, 24, 24]


def test_predictions_give_the_tables_again(model, data, config, tmp_path):
    saved, words = tmp_path / "saved", ["--data", data, *QUICK]
    assert evaluate(model, *words, "--save-predictions", saved, "--output", tmp_path / "first") == 0
    assert evaluate("--predictions", saved, "--config", config, *words, "--output", tmp_path / "again") == 0
    first, again = (
        json.loads((tmp_path / name / "scores.json").read_text(encoding="utf-8"))
        for name in ("first", "again")
    )
    assert again["model"] == {}
    assert again["shape"] == first["shape"] == [16, 24, 16]
    assert len(again["scores"]) == 3 * 4
    key = itemgetter("case", "condition")
    for one, other in zip(sorted(first["scores"], key=key), sorted(again["scores"], key=key), strict=True):
        assert one["in_world"] == other["in_world"]
        assert one["dice"] == other["dice"]


def test_card_is_written_beside_the_same_weights(model, data):
    before = hash_file(model / WEIGHTS_FILE)
    assert evaluate(model, "--data", data, "--write-card", *QUICK) == 0
    verify(model)
    bundle = Bundle.load(model)
    assert [row["condition"] for row in bundle.resolution_card] == [
        f"scale {s} (aligned)" for s in ("1", "1/2", "1/4", "1/8")
    ]
    assert bundle.resolution_card[0]["cases"] == 3
    assert hash_file(model / WEIGHTS_FILE) == before
    assert sorted(path.name for path in model.iterdir()) == [
        "SHA256SUMS",
        "bundle.json",
        "weights.safetensors",
    ]
    assert [p.name for p in model.parent.iterdir() if p.name.startswith(".")] == []


def test_a_packaged_models_card_is_not_replaced(data, capsys):
    assert evaluate("hippocampus", "--data", data, "--write-card", *QUICK) == 1
    assert "hippocampus is an installed model, with a card of its own" in capsys.readouterr().err


def test_baseline_is_named_in_the_scores(model, data, tmp_path):
    assert evaluate(model, "--data", data, "--baseline", "pad", "--output", tmp_path / "out", *QUICK) == 0
    content = json.loads((tmp_path / "out" / "scores.json").read_text(encoding="utf-8"))
    assert (content["name"], content["model"]["presented"]) == ("tiny:pad", "pad")
    assert "zero-padded" in (tmp_path / "out" / "scores.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["MODEL"], "no cases to score: give --config"),
        (["--data", "DATA"], "nothing to score: name a model"),
        (["MODEL", "--data", "DATA", "--baseline", "down"], "choose up, pad"),
        (
            ["MODEL", "--data", "DATA", "--baseline", "up", "--write-card"],
            "--write-card describes what the model itself",
        ),
        (
            ["MODEL", "--data", "DATA", "--shape", 36, 60, 36],
            "multiple of 8 and at least 16. Choose --shape 40 64 40",
        ),
        (["MODEL", "--data", "DATA", "--shape", 8, 16, 16], "Choose --shape 16 16 16"),
        (["MODEL", "--data", "DATA", "--output", "FILE"], "File exists"),
        (["--predictions", "DATA", "--data", "DATA"], "the label set is not known"),
        (["MODEL", "--predictions", "DATA", "--data", "DATA"], "holds no label maps"),
        (["nowhere", "--data", "DATA"], "no model 'nowhere'"),
        (["MODEL", "--config", "CONFIG", "data.fold=1"], "kept fold 0 out of its training, not fold 1"),
        (["MODEL", "--config", "CONFIG", "data.fold=-1"], "data.fold=-1 keeps no case"),
        (["MODEL", "--data", "DATA", "data.exclude=['blob_0','blob_1','blob_2']"], "holds no case but those"),
        (["--predictions", "SAVED", "--config", "CONFIG", "--baseline", "up"], "leave out --baseline"),
        (
            ["--predictions", "SAVED", "--config", "CONFIG", "--save-predictions", "x"],
            "--save-predictions, or",
        ),
        (
            ["--predictions", "SAVED", "--config", "CONFIG", "--protocol", "published"],
            "published presents none so",
        ),
    ],
)
def test_what_can_not_be_scored_is_explained(words, message, model, data, config, capsys):
    places = {"MODEL": model, "DATA": data, "CONFIG": config, "SAVED": data / "labelsTr", "FILE": config}
    assert evaluate(*(places.get(word, word) for word in words), "fit.device=cpu") == 1
    assert message in capsys.readouterr().err


def test_cases_of_the_training_are_refused_by_name_wherever_they_lie(data, tmp_path):
    bundle = save_bundle(
        tmp_path / "learnt", training={"data": {"fold": 0, "case_hashes": [case_hash("blob_1")]}}
    )
    with pytest.raises(ValueError, match=r"trained on 1 of these 3 cases \(blob_1\)"):
        check_unseen(bundle, external_cases(str(data)))
    assert check_unseen(bundle, external_cases(str(data), exclude=["blob_1"])) == ""


def test_configuration_of_other_scans_leaves_out_those_that_are_there(model, data, capsys):
    words = ["--data", data, "data.exclude=['somebody', 'blob_1']"]
    assert evaluate(model, *words, *QUICK) == 0
    assert [case.name for case in external_cases(str(data), exclude=["x", "blob_1"]).cases] == [
        "blob_0",
        "blob_2",
    ]


def test_model_trained_on_all_cases_needs_other_scans(config, tmp_path):
    bundle = save_bundle(
        tmp_path / "all", training={"data": {"fold": -1, "case_hashes": [case_hash("blob_1")]}}
    )
    with pytest.raises(ValueError, match="tiny was trained on all cases: give other scans with --data"):
        check_unseen(bundle, held_out_cases(read_config(config)))


def test_folder_of_no_condition_is_named(data, config, tmp_path, capsys):
    for name in ("native", "thick_4mm_along_s"):
        shutil.copytree(data / "labelsTr", tmp_path / "saved" / name)
    assert evaluate("--predictions", tmp_path / "saved", "--config", config) == 0
    assert (
        "saved has the folders thick_4mm_along_s, which are named like no condition"
        in capsys.readouterr().err
    )
    shutil.rmtree(tmp_path / "saved" / "native")
    assert evaluate("--predictions", tmp_path / "saved", "--config", config) == 1
    assert "thick_4mm_along_s" in capsys.readouterr().err


def test_columns_in_another_order_than_the_models_channels_are_refused(data, tmp_path):
    bundle = replace(save_bundle(tmp_path / "two"), channels=({"name": "T1"}, {"name": "FLAIR"}))
    case = external_cases(str(data)).cases[0]
    for names in (("t1", "flair"), ("CT",), ()):
        check_channels(bundle, LabelledCases((case._replace(channels=names),), "data"))
    with pytest.raises(ValueError, match="named FLAIR, T1 in this order, the model's channels T1, FLAIR"):
        check_channels(bundle, LabelledCases((case._replace(channels=("FLAIR", "T1")),), "data"))


def test_model_that_tells_nothing_of_its_training_brings_a_warning(data, config, tmp_path):
    bundle = save_bundle(tmp_path / "silent")
    assert "does not tell which cases" in check_unseen(bundle, external_cases(str(data)))
    assert "does not tell which cases" in check_unseen(bundle, held_out_cases(read_config(config)))


def test_card_is_of_aligned_labels_and_says_whose(model, data):
    bundle = Bundle.load(model)
    replace(bundle, training={**bundle.training, "resolution_card": "Out of fold: 42 cases"}).rewrite()
    assert evaluate(model, "--data", data, "--protocol", "all", "--write-card", *QUICK[2:]) == 0
    bundle = Bundle.load(model)
    assert len(bundle.resolution_card) > 20
    assert not any("published" in row["condition"] for row in bundle.resolution_card)
    assert bundle.training["resolution_card"] == "3 cases (data), scored by this model."


def test_scores_are_written_before_a_card_that_can_not_be(model, data, tmp_path, monkeypatch, capsys):
    def refuse(bundle):
        raise PermissionError(13, "Permission denied", str(bundle.folder))

    monkeypatch.setattr(Bundle, "rewrite", refuse)
    assert evaluate(model, "--data", data, "--write-card", "--output", tmp_path / "out", *QUICK) == 1
    assert (tmp_path / "out" / "scores.json").is_file()
    assert "scale 1/2 (aligned)" in capsys.readouterr().out


def test_model_trained_on_published_labels_is_scored_on_them(data, tmp_path, capsys):
    settings = {"settings": {"fit": {"protocol": "published"}}}
    save_bundle(tmp_path / "study", training=settings)
    assert evaluate(tmp_path / "study", "--data", data, "--shape", 16, 24, 16, "fit.device=cpu") == 0
    printed = capsys.readouterr().out
    assert "scale 1/2 (published)" in printed
    assert "aligned" not in printed
    assert evaluate(tmp_path / "study", "--data", data, "--write-card", "fit.device=cpu") == 1
    assert "a card describes aligned ones. Add --protocol aligned" in capsys.readouterr().err
