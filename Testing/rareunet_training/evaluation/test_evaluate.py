"""Presented scans, answers and references lie in the same place, whatever the resolution and the route."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from evaluation_helpers import blob_sample, threshold_predictor
from turns import turned_world

from rareunet.inference import ladder
from rareunet.oblique import tilt_degrees
from rareunet.routing import route_for
from rareunet.world_grids import labels_on_grid
from rareunet_training.evaluation.conditions import (
    clinical_conditions,
    coarser,
    conditions_of,
    crop_or_pad,
    groups,
    native,
    native_volume,
    paper_conditions,
    paper_scale,
    paper_starts,
    quick_conditions,
    series,
    standard_conditions,
)
from rareunet_training.evaluation.evaluate import class_indices, evaluate
from rareunet_training.evaluation.metrics import dice_per_class

EVERYWHERE = [*standard_conditions(shape=(48, 56, 48)), coarser("thick 9 mm along A", [1, 9, 1])]


def centroid(label_map, matrix):
    """Centre of a structure in world coordinates, mm."""
    k, j, i = np.nonzero(label_map)
    return matrix[:3, :3] @ np.array([i.mean(), j.mean(), k.mean()]) + matrix[:3, 3]


def blobs():
    """Blobs at many places within a voxel of 8 mm, so that the rounding to voxels averages out."""
    for index in range(12):
        offset = 8 * (index * np.array([0.755, 0.57, 0.43]) % 1)
        yield blob_sample(centre=(19.3, 23.6, 17.6) + offset)


def displacements(condition, answer_of):
    """Mean displacement of references, answers and answers on the original grid, mm along R, A, S."""
    moved = []
    for sample in blobs():
        original = native_volume(sample)
        true = centroid(sample.label, original.ijk_to_ras)
        volume, reference = condition.present(sample, 2)
        answer = answer_of(volume)
        full = labels_on_grid(answer, volume.ijk_to_ras, original.shape, original.ijk_to_ras)
        placed = (reference, volume), (answer, volume), (full, original)
        moved.append([centroid(label_map, grid.ijk_to_ras) - true for label_map, grid in placed])
    return np.mean(moved, axis=0), np.array(volume.spacing_mm)[::-1]


@pytest.mark.parametrize("condition", EVERYWHERE, ids=lambda condition: condition.name)
def test_blobs_stay_in_place_on_every_route(condition):
    predictor = threshold_predictor()
    moved, spacing = displacements(
        condition, lambda volume: (predictor.predict(volume, force=True).label_map > 0).astype(np.uint8)
    )
    assert (np.abs(moved) <= 0.1 * spacing).all(), moved


@pytest.mark.parametrize("condition", EVERYWHERE[::5], ids=lambda condition: condition.name)
def test_turned_scans_are_presented_and_segmented_as_they_lie(condition):
    sample = replace(blob_sample(), ijk_to_ras=turned_world(np.degrees(np.arccos(0.8)), 2))
    volume, reference = condition.present(sample, 2)
    assert tilt_degrees(volume.ijk_to_ras) == pytest.approx(np.degrees(np.arccos(0.8)))
    apart = centroid(reference, volume.ijk_to_ras) - centroid(sample.label, native_volume(sample).ijk_to_ras)
    assert np.abs(apart).max() <= 0.5 * max(volume.spacing_mm)
    prediction = threshold_predictor().predict(volume, force=True)
    assert "turned by 37 degrees" in prediction.describe()
    (dice,) = dice_per_class((prediction.label_map > 0).astype(np.uint8), reference, 2)
    assert dice > 0.6


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_published_references_are_displaced_by_half_a_coarse_voxel(depth):
    condition = paper_scale(depth, "published", (48, 56, 48))
    moved, spacing = displacements(condition, lambda volume: (volume.voxels[0] > 0.5).astype(np.uint8))
    assert moved[0] == pytest.approx((spacing - 1) / 2, abs=0.1 * 2**depth)
    assert (np.abs(moved[1:]) <= 0.1 * spacing).all()


def test_native_scan_is_scored_the_same_in_both_frames():
    (found,) = evaluate(threshold_predictor(), [blob_sample()], [native()], "all")
    assert found.on_scan == found.in_world
    assert found.dice == (found.on_scan[0].dice,)
    assert found.dice[0] > 0.98
    assert found.seconds > 0


def test_world_space_scores_against_the_full_resolution_label():
    (found,) = evaluate(threshold_predictor(), [blob_sample()], [coarser("4 mm", [4, 4, 4])], "all")
    assert found.spacing_mm == (4, 4, 4)
    assert 0.8 < found.in_world[0].dice < found.dice[0]
    assert found.in_world[0].hd95_mm < 4


def test_volumes_are_those_of_the_answers_own_voxels():
    """Voxels of 1.5 mm, brought to the grid of 1 mm, fill one or two there."""
    condition, answers = coarser("1.5 mm", [1.5] * 3), []
    keep = lambda sample, condition, volume, label_map: answers.append(label_map)  # noqa: E731
    (found,) = evaluate(threshold_predictor(), [blob_sample()], [condition], "all", keep)
    true = np.count_nonzero(blob_sample().label)
    expected = 100 * (np.count_nonzero(answers[0]) * 1.5**3 / true - 1)
    assert found.in_world[0].volume_error_percent == pytest.approx(expected)


def test_what_the_papers_crop_cuts_off_counts_as_missed_in_world_space():
    sample = blob_sample()
    whole, cropped = paper_scale(0, shape=(48, 56, 44)), paper_scale(0, shape=(48, 16, 44))
    scores = evaluate(threshold_predictor(), [sample], [whole, cropped], "all")
    assert scores[0].in_world[0].recall > 0.98
    assert scores[1].on_scan[0].recall > 0.9
    assert scores[1].in_world[0].recall < 0.9 * scores[0].in_world[0].recall


def test_scores_are_the_same_wherever_the_patient_lies():
    """At 1.5 mm every third voxel of 1 mm lies between two, of which rounding would choose another far away."""
    away = np.eye(4)
    away[:3, 3] = -37.123, 55.71, 10.3
    conditions = [coarser(f"{mm} mm", [mm] * 3) for mm in (1.3, 1.5)]
    here, there = (
        evaluate(threshold_predictor(), [replace(blob_sample(), ijk_to_ras=world)], conditions, "all")
        for world in (np.eye(4), away)
    )
    assert [score.in_world for score in here] == [score.in_world for score in there]


def test_dice_alone_computes_nothing_else_and_agrees():
    conditions = quick_conditions()
    alone = evaluate(threshold_predictor(), [blob_sample()], conditions)
    all_measures = evaluate(threshold_predictor(), [blob_sample()], conditions, "all")
    assert [score.dice for score in alone] == [score.dice for score in all_measures]
    assert all(score.on_scan == score.in_world == () for score in alone)


def test_scans_too_coarse_for_a_condition_are_left_out():
    sample = blob_sample(spacing=(3.0, 1.0, 1.0))
    names = {score.condition for score in evaluate(threshold_predictor(), [sample], clinical_conditions())}
    assert names == {
        "native", "isotropic 3 mm", "isotropic 4 mm", "isotropic 6 mm", "thick 4 mm along S", "thick 6 mm along S",
        "thick 8 mm along S", "2 x 2 x 5 mm", "2 mm slices every 4 mm",
    }  # fmt: skip


def test_scores_have_the_certainty_of_the_prediction(monkeypatch):
    predictor, conditions = threshold_predictor(), [native(), coarser("4 mm", [4, 4, 4])]
    certainties = iter([0.625, None])
    predict = predictor.predict
    monkeypatch.setattr(
        predictor,
        "predict",
        lambda *given, **more: replace(predict(*given, **more), certainty=next(certainties)),
    )
    sure, unknown = evaluate(predictor, [blob_sample()], conditions)
    assert sure.certainty == 0.625
    assert np.isnan(unknown.certainty)


def test_scans_that_too_little_memory_was_free_for_are_marked(monkeypatch):
    predictor, conditions = threshold_predictor(), [native(), coarser("4 mm", [4, 4, 4])]
    assert not any(score.stepped_down for score in evaluate(predictor, [blob_sample()], conditions))
    monkeypatch.setattr(ladder, "computes_in_bfloat16", lambda: False)  # so that float32 comes first
    first, second, *_ = ladder.Ladder.of(
        predictor.bundle, (48, 56, 44), route_for((1, 1, 1)), torch.device("cpu")
    ).rungs
    free = (first.bytes + second.bytes) / 2 / ladder.USABLE
    monkeypatch.setattr(ladder, "free_bytes", lambda device: free)
    found = evaluate(predictor, [blob_sample()], conditions)
    assert [score.stepped_down for score in found] == [True, False]


def thick_slices_of(sample):
    return {c.name for c in clinical_conditions() if c.applies(sample) and c.name.startswith(("thick", "2 "))}


@pytest.mark.parametrize(
    ("spacing", "names"),
    [
        ((5.0, 0.5, 0.5), {"thick 6 mm along S", "thick 8 mm along S", "2 x 2 x 5 mm"}),
        ((1.0, 1.0, 6.0), {"thick 8 mm along R"}),
        ((1.3, 1.3, 1.3), {"2 x 2 x 5 mm"}),
    ],
)
def test_no_axis_is_coarser_than_its_condition_says(spacing, names):
    assert thick_slices_of(blob_sample(spacing=spacing)) == names


def test_a_spacing_near_the_named_one_counts_as_it():
    """1.2 mm enters the network as 1 mm does."""
    exact, near = (thick_slices_of(blob_sample(spacing=(s, s, s))) for s in (1.0, 1.2))
    assert exact == near
    assert len(exact) == 17


def test_gaps_between_slices_show_less_of_the_scan():
    sample = blob_sample()
    sample.image[0, 1::4] = sample.image[0, 2::4] = 7  # what 2 mm in the middle of every 4 mm show
    gaps = next(c for c in clinical_conditions() if c.name == "2 mm slices every 4 mm")
    volume, reference = gaps.present(sample, 2)
    assert volume.spacing_mm == (4, 1, 1)
    assert (volume.voxels == 7).all()
    assert reference.shape == volume.shape


def test_label_values_become_classes_in_the_order_of_the_label_set():
    assert class_indices(np.array([0, 7, 2, 9]), [9, 7]).tolist() == [0, 2, 0, 1]


@pytest.mark.parametrize(("size", "target", "start"), [(35, 32, 2), (36, 32, 2), (51, 64, -7), (32, 32, 0)])
def test_the_larger_half_of_an_odd_difference_comes_first(size, target, start):
    assert paper_starts([size], [target]) == [start]
    image = np.arange(1, size + 1, dtype=np.float32).reshape(1, size, 1, 1)
    row = crop_or_pad(image, [start, 0, 0], [target, 1, 1])[0, :, 0, 0]
    kept = [v for v in range(start + 1, start + target + 1) if 1 <= v <= size]
    assert row[row > 0].tolist() == kept
    assert len(row) == target
    assert (row[: max(-start, 0)] == 0).all()


def test_protocols_name_their_conditions_once():
    names = [condition.name for condition in conditions_of("all")]
    assert len(names) == len(set(names)) == 32
    assert set(names) == {c.name for p in ("clinical", "aligned", "published") for c in conditions_of(p)}
    assert [c.name for c in conditions_of("standard")] == [c.name for c in standard_conditions()]
    assert [c.name for c in paper_conditions("published")] == [
        f"scale {s} (published)" for s in ("1", "1/2", "1/4", "1/8")
    ]
    assert {name for group in series().values() for name in group} <= set(names)


def test_groups_hold_each_condition_once_and_all_but_the_displaced_labels():
    parts = groups()
    everything, published = parts.pop("all"), parts.pop("scales (published)")
    assert everything == [c.name for c in standard_conditions()]
    assert sorted([name for names in parts.values() for name in names] + ["native"]) == sorted(everything)
    assert published == [c.name for c in paper_conditions("published")]
    assert {"isotropic 1.3 mm"} <= set(parts["isotropic"])
    assert {"thick 3 mm along R", "2 x 2 x 5 mm", "2 mm slices every 4 mm"} <= set(parts["thick slices"])
