"""The study's figures: Dice against seconds and size, and one scan at all scales."""

import numpy as np
import pytest
from evaluation_helpers import blob_sample, save_bundle, scored, threshold_predictor, write_blobs
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import imread

from rareunet import Predictor
from rareunet.volume_files import read_volume, write_label_map
from rareunet_training.__main__ import main
from rareunet_training.evaluation.conditions import PAPER_SHAPE, coarser, native, series
from rareunet_training.evaluation.published import PUBLISHED
from rareunet_training.evaluation.score_files import ScoreSet, write_scores
from rareunet_training.reports.pictures import PictureRow, draw_rows
from rareunet_training.reports.score_plots import COLOURS
from rareunet_training.reports.trade_off import MARKERS, trade_off

SCALES = ("1", "1/2", "1/4", "1/8")


def test_every_resolution_has_a_mark():
    assert max(map(len, series().values())) <= len(MARKERS)


def score_set(name, conditions, seconds=0.1, parameters=0):
    scores = tuple(
        scored(case, condition, 0.9 - 0.1 * step, seconds=seconds / (step + 1))
        for case in ("a", "b")
        for step, condition in enumerate(conditions)
    )
    model = (
        {"name": name, "version": "1.0.0", "presented": "", "parameters": parameters} if parameters else {}
    )
    return ScoreSet(name, model, "all", PAPER_SHAPE, "scans", ("Ball",), {"a": "a", "b": "b"}, scores)


def scales(protocol):
    return [f"scale {scale} ({protocol})" for scale in SCALES]


def marks(axes, colour):
    """(x, y) and area of the points of a colour."""
    found = [
        p
        for p in axes.collections
        if len(p.get_facecolors()) and to_hex(p.get_facecolors()[0]) == colour.lower()
    ]
    return [(*map(float, p.get_offsets()[0]), float(p.get_sizes()[0])) for p in found]


def test_a_mark_stands_at_the_seconds_and_dice_of_each_scale():
    sets = [
        score_set("ours", scales("aligned"), 0.2, 6_000_000),
        score_set("big", scales("aligned"), 1, 32_000_000),
    ]
    figure = trade_off(sets)
    (axes,) = figure.axes
    ours, big = (marks(axes, colour) for colour in COLOURS[:2])
    assert [point[0] for point in ours] == pytest.approx([0.2, 0.1, 0.2 / 3, 0.05])
    assert [point[1] for point in ours] == pytest.approx([0.9, 0.8, 0.7, 0.6])
    assert axes.get_xscale() == "log"
    assert big[0][2] / ours[0][2] == pytest.approx(32 / 6)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["ours (6.0 M weights)", "big (32.0 M weights)"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(SCALES)


def test_published_numbers_are_hollow_and_beside_the_published_scales_alone():
    both = [score_set(name, [*scales("aligned"), *scales("published")]) for name in ("ours", "other")]
    *_, published = trade_off(both, "hippocampus").axes
    assert published.get_title().startswith("Published in the paper")
    hollow = marks(published, "#ffffff")
    rows = [row for row in PUBLISHED["hippocampus"].rows if not row.method.endswith("-Pad")]
    assert [point[1] for point in hollow] == pytest.approx([dice for row in rows for dice in row.means])
    assert len(trade_off(both).axes) == 2
    aligned = [score_set(name, scales("aligned")) for name in ("ours", "other")]
    assert len(trade_off(aligned, "hippocampus").axes) == 1


def test_models_of_unknown_size_and_folders_without_seconds():
    sets = [score_set("old", scales("aligned")), score_set("folder", scales("aligned"), float("nan"))]
    figure = trade_off(sets)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["old"]
    assert trade_off(sets[1:]) is None
    assert trade_off([score_set("native alone", ["native"])]) is None


class Nothing:
    """Finds nothing anywhere."""

    def __init__(self, predictor):
        self.bundle, self._predictor = predictor.bundle, predictor

    def predict(self, volume, *, force=False):
        prediction = self._predictor.predict(volume, force=force)
        prediction.label_map[:] = 0
        return prediction


def test_rows_show_the_reference_and_what_each_contestant_found(tmp_path):
    predictor, sample = threshold_predictor(), blob_sample()
    rows = [
        PictureRow("reference", sample),
        PictureRow("all", sample, predictor),
        PictureRow("none", sample, Nothing(predictor)),
    ]
    path = tmp_path / "figure.png"
    draw_rows(rows, predictor.bundle, [native(), coarser("2 mm", [2, 2, 2])], path, "A note.")
    picture = imread(path)[..., :3]
    red = (picture[..., 0] - picture[..., 1] > 0.15).astype(int)  # the structure's colour
    middle = red[: int(0.85 * len(red))]  # without the legend
    reference, found, nothing = (part.sum() for part in np.array_split(middle, 3))
    assert reference > 1000
    assert found > 1000
    assert nothing < 0.02 * found
    assert [p.name for p in tmp_path.iterdir()] == ["figure.png"]


def test_a_scan_too_coarse_for_a_condition_leaves_its_panel_empty(tmp_path):
    sample = blob_sample(spacing=(3.0, 1.0, 1.0))
    predictor = threshold_predictor()
    draw_rows(
        [PictureRow("all", sample, predictor)],
        predictor.bundle,
        [native(), coarser("2 mm", [2, 2, 2])],
        tmp_path / "f.png",
    )
    assert len(predictor.network.seen) == 1


def compare(*words):
    return main(["compare", *map(str, words)])


def test_compare_draws_models_and_names_what_it_can_not_show(tmp_path, capsys):
    scans = write_blobs(tmp_path / "data", count=1)
    save_bundle(tmp_path / "tiny")
    (tmp_path / "theirs").mkdir()
    label = read_volume(tmp_path / "data" / "labelsTr" / "blob_0.nii.gz")
    write_label_map(tmp_path / "theirs" / "blob_0.nii.gz", label.voxels[0], scans["blob_0"])
    words = [tmp_path / "tiny", tmp_path / "theirs", "--data", tmp_path / "data", "--shape", 16, 24, 16,
             "fit.device=cpu", "--output", tmp_path / "out"]  # fmt: skip
    assert (
        compare(*words, "--pictures", "blob_0", "--protocol", "clinical", "--published", "hippocampus") == 0
    )
    told = capsys.readouterr().err
    assert "figure_scales.png shows models alone, not theirs." in told
    assert "the paper's numbers are left out" in told
    for name in ("figure_scales.png", "trade_off.png"):
        assert min(imread(tmp_path / "out" / name).shape[:2]) > 200
    assert compare(*words, "--pictures", "blob_9") == 1
    assert "no case is called 'blob_9': choose one of the 1" in capsys.readouterr().err


def test_contestants_take_turns_case_by_case(tmp_path, monkeypatch):
    write_blobs(tmp_path / "data", count=2)
    save_bundle(tmp_path / "one", name="one")
    save_bundle(tmp_path / "two", name="two")
    turns, real = [], Predictor.predict

    def watched(self, volume, **options):
        turns.append((volume.name, self.bundle.name))
        return real(self, volume, **options)

    monkeypatch.setattr(Predictor, "predict", watched)
    words = [
        tmp_path / "one",
        tmp_path / "two",
        "--data",
        tmp_path / "data",
        "--shape",
        16,
        24,
        16,
        "fit.device=cpu",
    ]
    assert compare(*words, "--protocol", "aligned", "--output", tmp_path / "out") == 0
    assert list(dict.fromkeys(turns)) == [(f"blob_{i}", name) for i in (0, 1) for name in ("one", "two")]


def test_earlier_scores_get_the_papers_numbers_beside_them(tmp_path, capsys):
    for name in ("one", "two"):
        write_scores(score_set(name, scales("published")), tmp_path / f"{name}.json")
    words = [tmp_path / "one.json", tmp_path / "two.json", "--published", "brain-tumour"]
    assert compare(*words, "--output", tmp_path / "out") == 0
    assert "RARE-UNet (published)" in capsys.readouterr().out
    assert "nnU-Net-Up (published)" in (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")


def test_dice_against_seconds_is_drawn_once_for_the_page_and_the_file(tmp_path, monkeypatch):
    drawn, real = [], Figure

    def watched(*words, **options):
        drawn.append(real(*words, **options))
        return drawn[-1]

    monkeypatch.setattr("rareunet_training.reports.trade_off.Figure", watched)
    for name in ("one", "two"):
        write_scores(score_set(name, scales("aligned")), tmp_path / f"{name}.json")
    assert compare(tmp_path / "one.json", tmp_path / "two.json", "--output", tmp_path / "out") == 0
    assert len(drawn) == 1
    assert (tmp_path / "out" / "trade_off.png").exists()
    page = (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
    assert page.count("data:image/svg+xml;base64") == 3
