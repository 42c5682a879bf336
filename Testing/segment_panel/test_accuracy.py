"""What Dice to expect: which measurement speaks for a scan, and of which structures."""

import pytest

pytestmark = pytest.mark.usefixtures("slicer_app")  # texts are translated by Slicer


def expected_accuracy(*arguments):
    from RAREUNetSegmentLib import accuracy

    return accuracy.expected_accuracy(*arguments)


@pytest.mark.parametrize(
    ("percent", "told"),
    [
        (-9.3, ", volumes 9 ± 7 % too small"),
        (5.0, ", volumes 5 ± 7 % too large"),
        (-4.9, ""),
        (None, ""),
    ],
)
def test_volumes_that_are_off_by_a_twentieth_are_told(percent, told):
    row = {"condition": "2 mm", "spacing_mm": [2, 2, 2], "cases": 7, "dice_mean": 0.81, "dice_sd": 0.02}
    names = ("volume_error_percent_mean", "volume_error_percent_sd")
    measured = {} if percent is None else dict(zip(names, (percent, 7.4), strict=True))
    assert (
        expected_accuracy([row | measured], (2, 2, 2)) == f"expected Dice 0.81 ± 0.02 (7 scans, 2 mm){told}"
    )


@pytest.mark.parametrize(
    ("spacing", "row"),
    [((2.1, 2, 2), "2 mm"), ((1.5, 2, 2), "2 mm"), ((2.3, 2, 2), None), ((1.3, 2, 2), None)],
)
def test_a_measurement_speaks_for_scans_hardly_coarser(spacing, row):
    """Where the coarsest measured ends Dice falls steeply: what holds at 8 mm does not at 10."""
    card = [{"condition": "2 mm", "spacing_mm": [2, 2, 2], "cases": 7, "dice_mean": 0.81, "dice_sd": 0.02}]
    assert ("not measured" in expected_accuracy(card, spacing)) == (row is None)


HIPPOCAMPUS = ("Anterior hippocampus", "Posterior hippocampus")
PARTS = {"Left kidney": 0.9, "Right kidney": 0.8, "CSF": 0.7, "Liver": 0.6, "Spleen": 0.5}


def expected_at_1_mm(by_label, wanted=None, structures=None, **measured):
    """The sentence for a card with these Dice by structure, and a mean of 0.7."""
    row = {"condition": "native", "spacing_mm": [1, 1, 1], "cases": 9, "dice_mean": 0.7, "dice_sd": 0.1}
    row |= {"dice_by_label": by_label, **measured}
    return expected_accuracy([row], (1, 1, 1), structures or tuple(by_label), wanted)


def test_each_structure_is_told_in_short():
    each = dict(zip(HIPPOCAMPUS, (0.81, 0.71), strict=True))
    told = expected_at_1_mm(each)
    assert told == "expected Dice 0.70 ± 0.10 (anterior 0.81, posterior 0.71; 9 scans, native)"
    assert expected_at_1_mm(each, HIPPOCAMPUS[1:]) == "expected Dice 0.71 (posterior; 9 scans, native)"


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (None, "0.70 ± 0.10 (9 scans, native)"),
        (("Left kidney", "CSF"), "0.80 (Left kidney 0.90, CSF 0.70; 9 scans, native)"),
        (tuple(PARTS), "0.70 (mean of 5 structures; 9 scans, native)"),
    ],
)
def test_mean_of_the_wanted_structures(wanted, told):
    assert expected_at_1_mm(PARTS, wanted) == f"expected Dice {told}"


def test_names_keep_a_word_and_abbreviations_their_capitals():
    assert "(CSF 0.80, white 0.60;" in expected_at_1_mm({"Brain CSF volume": 0.8, "Brain White volume": 0.6})
    assert "(Kidney 0.80, Kidney tumour 0.60;" in expected_at_1_mm({"Kidney": 0.8, "Kidney tumour": 0.6})


@pytest.mark.parametrize("by_label", [{}, {"Anterior hippocampus": 0.8}])
def test_what_was_not_measured_by_structure_is_told_of_all(by_label):
    of_all = "expected Dice 0.70 ± 0.10 (all structures; 9 scans, native)"
    assert expected_at_1_mm(by_label, HIPPOCAMPUS[1:], HIPPOCAMPUS) == of_all
    assert expected_at_1_mm(by_label, None, HIPPOCAMPUS) == of_all.replace("all structures; ", "")


def test_errors_of_volumes_are_those_of_all_structures():
    told = expected_at_1_mm(PARTS, ("CSF",), volume_error_percent_mean=-9, volume_error_percent_sd=7)
    assert told.endswith("(CSF; 9 scans, native), volumes of all structures 9 ± 7 % too small")


def test_a_model_of_one_structure_needs_no_name():
    assert expected_at_1_mm({"Liver": 0.7}) == "expected Dice 0.70 ± 0.10 (9 scans, native)"
