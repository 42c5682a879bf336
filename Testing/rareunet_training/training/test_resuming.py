"""Which settings a run may change when it goes on."""

from copy import deepcopy

import pytest
from training_helpers import config_of_balls

from rareunet_training.training.resuming import changed_settings

LABELS = [
    {"value": 3, "name": "Ball", "color": [200, 30, 30]},
    {"value": 1, "name": "Rim", "color": [9, 9, 9]},
]


def settings(*overrides):
    return config_of_balls(f"model.labels={LABELS}", *overrides).to_dict()


@pytest.mark.parametrize(
    "override",
    [
        "fit.seed=7", "fit.protocol=published", "fit.method=unet", "fit.patch=[16, 16, 32]",
        "fit.wide_patch=[32, 32, 32]", "fit.batch_size=3", "model.reference_spacing_mm=[2, 2, 2]",
        "model.channels=['T2']", f"model.labels={LABELS[::-1]}",
    ],
)  # fmt: skip
def test_change_that_would_mix_two_trainings_is_refused(override):
    setting = override.partition("=")[0]
    with pytest.raises(
        ValueError, match=rf"would mix two trainings: {setting} .* -> .*choose a new --output"
    ):
        changed_settings(settings(), settings(override, "fit.learning_rate=0.1"))


def test_where_it_runs_is_free_and_the_rest_is_told():
    free = ("fit.device=auto", "fit.workers=2", "data.cache_gb=1", "log.tensorboard=false")
    assert changed_settings(settings(), settings(*free)) == []
    assert changed_settings(
        settings(), settings(*free, "fit.epochs=9", "fit.learning_rate=0.1", "loss.alpha=1")
    ) == [
        f"fit.epochs {settings()['fit']['epochs']} -> 9",
        "fit.learning_rate 0.001 -> 0.1",
        "loss.alpha 0.5 -> 1.0",
    ]
    named = [{**LABELS[0], "name": "Sphere"}, LABELS[1]]
    (told,) = changed_settings(settings(), settings(f"model.labels={named}"))
    assert told.startswith("model.labels ")


def test_settings_that_only_one_version_knows_are_left_out():
    old = deepcopy(settings())
    del old["fit"]["seed"], old["log"]
    old["fit"]["gone"] = 3
    assert changed_settings(old, settings("fit.seed=7")) == []
