"""Saved label maps give the scores that the model's own answers gave, wherever the patient lies."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from evaluation_helpers import VALUE, threshold_predictor, write_blobs
from turns import turned

from rareunet import Volume
from rareunet.intensity import IntensityRule
from rareunet.volume_files import read_volume, write_label_map, write_volume
from rareunet_training.data.samples import load_sample
from rareunet_training.evaluation.conditions import coarser, native, paper_scale
from rareunet_training.evaluation.evaluate import evaluate
from rareunet_training.evaluation.labelled_cases import external_cases
from rareunet_training.evaluation.predictions import (
    evaluate_predictions,
    folder_name,
    write_prediction,
)

CONDITIONS = [native(), coarser("thick 4 mm along A", [1, 4, 1]), paper_scale(1, shape=(16, 24, 16))]


def oblique():
    """Voxels of 1 x 1.2 x 0.9 mm stored towards L and P, turned by 10 degrees, far from the origin."""
    matrix = np.eye(4)
    matrix[:3, :3] = turned(10, 2) @ np.diag([-1, -1.2, 0.9])
    matrix[:3, 3] = 90, -120, 45
    return matrix


@pytest.fixture
def samples(tmp_path):
    write_blobs(tmp_path / "data", matrix=oblique())
    labelled = external_cases(str(tmp_path / "data"))
    return [load_sample(case, [VALUE], IntensityRule(0, 100)) for case in labelled.cases]


def test_saved_answers_score_as_they_did(samples, tmp_path):
    save = partial(write_prediction, tmp_path / "saved")
    scored = evaluate(threshold_predictor(), samples, CONDITIONS, "all", save)
    again = evaluate_predictions(tmp_path / "saved", samples, CONDITIONS, [VALUE])
    assert [s.condition for s in again] == [s.condition for s in scored]
    for first, second in zip(scored, again, strict=True):
        assert repr((first.on_scan, first.in_world)) == repr((second.on_scan, second.in_world))
        assert np.isnan(second.seconds)


def test_saved_answers_lie_where_the_patient_lies(samples, tmp_path):
    scan = read_volume(tmp_path / "data" / "labelsTr" / "blob_0.nii.gz")
    volume, _ = CONDITIONS[1].present(samples[0], 2)
    label_map = threshold_predictor().predict(volume, force=True).label_map
    write_prediction(tmp_path / "saved", samples[0], CONDITIONS[1], volume, label_map)
    saved = read_volume(tmp_path / "saved" / "thick_4_mm_along_a" / "blob_0.nii.gz")
    for found, true in zip(world_centre(saved), world_centre(scan), strict=True):
        assert found == pytest.approx(true, abs=0.6)


def test_saved_answer_to_the_scan_as_it_is_has_the_scans_matrix(samples, tmp_path):
    volume, label = native().present(samples[0], 2)
    write_prediction(tmp_path / "saved", samples[0], native(), volume, label)
    saved = read_volume(tmp_path / "saved" / "native" / "blob_0.nii.gz")
    np.testing.assert_allclose(saved.ijk_to_ras, samples[0].ijk_to_ras, atol=1e-5)


def world_centre(volume):
    k, j, i = np.nonzero(volume.voxels[0])
    return volume.ijk_to_ras[:3, :3] @ np.array([i.mean(), j.mean(), k.mean()]) + volume.ijk_to_ras[:3, 3]


def test_label_maps_of_another_tool_are_scored_as_native(samples, tmp_path):
    for sample in samples:
        label = read_volume(tmp_path / "data" / "labelsTr" / f"{sample.name}.nii.gz")
        (tmp_path / "theirs").mkdir(exist_ok=True)
        write_label_map(tmp_path / "theirs" / f"{sample.name}.nrrd", label.voxels[0], label)
    scores = evaluate_predictions(tmp_path / "theirs", samples, CONDITIONS, [VALUE])
    assert [(s.case, s.condition, s.dice) for s in scores] == [
        ("blob_0", "native", (1,)),
        ("blob_1", "native", (1,)),
    ]
    assert scores[0].spacing_mm == pytest.approx((0.9, 1.2, 1.0))


def test_label_map_on_another_grid_is_brought_to_the_scans(samples, tmp_path):
    scan = read_volume(tmp_path / "data" / "labelsTr" / "blob_0.nii.gz")
    coarse = scan.ijk_to_ras @ np.array([[2, 0, 0, 0.5], [0, 2, 0, 0.5], [0, 0, 2, 0.5], [0, 0, 0, 1]])
    small = Volume(scan.voxels[0, ::2, ::2, ::2], coarse)
    (tmp_path / "theirs").mkdir()
    write_label_map(tmp_path / "theirs" / "blob_0.nii.gz", small.voxels[0], small)
    (found,) = evaluate_predictions(tmp_path / "theirs", samples[:1], [], [VALUE])
    assert found.spacing_mm == pytest.approx((1.8, 2.4, 2.0))
    assert 0.75 < found.dice[0] < 1


@pytest.mark.parametrize(
    ("name", "value", "shift", "message"),
    [
        ("other", VALUE, 0, "no prediction is named like the case blob_0"),
        ("blob_0", 9, 0, r"values \[9\] are not in the label set \[3\]"),
        ("blob_0", VALUE, 500, "covers 0% of the scan blob_0"),
    ],
)
def test_predictions_that_can_not_be_scored_are_explained(samples, tmp_path, name, value, shift, message):
    matrix = oblique()
    matrix[0, 3] += shift
    volume = Volume(np.full((22, 26, 24), value, np.uint8), matrix)
    (tmp_path / "theirs").mkdir()
    write_label_map(tmp_path / "theirs" / f"{name}.nii.gz", volume.voxels[0], volume)
    with pytest.raises(ValueError, match=message):
        evaluate_predictions(tmp_path / "theirs", samples[:1], CONDITIONS, [VALUE])


def test_a_case_that_is_named_like_a_first_channel_finds_what_segment_writes(samples, tmp_path):
    scan = read_volume(tmp_path / "data" / "labelsTr" / "blob_0.nii.gz")
    named = replace(samples[0], name="blob_0000")
    (tmp_path / "theirs").mkdir()
    write_label_map(tmp_path / "theirs" / "blob.nii.gz", scan.voxels[0], scan)
    (found,) = evaluate_predictions(tmp_path / "theirs", [named], CONDITIONS, [VALUE])
    assert (found.case, found.on_scan[0].dice) == ("blob_0000", 1)


def test_two_predictions_of_a_case_are_refused(samples, tmp_path):
    (tmp_path / "theirs").mkdir()
    for end in (".nii.gz", ".nrrd"):
        write_label_map(
            tmp_path / "theirs" / f"blob_0{end}",
            np.zeros((22, 26, 24), np.uint8),
            Volume(np.zeros((22, 26, 24)), oblique()),
        )
    with pytest.raises(ValueError, match="blob_0.nii.gz and blob_0.nrrd are predictions of one case"):
        evaluate_predictions(tmp_path / "theirs", samples[:1], CONDITIONS, [VALUE])


def test_predictions_of_a_channel_per_structure_are_no_label_maps(samples, tmp_path):
    volume = Volume(np.zeros((2, 22, 26, 24), np.uint8), oblique())
    (tmp_path / "theirs").mkdir()
    write_volume(tmp_path / "theirs" / "blob_0.nii.gz", volume)
    with pytest.raises(ValueError, match=r"blob_0.nii.gz: the label map has 2 channels"):
        evaluate_predictions(tmp_path / "theirs", samples[:1], CONDITIONS, [VALUE])


def test_prediction_of_another_condition_is_refused(samples, tmp_path):
    folder = tmp_path / "saved" / folder_name(CONDITIONS[1].name)
    folder.mkdir(parents=True)
    scan = read_volume(tmp_path / "data" / "labelsTr" / "blob_0.nii.gz")
    write_label_map(folder / "blob_0.nii.gz", scan.voxels[0], scan)
    with pytest.raises(ValueError, match="does not lie on the grid of the scan under 'thick 4 mm along A'"):
        evaluate_predictions(tmp_path / "saved", samples[:1], CONDITIONS, [VALUE])


def test_folder_without_label_maps_is_explained(samples, tmp_path):
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ValueError, match="holds no label maps"):
            evaluate_predictions(folder, samples, CONDITIONS, [VALUE])
