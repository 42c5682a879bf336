"""compare from the command line: what is printed, drawn and kept, and what is refused."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from evaluation_helpers import ARCHITECTURE, VALUE, found_and_missed, save_bundle, score_set, write_blobs

from rareunet import Predictor
from rareunet.bundle import Label
from rareunet.network import RAREUNet
from rareunet.volume_files import read_volume, write_label_map
from rareunet_training.__main__ import main
from rareunet_training.commands.compare import METRIC_NAMES
from rareunet_training.commands.contestants import is_model
from rareunet_training.evaluation.labelled_cases import external_cases
from rareunet_training.evaluation.metrics import METRICS
from rareunet_training.evaluation.score_files import read_scores, write_scores
from rareunet_training.evaluation.scoring import ScoringPlan, folder_contestant
from rareunet_training.reports.score_output import show


def test_what_is_left_out_is_printed_and_kept(tmp_path, capsys):
    paths = [tmp_path / "one.json", tmp_path / "two.json"]
    for path, scores in zip(paths, found_and_missed(), strict=True):
        write_scores(scores, path)
    assert command(*paths, "--metric", "hd95_mm", "--output", tmp_path / "out") == 0
    sentence = "native: one, unlike both, did not find hard in 3 of 3 cases."
    assert f"Left out, because one of the two has no value:\n{sentence}\n" in capsys.readouterr().out
    kept = json.loads((tmp_path / "out" / "comparison.json").read_text(encoding="utf-8"))
    assert kept["left_out"] == [sentence]
    assert sentence in (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
    assert command(*paths, "--metric", "volume_error_percent", "--output", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "absolute volume error (%): one against both" in printed
    assert "Left out" not in printed


def test_scans_that_too_little_memory_was_free_for_are_counted(tmp_path, capsys):
    plain = score_set("model", [0.5] * 6)
    short = replace(
        plain, name="short", scores=(replace(plain.scores[0], stepped_down=True), *plain.scores[1:])
    )
    for scores in (plain, short):
        write_scores(scores, tmp_path / f"{scores.name}.json")
    paths = [tmp_path / "model.json", tmp_path / "short.json"]
    assert command(*paths, "--output", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "short: Too little memory was free for 1 of 6 scans" in printed
    assert printed.count("Too little memory") == 1
    show(short)
    assert "Too little memory was free for 1 of 6 scans" in capsys.readouterr().out


def test_every_metric_can_be_compared():
    assert list(METRICS) == list(METRIC_NAMES)


def command(*words):
    return main(["compare", *map(str, words)])


def test_contestants_of_like_names_get_a_file_each(tmp_path):
    names = ["tiny:up", "tiny_up", "печень", "почка"]
    for index, name in enumerate(names):
        write_scores(score_set(name, [0.5 + 0.1 * index] * 6), tmp_path / f"{index}.json")
    assert command(*(tmp_path / f"{index}.json" for index in range(4)), "--output", tmp_path / "out") == 0
    files = (tmp_path / "out").glob("scores_*.json")
    assert sorted(json.loads(file.read_text(encoding="utf-8"))["name"] for file in files) == sorted(names)


def test_earlier_scores_are_compared_without_scans(tmp_path, capsys):
    paths = [tmp_path / "one.json", tmp_path / "two.json"]
    for path, values in zip(paths, ([0.5] * 6, [0.51, 0.52, 0.53, 0.54, 0.55, 0.56]), strict=True):
        write_scores(score_set("model", values), path)
    assert command(*paths, "--output", tmp_path / "out") == 0
    line = next(row for row in capsys.readouterr().out.splitlines() if row.startswith("native"))
    assert " ".join(line.split()) == "native 6 0.500 0.535 +0.035 +- 0.008 0.031 0.031 6/0 0.100 0.100 1.00"
    (row,) = csv.DictReader((tmp_path / "out" / "comparison.csv").open())
    assert (row["base"], row["other"], row["wins"]) == ("model", "model (2)", "6")
    assert (row["base_seconds"], row["seconds_ratio"], row["conditions"]) == ("0.1", "1.0", "1")
    (difference,) = json.loads((tmp_path / "out" / "comparison.json").read_text(encoding="utf-8"))[
        "differences"
    ]
    assert difference["p_value"] == pytest.approx(0.03125)
    page = (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
    assert "model (2) against model" in page
    assert "+0.035 ± 0.008" in page
    assert "95 % interval (t)" in page
    assert "paired t test" in page


def test_models_ways_and_folders_side_by_side(tmp_path, capsys):
    scans = write_blobs(tmp_path / "data", count=2)
    save_bundle(tmp_path / "tiny")
    (tmp_path / "nnunet").mkdir()
    for name, scan in scans.items():
        label = read_volume(tmp_path / "data" / "labelsTr" / f"{name}.nii.gz")
        write_label_map(tmp_path / "nnunet" / f"{name}.nii.gz", label.voxels[0], scan)
    words = [
        tmp_path / "tiny",
        f"{tmp_path / 'tiny'}:up",
        tmp_path / "nnunet",
        "fit.device=cpu",
        "--data",
        tmp_path / "data",
    ]
    assert command(*words, "--protocol", "clinical", "--output", tmp_path / "out") == 0
    printed, told = capsys.readouterr()
    assert "contestants:" not in told  # a progress bar is for terminals
    assert "Dice: tiny:up against tiny" in printed
    assert "Dice: nnunet against tiny" in printed
    theirs = read_scores(tmp_path / "out" / "scores_nnunet.json")
    assert [(s.condition, s.dice) for s in theirs.scores] == [("native", (1,))] * 2
    model = read_scores(tmp_path / "out" / "scores_tiny_up.json").model
    weights = sum(w.numel() for w in RAREUNet(ARCHITECTURE).parameters())
    assert (model["presented"], model["parameters"]) == ("up", weights)
    page = (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
    assert page.count("data:image/svg+xml;base64") == 3


@pytest.fixture
def scored_cases(monkeypatch):
    """Names of the cases that a model was asked for, as the command goes."""
    asked, real = [], Predictor.predict

    def watched(self, volume, **options):
        asked.append(volume.name)
        return real(self, volume, **options)

    monkeypatch.setattr(Predictor, "predict", watched)
    return asked


def on_blobs(folder, *contestants, protocol="aligned"):
    """compare on two blobs beside the contestants, with crops of 16 x 24 x 16 voxels."""
    words = ["fit.device=cpu", "--data", folder / "data", "--shape", 16, 24, 16, "--protocol", protocol]
    return command(*contestants, *words, "--output", folder / "out")


@pytest.fixture
def blobs(tmp_path):
    """A folder with a data set of two blobs, and a model."""
    write_blobs(tmp_path / "data", count=2)
    save_bundle(tmp_path / "tiny")
    return tmp_path


def test_earlier_scores_on_another_crop_are_refused_before_models_are_asked(blobs, capsys, scored_cases):
    earlier = score_set("earlier", [0.5] * 6, "scale 1 (aligned)")
    write_scores(earlier, blobs / "earlier.json")
    assert on_blobs(blobs, blobs / "earlier.json", blobs / "tiny") == 1
    assert "earlier.json has crops of 32 x 64 x 32 voxels" in capsys.readouterr().err
    assert scored_cases == []
    write_scores(replace(earlier, shape=(16, 24, 16), references={}), blobs / "earlier.json")
    assert on_blobs(blobs, blobs / "tiny", blobs / "earlier.json") == 1
    assert "no Dice of the same case and condition" in capsys.readouterr().err
    assert read_scores(blobs / "out" / "scores_tiny.json").shape == (16, 24, 16)


def test_other_structures_are_refused_before_models_are_asked(blobs, capsys, scored_cases):
    save_bundle(blobs / "cubes", name="cubes", labels=(Label(VALUE, "Cube", (200, 30, 30)),))
    assert on_blobs(blobs, blobs / "tiny", blobs / "cubes") == 1
    assert "cubes Cube: compare models of the same structures" in capsys.readouterr().err
    assert scored_cases == []


def test_a_case_that_can_not_be_used_is_noticed_before_models_are_asked(blobs, capsys, scored_cases):
    path = blobs / "data" / "labelsTr" / "blob_1.nii.gz"
    label = read_volume(path)
    write_label_map(path, 3 * label.voxels[0], label)
    assert on_blobs(blobs, blobs / "tiny", blobs / "tiny:up") == 1
    assert "blob_1: label values [9] are not in the label set [3]" in capsys.readouterr().err
    path.write_bytes(path.read_bytes()[:100])
    assert on_blobs(blobs, blobs / "tiny", blobs / "tiny:up") == 1
    assert "blob_1" in capsys.readouterr().err
    assert scored_cases == []


@pytest.mark.parametrize("folder", ["theirs", "theirs/scale_1_2_aligned", "theirs/isotropic_2_mm"])
def test_a_missing_label_map_is_noticed_before_models_are_asked(blobs, capsys, scored_cases, folder):
    label = read_volume(blobs / "data" / "labelsTr" / "blob_0.nii.gz")
    (blobs / folder).mkdir(parents=True)
    write_label_map(blobs / folder / "blob_0.nii.gz", label.voxels[0], label)
    assert on_blobs(blobs, blobs / "tiny", blobs / "theirs", protocol="all") == 1
    told = capsys.readouterr().err
    assert f"{folder}: no prediction is named like the case blob_1" in told
    assert scored_cases == []


def test_a_condition_that_does_not_apply_needs_no_label_map(tmp_path):
    """Scans of 3 mm are not presented at 2 mm, so nobody has label maps of them there."""
    write_blobs(tmp_path / "data", matrix=np.diag([3.0, 3, 3, 1]), count=2)
    label = read_volume(tmp_path / "data" / "labelsTr" / "blob_0.nii.gz")
    (tmp_path / "theirs" / "isotropic_2_mm").mkdir(parents=True)
    write_label_map(tmp_path / "theirs" / "isotropic_2_mm" / "of_another.nii.gz", label.voxels[0], label)
    plan = ScoringPlan(external_cases(str(tmp_path / "data")))
    assert folder_contestant(tmp_path / "theirs", plan, {VALUE: "Ball"}).conditions == {"isotropic 2 mm"}


def test_scores_are_kept_where_the_comparison_fails(blobs, capsys):
    other = score_set("elsewhere", [0.5], "scale 1 (aligned)", cases=("blob_0",), shape=(16, 24, 16))
    write_scores(other, blobs / "other.json")  # its label map has another hash
    assert on_blobs(blobs, blobs / "tiny", blobs / "other.json") == 1
    assert "blob_0 has another label map" in capsys.readouterr().err
    kept = read_scores(blobs / "out" / "scores_tiny.json")
    assert {score.case for score in kept.scores} == {"blob_0", "blob_1"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hippocampus"], "compare needs two or more"),
        (["hippocampus", "hippocampus:up"], "no cases to score"),
        (["one.json", "two.json", "--pictures", "blob_0"], "all of these are saved scores or label maps"),
        (["one.json", "two.json"], "can't be read"),
    ],
)
def test_what_can_not_be_compared_is_explained(words, message, tmp_path, capsys):
    assert command(*words, "--output", tmp_path / "out") == 1
    assert message in capsys.readouterr().err


def test_a_bundles_description_is_a_model_not_scores(tmp_path):
    assert is_model(str(tmp_path / "bundle.json"))
    assert not is_model(str(tmp_path / "scores.json"))
