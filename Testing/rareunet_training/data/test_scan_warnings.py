"""What is told of scans and settings before a training begins."""

from dataclasses import replace
from pathlib import Path

from training_helpers import config_of_balls

from rareunet.intensity import IntensityRule
from rareunet_training.configuration import FitConfig, read_config
from rareunet_training.data.samples import SampleFacts
from rareunet_training.data.scan_warnings import scan_warnings
from rareunet_training.data.views import ViewSettings

SETTINGS = ViewSettings((1.0, 1.0, 1.0), 4, 3, 2, IntensityRule())
MM, SMALL = (1.0, 1.0, 1.0), (8, 8, 8)


def fit_config(**changes):
    return replace(config_of_balls().fit, **changes)


def scans_of(shapes, spacing=MM):
    return [SampleFacts(str(index), shape, spacing) for index, shape in enumerate(shapes)]


def test_small_batches_are_warned_of():
    fit = fit_config(batch_size=4)
    assert scan_warnings(scans_of([SMALL] * 8), fit, SETTINGS) == []
    scans = [SampleFacts(str(mm), SMALL, (mm, 1.0, 1.0)) for mm in (0.8, 1.0, 1.25, 1.6, 2.0, 2.5, 3.2, 4.0)]
    (warning,) = scan_warnings(scans, fit, SETTINGS)
    assert "batches hold 1.0 scans on average, not 4" in warning
    assert "8 steps instead of 2" in warning


def warned_of_patches(shapes, spacing=MM, **changes):
    fit = fit_config(**{"patch": [32, 64, 32], **changes})
    return "".join(scan_warnings(scans_of(shapes, spacing), fit, SETTINGS))


HEADS = [(150, 230, 170)] * 3 + [(32, 64, 32)]


def test_patches_that_show_parts_of_most_scans_are_warned_of():
    warning = warned_of_patches(HEADS, wide_patch=[48, 64, 48])
    sides = "fit.patch (32 x 64 x 32) and fit.wide_patch (48 x 64 x 48)"
    assert f"3 of 4 scans are more than 1.5 times as large along some axis as {sides}: in voxels" in warning
    assert "the usual one has 150 x 230 x 170." in warning
    assert "set fit.wide_patch=[160, 240, 176], which" in warning
    assert "as fit.patch (32 x 64 x 32): in voxels" in warned_of_patches(HEADS)
    assert warned_of_patches(HEADS, wide_patch=[160, 240, 176]) == ""


def test_scans_that_one_of_the_patches_about_holds_are_not_warned_of():
    assert warned_of_patches([(48, 96, 48)] * 4) == ""
    assert warned_of_patches([(49, 64, 32)] * 4)  # larger along one axis alone
    assert warned_of_patches([(49, 64, 32)] * 2 + [(48, 64, 32)] * 2) == ""  # not most
    assert warned_of_patches([(64, 32, 32)] * 4, wide_patch=[64, 16, 16])  # each too small along another axis
    assert warned_of_patches([(12, 96, 48)] * 4, (4.0, 1.0, 1.0)) == ""  # as many mm
    assert "usual one has 52 x 96 x 48." in warned_of_patches([(13, 96, 48)] * 4, (4.0, 1.0, 1.0))


def test_shipped_settings_and_the_defaults_hold_the_hippocampus():
    """Of the 208 scans none is larger than 47 x 59 x 43; 36 x 50 x 35 is usual."""
    shipped = Path(__file__).parents[3] / "RAREUNetTraining" / "Scripts" / "hippocampus.toml"
    for fit in (read_config(shipped).fit, FitConfig()):
        scans = scans_of([(47, 59, 43), (36, 50, 35)])
        assert scan_warnings(scans, fit, SETTINGS) == []
