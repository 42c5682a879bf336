"""Paired differences that can be worked out by hand, and compare from the command line."""

import csv
import json
import math

import pytest
from evaluation_helpers import save_bundle, scored, write_blobs

from rareunet.volume_files import read_volume, write_label_map
from rareunet_training.__main__ import main
from rareunet_training.commands.compare import METRIC_NAMES
from rareunet_training.comparison import compare, holm
from rareunet_training.metrics import METRICS
from rareunet_training.score_files import ScoreSet, read_scores, write_scores

CASES = ("a", "b", "c", "d", "e", "f")


def score_set(name, values, condition="native", labels=("Ball",), cases=CASES, **more):
    scores = tuple(scored(case, condition, value, **more) for case, value in zip(cases, values, strict=True))
    return ScoreSet(name, {}, "standard", "scans", labels, {case: f"hash {case}" for case in cases}, scores)


def test_difference_its_error_and_its_probability():
    base, other = score_set("base", [0.5] * 6), score_set("other", [0.51, 0.52, 0.53, 0.54, 0.55, 0.56])
    (found,) = compare(base, other)
    assert (found.cases, found.wins, found.losses) == (6, 6, 0)
    assert found.difference == pytest.approx(0.035)
    assert found.standard_error == pytest.approx(math.sqrt(3.5e-4 / 6))
    assert found.p_value == pytest.approx(2 / 2**6)  # all six of one sign, two-sided
    low, high = found.interval
    assert 0.01 <= low < 0.035 < high <= 0.06
    (back,) = compare(other, base)
    assert (back.wins, back.losses, back.difference) == (0, 6, pytest.approx(-0.035))


def test_nothing_differs():
    (found,) = compare(score_set("base", [0.5] * 6), score_set("other", [0.5] * 6))
    assert (found.difference, found.standard_error, found.p_value, found.wins) == (0, 0, 1, 0)


def test_lower_distances_are_better():
    base, other = (
        score_set("base", [0.5] * 2, cases=CASES[:2]),
        score_set("other", [0.5] * 2, cases=CASES[:2]),
    )
    closer = tuple(
        s.__class__(s.case, s.condition, s.spacing_mm, s.dice, s.seconds, s.on_scan, (nearer(s.in_world[0]),))
        for s in other.scores
    )
    (found,) = compare(base, ScoreSet(**{**vars(other), "scores": closer}), "hd95_mm", "world")
    assert (found.difference, found.wins, found.losses) == (-0.5, 2, 0)


def nearer(agreement):
    return agreement.__class__(**{**vars(agreement), "hd95_mm": agreement.hd95_mm - 0.5})


def test_only_cases_of_both_are_paired():
    base = score_set("base", [0.5, 0.5, float("nan"), 0.5], cases=("a", "b", "c", "x"))
    other = score_set("other", [0.6, 0.4, 0.9], cases=("a", "b", "c"))
    (found,) = compare(base, other)
    assert (found.cases, found.difference, found.wins, found.losses) == (2, pytest.approx(0), 1, 1)


def test_a_single_case_has_no_error():
    (found,) = compare(score_set("base", [0.5], cases="a"), score_set("other", [0.6], cases="a"))
    assert math.isnan(found.standard_error)
    assert math.isnan(found.interval[0])
    assert found.p_value == 1


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1, 1]


def test_correction_is_over_the_conditions():
    def both(name, gain):
        values = [0.5 + gain * (1 + i / 10) for i in range(6)]
        parts = [score_set(name, values, condition) for condition in ("native", "isotropic 2 mm")]
        return ScoreSet(**{**vars(parts[0]), "scores": parts[0].scores + parts[1].scores})

    found = compare(both("base", 0), both("other", 0.1))
    assert [d.condition for d in found] == ["native", "isotropic 2 mm"]
    assert [d.p_holm for d in found] == pytest.approx([4 / 64, 4 / 64])


def test_sets_that_can_not_be_paired_are_refused():
    base = score_set("base", [0.5] * 6)
    changed = ScoreSet(**{**vars(base), "references": {**base.references, "b": "another"}})
    with pytest.raises(ValueError, match=r"b has another label map .*1 of 6 cases"):
        compare(base, changed)
    with pytest.raises(ValueError, match="no Dice of the same case and condition"):
        compare(base, score_set("other", [0.5] * 6, "isotropic 2 mm"))
    with pytest.raises(ValueError, match="models of the same structures"):
        compare(base, score_set("other", [0.5] * 6, labels=("Cube",)))


def test_every_metric_can_be_compared():
    assert list(METRICS) == list(METRIC_NAMES)


def command(*words):
    return main(["compare", *map(str, words)])


def test_earlier_scores_are_compared_without_scans(tmp_path, capsys):
    paths = [tmp_path / "one.json", tmp_path / "two.json"]
    for path, values in zip(paths, ([0.5] * 6, [0.51, 0.52, 0.53, 0.54, 0.55, 0.56]), strict=True):
        write_scores(score_set("model", values), path)
    assert command(*paths, "--output", tmp_path / "out") == 0
    line = next(row for row in capsys.readouterr().out.splitlines() if row.startswith("native"))
    assert " ".join(line.split()) == "native 6 0.500 0.535 +0.035 +- 0.008 0.031 0.031 6/0"
    (row,) = csv.DictReader((tmp_path / "out" / "comparison.csv").open())
    assert (row["base"], row["other"], row["wins"]) == ("model", "model (2)", "6")
    (difference,) = json.loads((tmp_path / "out" / "comparison.json").read_text(encoding="utf-8"))[
        "differences"
    ]
    assert difference["p_value"] == pytest.approx(0.03125)
    page = (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
    assert "model (2) against model" in page
    assert "+0.035 ± 0.008" in page


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
    printed = capsys.readouterr().out
    assert "Dice: tiny:up against tiny" in printed
    assert "Dice: nnunet against tiny" in printed
    theirs = read_scores(tmp_path / "out" / "scores_nnunet.json")
    assert [(s.condition, s.dice) for s in theirs.scores] == [("native", (1,))] * 2
    assert read_scores(tmp_path / "out" / "scores_tiny_up.json").model["presented"] == "up"
    page = (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
    assert page.count("data:image/svg+xml;base64") == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hippocampus"], "compare needs two or more"),
        (["hippocampus", "hippocampus:up"], "no cases to score"),
        (["one.json", "two.json"], "can't be read"),
    ],
)
def test_what_can_not_be_compared_is_explained(words, message, tmp_path, capsys):
    assert command(*words, "--output", tmp_path / "out") == 1
    assert message in capsys.readouterr().err
