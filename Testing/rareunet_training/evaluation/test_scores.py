"""Means, tables and files of scores."""

import csv
import json
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from evaluation_helpers import MADE_UP, MISSED, agreement, blob_sample, make_bundle, scored
from turns import straight_world

from rareunet_training.evaluation.conditions import PAPER_SHAPE
from rareunet_training.evaluation.paper_table import paper_rows, paper_table
from rareunet_training.evaluation.published import PUBLISHED
from rareunet_training.evaluation.resolution_card import certainty_limit, resolution_card
from rareunet_training.evaluation.score_files import ScoreSet, read_scores, reference_hash, write_scores
from rareunet_training.evaluation.scores import (
    Score,
    by_condition_and_spacing,
    mean_of,
    memory_note,
    not_found,
    summarise,
    write_csv,
)
from rareunet_training.reports.score_output import table, table_of_structures
from rareunet_training.reports.score_pages import write_score_page

NAN = float("nan")
LABELS = ("head", "tail")


def score_set(*scores, name="model"):
    references = {score.case: f"hash of {score.case}" for score in scores}
    model = {"name": name, "version": "1.0.0", "presented": "", "sha256": "ab" * 32}
    return ScoreSet(name, model, "standard", (16, 24, 32), "some scans", LABELS, references, tuple(scores))


def missing(case):
    """Of the second structure one answer has nothing, where the reference has it; the other has it without reason."""
    return Score(
        case, "native", (1.0, 1.0, 1.0), (0.8, 0.0), 0.1, (agreement(0.8), MISSED), (agreement(0.8), MADE_UP)
    )


def test_a_case_counts_with_the_mean_of_its_structures():
    rows = [scored("a", "native", 0.8, 0.6), scored("b", "native", 0.9, NAN), scored("c", "native", NAN, NAN)]
    summary = summarise(rows)
    assert summary.cases == 2
    assert summary.mean == pytest.approx((0.7 + 0.9) / 2)
    assert summary.sd == pytest.approx(0.2 / math.sqrt(2))
    assert summary.by_label == pytest.approx((0.85, 0.6))
    assert math.isnan(rows[2].mean_dice)


def test_infinite_and_undefined_values_are_left_out_of_means_and_counted():
    rows = [missing("a"), scored("b", "native", 0.8, 0.7)]
    assert summarise(rows, "hd95_mm").mean == 1.0
    assert summarise(rows, "volume_error_percent", "world").by_label == (0.0, 0.0)
    assert not_found(rows, LABELS) == ["native: tail was not found in 1 of 2 cases."]
    made_up = [replace(missing("a"), on_scan=(agreement(0.8), MADE_UP))]
    assert not_found(made_up, LABELS) == ["native: tail was found in 1 of 1 cases that don't have it."]


def test_scans_that_too_little_memory_was_free_for_are_counted(tmp_path):
    rows = [scored(case, "native", 0.8, 0.7) for case in "abc"]
    assert memory_note(rows) == ""
    short = score_set(*(replace(row, stepped_down=True) for row in rows[:2]), rows[2])
    assert memory_note(short.scores).startswith("Too little memory was free for 2 of 3 scans")
    write_score_page(short, tmp_path / "scores.html")
    assert memory_note(short.scores) in (tmp_path / "scores.html").read_text(encoding="utf-8")


def test_papers_table_has_a_row_per_model_and_the_mean_over_the_scales_of_each_case():
    scales = ("1", "1/2", "1/4", "1/8")
    scores = [
        scored(case, f"scale {scale} (aligned)", value)
        for case, values in {"a": (0.9, 0.8, 0.7, 0.2), "b": (0.8, 0.7, 0.6, 0.5)}.items()
        for scale, value in zip(scales, values, strict=True)
    ]
    empty = [scored("none", f"scale {scale} (aligned)", NAN) for scale in scales]
    (row,) = paper_rows(
        {"ours": scores + empty, "native only": [scored("a", "native", 0.5)]}, "aligned"
    ).values()
    assert [s.mean for s in row] == pytest.approx([0.85, 0.75, 0.65, 0.35, 0.65])
    assert row[-1].sd == pytest.approx(0.0, abs=1e-12)
    assert row[-1].cases == 2
    lines = paper_table({"ours": scores}, "aligned").splitlines()
    assert lines[1].split() == ["model", *scales, "overall"]
    assert lines[2].startswith("ours   0.850 +- 0.071")
    assert paper_table({"ours": scores}, "published", "hippocampus") == ""


def test_the_papers_numbers_stand_below_ours_and_say_so():
    ours = {"ours": [scored("a", f"scale {scale} (published)", 0.5) for scale in ("1", "1/2", "1/4", "1/8")]}
    assert list(paper_rows(ours, "published")) == ["ours"]
    lines = paper_table(ours, "published", "hippocampus").splitlines()
    (line,) = [line for line in lines if line.startswith("RARE-UNet (published)")]
    assert " ".join(line.split()[2:]) == "0.869 +- 0.032 0.862 +- 0.037 0.835 +- 0.063 0.785 +- 0.134 0.838"


def test_the_papers_overall_is_the_mean_of_its_scales_as_far_as_it_was_rounded():
    for table_of_paper in PUBLISHED.values():
        for row in table_of_paper.rows:
            assert row.overall == pytest.approx(sum(row.means) / 4, abs=0.0011), row.method


def test_table_has_a_line_per_condition_with_what_was_measured():
    rows = [scored("a", "native", 0.8, 0.6), scored("a", "isotropic 2 mm", 0.7, NAN, seconds=NAN)]
    grids, head, first, second = table(rows).splitlines()
    assert " ".join(head.split()) == "condition cases Dice Dice HD95 mm surface Dice volume % seconds"
    assert "on the scan's grid" in grids
    assert len(grids) == head.index("  seconds")  # the last but one column ends what is in world space
    assert " ".join(first.split()) == "native 1 0.700 +- 0.000 0.700 1.00 0.700 0.0 0.100"
    assert second.split()[-1] == "-"
    assert max(map(len, (head, first, second))) <= 100
    slow = [scored(case, "native", 0.8, seconds=s) for case, s in (("a", 0.1), ("b", 0.3), ("c", 9.0))]
    assert table(slow).split()[-1] == "0.300"  # the median: one busy moment counts little
    quick = [replace(row, on_scan=(), in_world=()) for row in rows]
    assert "world" not in table(quick)


def test_structures_have_a_table_of_their_own():
    rows = [
        scored("a", "native", 0.8, 0.6),
        scored("b", "native", 0.6, NAN),
        scored("a", "isotropic 2 mm", NAN, 0.5),
    ]
    head, *lines = table_of_structures(rows, LABELS).splitlines()
    assert head.split() == ["condition", *LABELS]
    assert [line.split() for line in lines] == [
        ["native", "0.700", "0.600"],
        ["isotropic", "2", "mm", "-", "0.500"],
    ]


def test_scans_of_several_spacings_get_a_line_for_each():
    rows = [scored("a", "native", 0.8, spacing=(3.1, 1, 1)), scored("b", "native", 0.6, spacing=(0.9, 1, 1))]
    assert list(by_condition_and_spacing(rows)) == ["native", "- about 1 x 1 x 1 mm", "- about 1 x 1 x 3 mm"]
    assert list(by_condition_and_spacing(rows[:1])) == ["native"]


def test_spacings_below_half_a_millimetre_are_told_as_they_are():
    rows = [
        scored("a", "native", 0.8, spacing=(2, 0.21, 0.2)),
        scored("b", "native", 0.6, spacing=(0.04, 0.04, 0.04)),
    ]
    titles = ["native", "- about 0.04 x 0.04 x 0.04 mm", "- about 0.2 x 0.2 x 2 mm"]
    assert list(by_condition_and_spacing(rows)) == titles


def test_card_is_one_that_a_bundle_can_hold():
    rows = [scored("a", "native", 0.8), scored("b", "native", 0.6), scored("a", "empty", NAN)]
    rows[0] = replace(rows[0], in_world=(agreement(0.8, volume_error_percent=-9.0),))
    (row,) = resolution_card(rows, ["Ball"])
    assert (row["dice_mean"], row["dice_sd"], row["cases"]) == (0.7, 0.141421, 2)
    assert (row["world_dice_mean"], row["hd95_mm_mean"]) == (0.7, 1.0)
    assert (row["volume_error_percent_mean"], row["volume_error_percent_sd"]) == (-4.5, 6.36)
    bundle = make_bundle(resolution_card=(row,))
    assert type(bundle).from_json(bundle.to_json()).resolution_card == (row,)
    assert resolution_card([scored("a", "scale 1/2 (published)", 0.8)], ["Ball"]) == []
    quick = resolution_card([Score("a", "native", (1, 1, 1), (0.8,), 0.1)], ["Ball"])
    assert "world_dice_mean" not in quick[0]


def test_certainty_limit_lies_a_margin_below_that_of_nearly_all_scans_as_they_are():
    certainties = [0.9, *[0.95] * 5, *[0.97] * 15]
    rows = [replace(scored(str(i), "native", 0.8), certainty=c) for i, c in enumerate(certainties)]
    coarse = replace(scored("0", "isotropic 2 mm", 0.8), certainty=0.5)
    assert certainty_limit([*rows, coarse, scored("empty", "native", 0)]) == 0.91  # 0.95 and its margin
    assert certainty_limit([coarse]) is None
    assert certainty_limit([scored("label map", "native", 0.8)]) is None
    assert certainty_limit([replace(row, certainty=0.02) for row in rows]) == 0
    assert certainty_limit(rows[:5]) == pytest.approx(0.87)  # between the lowest and the next
    assert certainty_limit(rows[:4]) is None  # too few to tell


def test_scores_file_gives_back_what_was_written(tmp_path):
    scores = missing("a"), scored("b", "native", 0.81234567, NAN)
    written = score_set(scores[0], replace(scores[1], stepped_down=True, certainty=0.9375))
    write_scores(written, tmp_path / "scores.json")
    text = (tmp_path / "scores.json").read_text(encoding="utf-8")
    assert "NaN" not in text
    assert "Infinity" not in text
    assert repr(read_scores(tmp_path / "scores.json")) == repr(written)


def test_scores_file_without_a_crop_was_made_on_the_papers(tmp_path):
    path = tmp_path / "scores.json"
    write_scores(score_set(missing("a")), path)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content.pop("shape") == [16, 24, 32]
    assert [(score.pop("stepped_down"), score.pop("certainty")) for score in content["scores"]] == [
        (False, None)
    ]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert read_scores(path).shape == PAPER_SHAPE
    path.write_text(json.dumps({**content, "shape": [16, 24]}), encoding="utf-8")
    with pytest.raises(ValueError, match="is not a scores"):
        read_scores(path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "scores": [{}]}'])
def test_other_files_are_not_taken_for_scores(tmp_path, content):
    (tmp_path / "other.json").write_text(content)
    with pytest.raises(ValueError, match=r"other\.json is not a scores\.json"):
        read_scores(tmp_path / "other.json")
    with pytest.raises(ValueError, match="can't be read"):
        read_scores(tmp_path / "nothing.json")


def test_scores_travel_between_processes():
    assert repr(pickle.loads(pickle.dumps(missing("a")))) == repr(missing("a"))


def test_spreadsheet_has_a_row_per_case_and_condition_and_empty_cells_for_what_is_not_there(tmp_path):
    write_csv([missing("a"), scored("b", "native", 0.5, NAN)], LABELS, tmp_path / "scores.csv")
    rows = list(csv.DictReader((tmp_path / "scores.csv").open()))
    assert [row["case"] for row in rows] == ["a", "b"]
    assert (rows[0]["dice head"], rows[0]["hd95_mm tail"], rows[0]["volume_error_percent tail"]) == (
        "0.8000",
        "",
        "-100.0000",
    )
    assert rows[0]["world volume_error_percent tail"] == "inf"
    assert rows[1]["dice tail"] == ""
    write_csv([Score("a", "native", (1, 1, 1), (0.5, NAN), NAN)], LABELS, tmp_path / "quick.csv")
    assert (tmp_path / "quick.csv").read_text(encoding="utf-8").splitlines()[
        1
    ] == "a,native,1,1,1,0.5000,,,0.5000,"
    write_csv(
        [Score("a", "native", (1, 1, 1), (0.5,), 0.25, certainty=0.75)], ["head"], tmp_path / "sure.csv"
    )
    (row,) = csv.DictReader((tmp_path / "sure.csv").open())
    assert (row["seconds"], row["certainty"]) == ("0.2500", "0.7500")


def test_hash_tells_label_maps_apart():
    sample = blob_sample()
    other = replace(sample, label=np.roll(sample.label, 1, axis=0))
    coarse = replace(sample, ijk_to_ras=straight_world((2.0, 1.0, 1.0)))
    assert reference_hash(sample) == reference_hash(blob_sample())
    assert len({reference_hash(s) for s in (sample, other, coarse)}) == 3


def test_page_stands_alone_and_escapes_names(tmp_path):
    conditions = (
        "native",
        "isotropic 2 mm",
        "scale 1 (aligned)",
        "scale 1/2 (aligned)",
        "scale 1/4 (aligned)",
        "scale 1/8 (aligned)",
    )
    rows = [scored(case, condition, 0.8, 0.7) for condition in conditions for case in ("<b>a", "b")]
    write_score_page(score_set(*rows, missing("c"), name="<script>"), tmp_path / "scores.html")
    page = (tmp_path / "scores.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    assert "<b>a" not in page
    assert 'src="http' not in page
    assert page.count("data:image/svg+xml;base64") == 2
    assert "0.750 ± 0.000" in page
    assert "tail was not found in 1 of 3 cases" in page


def test_page_of_a_single_quick_score(tmp_path):
    write_score_page(score_set(Score("a", "native", (1, 1, 1), (0.8, NAN), NAN)), tmp_path / "scores.html")
    page = (tmp_path / "scores.html").read_text(encoding="utf-8")
    assert "All measures" not in page
    assert "0.800" in page


def test_mean_of_nothing_is_nan():
    assert np.isnan(mean_of([]))
