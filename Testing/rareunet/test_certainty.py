"""How sure a model is of its answer, and that it says so of wrong ones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rareunet.bundle import Bundle
from rareunet.certainty import certainty_of, check_certainty, softmax
from rareunet.predictor import Predictor
from rareunet.volume_files import read_volume

SAMPLES = Path(__file__).parents[2] / "Resources" / "SampleData"


def naive_certainty(logits):
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=0)
    answer = probabilities.argmax(axis=0)
    values = []
    for k in range(1, len(logits)):
        inside = answer == k
        if inside.any():
            values.append(2 * probabilities[k][inside].sum() / (inside.sum() + probabilities[k].sum()))
    return np.mean(values)


def test_probabilities_add_up_and_large_logits_do_not_overflow():
    logits = np.array([[0.0, 1000.0], [1.0, -1000.0]], dtype=np.float32)
    np.testing.assert_allclose(softmax(logits), [[1 / (1 + np.e), 1], [np.e / (1 + np.e), 0]], rtol=1e-6)


def test_certainty_is_the_dice_of_answer_and_probabilities():
    logits = np.random.default_rng(0).normal(0, 2, (4, 5, 6, 7)).astype(np.float32)
    assert certainty_of(logits) == pytest.approx(naive_certainty(logits), rel=1e-5)
    sure = np.where(logits == logits.max(axis=0), 50, 0).astype(np.float32)
    assert certainty_of(sure) == pytest.approx(1, abs=1e-6)
    assert certainty_of(logits / 10) < certainty_of(logits) < certainty_of(logits * 10)


def test_what_was_not_found_does_not_count():
    logits = np.zeros((3, 2, 4, 4), dtype=np.float32)
    logits[0], logits[1, 0], logits[2] = 5, 9, 4.9  # the last is nowhere the likeliest
    assert certainty_of(logits) == pytest.approx(naive_certainty(logits[:2]), abs=0.02)
    logits[1] = 0
    assert certainty_of(logits) is None


def test_predictions_tell_their_certainty(tiny_bundle, make_scan):
    prediction = Predictor(tiny_bundle, "cpu").predict(make_scan((32, 16, 16)), with_probabilities=True)
    # Nothing is resampled or padded here, so that both grids are one.
    with np.errstate(divide="ignore"):
        expected = naive_certainty(np.log(prediction.probabilities))
    assert prediction.certainty == pytest.approx(expected, abs=1e-4)
    assert f"Certainty {expected:.2f} of 1." in prediction.describe()
    assert not any("unsure" in warning for warning in prediction.warnings)  # the bundle has no limit


def test_a_scan_in_which_nothing_is_found_has_none(tiny_bundle, make_scan):
    scan = make_scan((16, 16, 16))
    prediction = Predictor(tiny_bundle, "cpu").predict(replace(scan, voxels=np.zeros_like(scan.voxels)))
    assert prediction.certainty is None
    assert "ertainty" not in prediction.describe()


def test_answers_below_the_limit_are_doubted(tiny_bundle):
    limited = replace(tiny_bundle, certainty_limit=0.9)
    (warning,) = check_certainty(0.812, limited)
    assert "unsure of this result (certainty 0.812, usually above 0.900)" in warning
    assert check_certainty(0.9, limited) == []
    assert check_certainty(None, limited) == []
    assert check_certainty(0.1, tiny_bundle) == []


def test_the_limit_is_kept_with_the_model(tiny_bundle):
    replace(tiny_bundle, certainty_limit=0.85).rewrite()
    assert Bundle.load(tiny_bundle.folder).certainty_limit == 0.85
    description = tiny_bundle.to_json()
    del description["certainty_limit"]  # bundles of before
    assert Bundle.from_json(description).certainty_limit is None


@pytest.mark.parametrize("name", ["hippocampus_050", "hippocampus_230"])
def test_the_shipped_model_is_sure_of_a_scan_and_not_of_the_same_upside_down(name):
    predictor, scan = Predictor("hippocampus", "cpu"), read_volume(SAMPLES / f"{name}.nii.gz")
    assert not any("unsure" in warning for warning in predictor.predict(scan).warnings)
    for wrong in (scan.voxels[:, ::-1], scan.voxels.max() - scan.voxels):
        prediction = predictor.predict(replace(scan, voxels=np.ascontiguousarray(wrong)))
        assert any("unsure of this result" in warning for warning in prediction.warnings)
