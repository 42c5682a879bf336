"""Paired differences that can be worked out by hand."""

import math
import re
from dataclasses import replace

import pytest
from evaluation_helpers import (
    CASES,
    FOUND,
    HARD,
    MADE_UP,
    agreement,
    found_and_missed,
    measured_set,
    score_set,
)

from rareunet_training.evaluation.comparison import compare, holm, missed_alone
from rareunet_training.evaluation.metrics import ABSENT
from rareunet_training.evaluation.score_files import ScoreSet


def test_difference_its_error_and_its_probability():
    base, other = score_set("base", [0.5] * 6), score_set("other", [0.51, 0.52, 0.53, 0.54, 0.55, 0.56])
    (found,) = compare(base, other)
    assert (found.cases, found.wins, found.losses) == (6, 6, 0)
    assert found.difference == pytest.approx(0.035)
    assert found.standard_error == pytest.approx(math.sqrt(3.5e-4 / 6))
    assert found.p_value == pytest.approx(2 / 2**6)  # all six of one sign, two-sided
    low, high = found.interval
    reach = 2.570582 * math.sqrt(3.5e-4 / 6)  # Student's t, 5 degrees of freedom
    assert (low, high) == pytest.approx((0.035 - reach, 0.035 + reach))
    (back,) = compare(other, base)
    assert (back.wins, back.losses, back.difference) == (0, 6, pytest.approx(-0.035))


def test_two_cases_alone_leave_a_wide_interval():
    base, other = score_set("base", [0.5] * 2, cases="ab"), score_set("other", [0.757, 0.758], cases="ab")
    (found,) = compare(base, other)
    reach = 12.7062 * 0.0005  # Student's t, 1 degree of freedom, times the standard error
    assert found.interval == pytest.approx((0.2575 - reach, 0.2575 + reach))


def test_nothing_differs():
    (found,) = compare(score_set("base", [0.5] * 6), score_set("other", [0.5] * 6))
    assert (found.difference, found.standard_error, found.p_value, found.wins) == (0, 0, 1, 0)
    assert found.interval == (0, 0)


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
