"""How sure a model is of its answer, and that it says so of wrong ones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rareunet.answer_checks import check_certainty
from rareunet.bundle import Bundle
from rareunet.certainty import certainty_of, softmax
from rareunet.geometry import RegionOfInterest
from rareunet.predictor import Predictor
from rareunet.volume_files import read_volume

SAMPLES = Path(__file__).parents[2] / "Resources" / "SampleData"


def naive_certainty(logits):
    """Of (K, Z, Y, X), all K - 1 structures found."""
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=0)
    answer = probabilities.argmax(axis=0)
    values = []
    for k in range(1, len(logits)):
        inside = answer == k
        values.append(2 * probabilities[k][inside].sum() / (inside.sum() + probabilities[k].sum()))
    return np.mean(values)


def test_probabilities_add_up_and_large_logits_do_not_overflow():
    logits = np.array([[0.0, 1000.0], [1.0, -1000.0]], dtype=np.float32)
    np.testing.assert_allclose(softmax(logits), [[1 / (1 + np.e), 1], [np.e / (1 + np.e), 0]], rtol=1e-6)


def test_certainty_is_the_dice_of_answer_and_probabilities():
    logits = np.random.default_rng(0).normal(0, 2, (4, 5, 6, 7)).astype(np.float32)
    assert certainty_of(logits, [True] * 3) == pytest.approx(naive_certainty(logits), rel=1e-5)
    sure = np.where(logits == logits.max(axis=0), 50, 0).astype(np.float32)
    assert certainty_of(sure, [True] * 3) == pytest.approx(1, abs=1e-6)
    doubtful, usual, sure = (certainty_of(logits * factor, [True] * 3) for factor in (0.1, 1, 10))
    assert doubtful < usual < sure


def test_what_was_not_found_does_not_count():
    logits = np.random.default_rng(0).normal(0, 2, (3, 5, 6, 7)).astype(np.float32)
    logits[1] *= 3
    first = certainty_of(logits, [True, False])
    assert first != pytest.approx(certainty_of(logits, [True, True]), abs=1e-3)
    assert certainty_of(logits, [False, False]) is None
    logits[2] = -9  # found on the scan's grid alone
    assert certainty_of(logits, [False, True]) is None
    assert certainty_of(np.full_like(logits, np.nan), [True, True]) is None


def test_predictions_tell_their_certainty(tiny_bundle, make_scan):
    prediction = Predictor(tiny_bundle, "cpu").predict(make_scan((32, 16, 16)), with_probabilities=True)
    # Nothing is resampled or padded here, so that both grids are one.
    with np.errstate(divide="ignore"):
        expected = naive_certainty(np.log(prediction.probabilities))
    assert prediction.certainty == pytest.approx(expected, abs=1e-4)
    assert not any("unsure" in warning for warning in prediction.warnings)  # the bundle has no limit


def test_structures_outside_a_turned_region_do_not_count(tiny_bundle, make_scan):
    predictor, scan = Predictor(tiny_bundle, "cpu"), make_scan((16, 16, 32))
    turn = np.eye(3)
    turn[:2, :2] = np.array([[1, -1], [1, 1]]) / np.sqrt(2)
    centre = (scan.ijk_to_ras @ [15, 7, 7, 1])[:3]
    for slit in (0.2, 1, 3):  # holds few voxels, its box many
        prediction = predictor.predict(scan, RegionOfInterest(tuple(centre), (20, slit, 12), turn))
        assert (prediction.certainty is None) == (not prediction.label_map.any())
    assert predictor.predict(scan).certainty is not None


def test_a_scan_in_which_nothing_is_found_has_none(tiny_bundle, make_scan):
    scan = make_scan((16, 16, 16))
    prediction = Predictor(tiny_bundle, "cpu").predict(replace(scan, voxels=np.zeros_like(scan.voxels)))
    assert prediction.certainty is None


def test_answers_below_the_limit_are_doubted(tiny_bundle):
    limited = replace(tiny_bundle, certainty_limit=0.9)
    (warning,) = check_certainty(0.8997, limited)
    assert "unsure of this result (its certainty is 0.899; below 0.900 it is doubtful)" in warning
    assert check_certainty(0.9, limited) == []
    assert check_certainty(None, limited) == []
    assert check_certainty(0.1, tiny_bundle) == []


def test_the_limit_is_kept_with_the_model(tiny_bundle):
    replace(tiny_bundle, certainty_limit=0.85).rewrite()
    assert Bundle.load(tiny_bundle.folder).certainty_limit == 0.85
    assert "certainty_limit" not in tiny_bundle.to_json()
    assert Bundle.from_json(tiny_bundle.to_json()).certainty_limit is None


@pytest.mark.parametrize("name", ["hippocampus_050", "hippocampus_230"])
def test_the_shipped_model_is_sure_of_a_scan_and_not_of_the_same_upside_down(name):
    predictor, scan = Predictor("hippocampus", "cpu"), read_volume(SAMPLES / f"{name}.nii.gz")
    assert not any("unsure" in warning for warning in predictor.predict(scan).warnings)
    for wrong in (scan.voxels[:, ::-1], scan.voxels.max() - scan.voxels):
        prediction = predictor.predict(replace(scan, voxels=np.ascontiguousarray(wrong)))
        assert any("unsure of this result" in warning for warning in prediction.warnings)
