"""What a bundle says of a model before it has weights, and what it takes from a trained one."""

from dataclasses import asdict, replace

import pytest
import torch
from training_helpers import config_of_balls

from rareunet.network import RAREUNet
from rareunet_training.data.samples import SampleFacts
from rareunet_training.model import case_hash, check_model, describe_bundle

FACTS = [
    SampleFacts("Miller", (10, 40, 20), (3.0, 1.0, 1.0)),
    SampleFacts("Smith", (30, 20, 30), (1.0, 1.0, 0.5)),
    SampleFacts("Jones", (20, 30, 25), (1.0, 1.0, 1.0)),
]


def test_bundle_says_what_the_configuration_and_the_scans_are():
    two = "model.channels=['T1', 'T2']"
    config = config_of_balls(two, "model.reference_spacing_mm=[2.0, 1.0, 1.0]", "data.fold=3")
    bundle = describe_bundle(replace(config, data=replace(config.data, exclude=["Brown"])), FACTS)
    expected = {"in_channels": 2, "classes": 2, "filters": 4, "stages": 3, "gateways": 2, "max_filters": 16}
    assert expected.items() <= asdict(bundle.architecture).items()
    assert bundle.reference_spacing_mm == (2.0, 1.0, 1.0)
    assert bundle.field_of_view_mm == {"smallest": (20, 20, 15), "largest": (30, 40, 25)}
    data = bundle.training["data"]
    assert (data["cases"], data["fold"], data["excluded"]) == (3, 3, 1)
    assert set(data["case_hashes"]) == {case_hash(facts.name) for facts in FACTS}


@pytest.mark.parametrize(("turned", "straighten"), [(0, True), (1, True), (2, False), (20, False)])
def test_model_that_learns_a_tenth_of_turned_scans_wants_them_as_they_are(turned, straighten):
    facts = [replace(FACTS[0], tilt_degrees=40.0 if case < turned else 20.0) for case in range(20)]
    assert describe_bundle(config_of_balls(), facts).straighten_turned is straighten


def test_names_of_cases_stay_out_of_the_bundle():
    text = str(describe_bundle(config_of_balls(), FACTS).training)
    assert not any(facts.name in text for facts in FACTS)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.labels=[]", "model.labels is empty"),
        ("model.labels=[{'value': 1}]", "each needs value, name and color"),
        ("model.name='Hippo Campus'", "'Hippo Campus'.* can't be saved: name must match pattern"),
        ("model.version='1'", "version '1' .* can't be saved: version must match"),
        ("model.title=''", "title must be longer"),
        ("model.license=''", "license must be longer"),
        ("model.channels=['']", r"channels\[0\].name must be longer"),
        (
            "model.labels=[{'value': 1, 'name': 'A', 'color': [0, 0, 0], 'terminology': {'a': 1}}]",
            "terminology must",
        ),
        ("model.network={'dropout': 'much'}", "model.network is {'dropout': 'much'}: numbers are needed"),
        ("model.network={'filter': 4}", "model.network has no filter: choose from .*filters"),
    ],
)
def test_mistakes_in_the_model_are_explained(override, message):
    with pytest.raises(ValueError, match=message):
        check_model(config_of_balls(override))


def test_cases_of_the_model_that_training_begins_with_count_as_seen(tmp_path):
    first = describe_bundle(config_of_balls(), FACTS[:2])
    torch.manual_seed(0)
    first.save(tmp_path / "first", RAREUNet(first.architecture))
    second = describe_bundle(config_of_balls(f"model.start_from={tmp_path / 'first'}"), FACTS[2:])
    assert set(second.training["data"]["case_hashes"]) == {case_hash(facts.name) for facts in FACTS}
    assert second.training["data"]["cases"] == 1
