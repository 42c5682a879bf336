"""Paired differences that can be worked out by hand, and compare from the command line."""

import csv
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from evaluation_helpers import ARCHITECTURE, VALUE, agreement, save_bundle, scored, write_blobs

from rareunet import Predictor
from rareunet.bundle import Label
from rareunet.network import RAREUNet
from rareunet.volume_files import read_volume, write_label_map
from rareunet_training.__main__ import main
from rareunet_training.commands.compare import METRIC_NAMES
from rareunet_training.evaluation.comparison import compare, holm, missed_alone
from rareunet_training.evaluation.conditions import PAPER_SHAPE
from rareunet_training.evaluation.labelled_cases import external_cases
from rareunet_training.evaluation.metrics import ABSENT, METRICS
from rareunet_training.evaluation.score_files import ScoreSet, read_scores, write_scores
from rareunet_training.evaluation.scores import Score
from rareunet_training.evaluation.scoring import ScoringPlan, folder_contestant
from rareunet_training.reports.score_output import show

CASES = ("a", "b", "c", "d", "e", "f")


def score_set(name, values, condition="native", labels=("Ball",), cases=CASES, shape=PAPER_SHAPE, **more):
    scores = tuple(scored(case, condition, value, **more) for case, value in zip(cases, values, strict=True))
    references = {case: f"hash {case}" for case in cases}
    return ScoreSet(name, {}, "standard", shape, "scans", labels, references, scores)


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
    base = score_set("base", [0.5, 0.5, math.nan, 0.5], cases=("a", "b", "c", "x"))
    other = score_set("other", [0.6, 0.4, math.nan], cases=("a", "b", "c"))
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
    assert [d.condition for d in found] == ["native", "isotropic 2 mm", "mean of all"]
    assert [d.p_holm for d in found] == pytest.approx([4 / 64, 4 / 64, 2 / 64])


def joined(*parts):
    return ScoreSet(**{**vars(parts[0]), "scores": tuple(score for part in parts for score in part.scores)})


def test_means_over_conditions_are_of_each_case_first():
    """Three cases, differences 0.1, 0.2, 0.3 at 2 mm and 0.3, 0.2, none at 3 mm: their means are 0.2, 0.2, 0.3."""
    cases, fine, coarse = CASES[:3], "isotropic 2 mm", "isotropic 3 mm"
    base = joined(
        score_set("base", [0.5] * 3, fine, cases=cases, seconds=0.2),
        score_set("base", [0.5, 0.5, math.nan], coarse, cases=cases, seconds=0.2),
    )
    other = joined(
        score_set("other", [0.6, 0.7, 0.8], fine, cases=cases, seconds=0.05),
        score_set("other", [0.8, 0.7, math.nan], coarse, cases=cases, seconds=0.15),
    )
    mean = compare(base, other)[-1]
    assert (mean.condition, mean.conditions, mean.cases) == ("mean of isotropic", 2, 3)
    assert mean.difference == pytest.approx(0.7 / 3)
    assert mean.standard_error == pytest.approx(0.1 / 3)  # deviations -1, -1, 2 thirtieths: sd 0.1 / sqrt(3)
    assert mean.other_mean == pytest.approx((0.7 + 0.7 + 0.8) / 3)
    assert (mean.base_seconds, mean.other_seconds) == pytest.approx((0.2, 0.1))  # of 0.1, 0.1 and 0.05


def test_each_group_of_conditions_has_its_mean_and_all_leave_out_displaced_labels():
    names = [
        "native", "isotropic 2 mm", "isotropic 3 mm", "thick 2 mm along S", "2 x 2 x 5 mm", "scale 1 (aligned)",
        "scale 1/2 (aligned)", "scale 1 (published)", "scale 1/2 (published)",
    ]  # fmt: skip
    found = compare(*(joined(*(score_set(name, [0.5] * 6, c) for c in names)) for name in ("base", "other")))
    assert {d.condition: d.conditions for d in found if d.conditions > 1} == {
        "mean of isotropic": 2,
        "mean of thick slices": 2,
        "mean of scales (aligned)": 2,
        "mean of scales (published)": 2,
        "mean of all": 7,
    }


def test_seconds_are_medians_and_their_ratio_is_that_of_the_medians():
    base, other = (
        joined(
            *(score_set(name, [0.5], cases=case, seconds=s) for case, s in zip("abc", seconds, strict=True))
        )
        for name, seconds in (("base", (0.2, 0.4, 9.0)), ("other", (0.1, 0.1, 0.3)))
    )
    references = {case: case for case in "abc"}
    (found,) = compare(*(ScoreSet(**{**vars(s), "references": references}) for s in (base, other)))
    assert (found.base_seconds, found.other_seconds) == (0.4, 0.1)
    assert found.seconds_ratio == pytest.approx(0.25)
    untimed = ScoreSet(
        **{**vars(score_set("folder", [0.5], cases="a", seconds=math.nan)), "references": references}
    )
    assert math.isnan(compare(ScoreSet(**{**vars(base), "references": references}), untimed)[0].seconds_ratio)


def test_sets_that_can_not_be_paired_are_refused():
    base = score_set("base", [0.5] * 6)
    changed = ScoreSet(**{**vars(base), "references": {**base.references, "b": "another"}})
    with pytest.raises(ValueError, match=r"b has another label map .*1 of 6 cases"):
        compare(base, changed)
    with pytest.raises(ValueError, match="no Dice of the same case and condition"):
        compare(base, score_set("other", [0.5] * 6, "isotropic 2 mm"))
    with pytest.raises(ValueError, match="models of the same structures"):
        compare(base, score_set("other", [0.5] * 6, labels=("Cube",)))


@pytest.mark.parametrize("condition", ["scale 1/2 (aligned)", "scale 1 (published)"])
def test_scores_of_other_crops_are_not_paired(condition):
    base, other = score_set("base", [0.5] * 6, condition), score_set("other", [0.5] * 6, condition)
    smaller = replace(other, shape=(16, 24, 16))
    message = (
        rf"{re.escape(repr(condition))} base has crops of 32 x 64 x 32 voxels .*, other of 16 x 24 x 16: .*"
        " the same --shape, 32 64 32 or 16 24 16"
    )
    with pytest.raises(ValueError, match=message):
        compare(base, smaller)
    assert compare(base, other)


def test_crops_may_differ_where_none_is_scored_by_both():
    base = joined(score_set("base", [0.5] * 6), score_set("base", [0.5] * 6, "scale 1 (aligned)"))
    for condition in ("isotropic 2 mm", "scale 1 (published)"):
        parts = [score_set("other", [0.5] * 6, c, shape=(16, 24, 16)) for c in ("native", condition)]
        assert [d.condition for d in compare(base, joined(*parts))] == ["native"]


FOUND = agreement(0.9, hd95_mm=1.0, volume_error_percent=3.0)
HARD = agreement(0.7, hd95_mm=8.0, volume_error_percent=-1.0)
MISSED = agreement(0.0, hd95_mm=math.nan, precision=math.nan, volume_error_percent=-100.0)
MADE_UP = agreement(0.0, hd95_mm=math.nan, recall=math.nan, volume_error_percent=math.inf)


def measured_set(name, labels, *cases):
    """All measures of each structure of each case."""
    scores = tuple(
        Score(case, "native", (1.0,) * 3, tuple(a.dice for a in measures), 0.1, measures, measures)
        for case, measures in zip(CASES, cases, strict=False)
    )
    return replace(score_set(name, [0.5] * 6), labels=labels, scores=scores)


def found_and_missed():
    """Of two structures in three cases the second model never finds the hard one, and finds the other alike."""
    labels = ("easy", "hard")
    return measured_set("both", labels, *[(FOUND, HARD)] * 3), measured_set(
        "one", labels, *[(FOUND, MISSED)] * 3
    )


@pytest.mark.parametrize(("metric", "mean"), [("hd95_mm", 1.0), ("precision", 0.9)])
@pytest.mark.parametrize("frame", ["scan", "world"])
def test_both_means_are_of_the_same_structures(metric, mean, frame):
    base, other = found_and_missed()
    (found,) = compare(base, other, metric, frame)
    assert (found.base_mean, found.other_mean, found.wins, found.losses) == (mean, mean, 0, 0)
    told = ["native: one, unlike both, did not find hard in 3 of 3 cases."]
    assert missed_alone(base, other, metric, frame) == missed_alone(other, base, metric, frame) == told


def test_a_missed_structure_counts_where_it_has_a_value():
    base, other = found_and_missed()
    (found,) = compare(base, other)
    assert (found.base_mean, found.other_mean) == pytest.approx((0.8, 0.45))
    for metric in ("dice", "recall", "volume_error_percent"):
        assert missed_alone(base, other, metric) == []


@pytest.mark.parametrize("metric", ["dice", "iou", "surface_dice"])
def test_being_right_about_what_is_not_there_counts(metric):
    """In two of four cases there is no lesion: one model makes it up, the other does not; in the last one, neither."""
    base = measured_set("eager", ("lesion",), (FOUND,), (FOUND,), (MADE_UP,), (ABSENT,))
    other = measured_set("careful", ("lesion",), (HARD,), (HARD,), (ABSENT,), (ABSENT,))
    (found,) = compare(base, other, metric)
    assert (found.cases, found.wins, found.losses) == (3, 1, 2)
    assert found.base_mean == pytest.approx(0.6)
    assert found.other_mean == pytest.approx(0.8)


@pytest.mark.parametrize("metric", ["hd95_mm", "volume_error_percent", "recall"])
def test_what_one_alone_makes_up_is_told_where_it_has_no_value(metric):
    base = measured_set("eager", ("lesion",), (FOUND,), (MADE_UP,), (MADE_UP,))
    other = measured_set("careful", ("lesion",), (FOUND,), (ABSENT,), (MADE_UP,))
    assert compare(base, other, metric)[0].cases == 1
    told = ["native: eager, unlike careful, found lesion in 1 of 3 cases that don't have it."]
    assert missed_alone(base, other, metric) == told


def test_volume_errors_of_different_sign_do_not_cancel():
    labels, much, little = ("left", "right"), *(agreement(0.5, volume_error_percent=v) for v in (60.0, -60.0))
    base, other = measured_set("good", labels, (FOUND, HARD)), measured_set("bad", labels, (much, little))
    (found,) = compare(base, other, "volume_error_percent")
    assert (found.base_mean, found.other_mean, found.wins, found.losses) == (2, 60, 0, 1)


def test_a_measure_that_one_side_lacks_is_not_taken_for_an_absent_structure():
    base = score_set("base", [0.5] * 6)
    other = replace(base, scores=tuple(replace(s, on_scan=(), in_world=()) for s in base.scores))
    with pytest.raises(ValueError, match="no IoU of the same case"):
        compare(base, other, "iou")
    assert missed_alone(base, other, "iou") == []


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
