"""Scripts of docs/study: each model meets the cases it was trained without; models widened, averaged, trained on."""

import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_helpers import describe_tiny, tiny_network
from evaluation_helpers import save_bundle, write_blobs

from rareunet.architecture import Architecture
from rareunet.bundle import Bundle
from rareunet.routing import route_for
from rareunet_training.configuration import DataConfig
from rareunet_training.model import case_hash

STUDY = Path(__file__).parents[2] / "docs" / "study"


PLAIN = Architecture(
    in_channels=2, classes=3, stages=3, filters=4, max_filters=20, gateways=2,
    gateway_convolutions=1, encoder_convolutions=2, decoder_convolutions=2,
)  # fmt: skip


def uneven(architecture, seed):
    """A network of which no bias or norm is what it starts with."""
    network = tiny_network(architecture, seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.rand(parameter.shape) / 4)
    return network


def run_script(monkeypatch, name, *words):
    monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
    return runpy.run_path(str(STUDY / name), run_name="__main__")


@pytest.fixture
def pairs(monkeypatch):
    monkeypatch.syspath_prepend(str(STUDY))
    import pairs

    yield pairs
    del sys.modules["pairs"]


@pytest.fixture
def shown(pairs, tmp_path, monkeypatch):
    """Runs held_out_samples with a command line: the model and the case of each sample."""
    write_blobs(tmp_path / "data", count=3)
    (tmp_path / "folds.json").write_text(json.dumps([["blob_0", "blob_2"], ["blob_1"]]))
    config = tmp_path / "balls.toml"
    config.write_text(
        '[data]\nfolder = "data"\nfolds = "folds.json"\n[[model.labels]]\nvalue = 3\nname = "Ball"\ncolor = [1, 2, 3]\n'
    )

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["script", *map(str, words), "--config", str(config)])
        return [(p.bundle.folder.name, sample.name) for p, sample in pairs.held_out_samples("what it does")]

    return run


@pytest.fixture
def model(tmp_path):
    def make(name, fold, learnt="somebody"):
        data = {"fold": fold, "case_hashes": [case_hash(learnt)]}
        save_bundle(tmp_path / name, training={"data": data})
        return tmp_path / name

    return make


def test_each_model_meets_its_own_fold(shown, model):
    samples = shown(model("first", 0), model("second", 1))
    assert samples == [("first", "blob_0"), ("first", "blob_2"), ("second", "blob_1")]
    assert shown(model("third", 0), "data.exclude=['blob_0']") == [("third", "blob_2")]


def test_models_that_would_be_scored_wrongly_are_refused(shown, model):
    with pytest.raises(ValueError, match="second model of fold 0"):
        shown(model("first", 0), model("again", 0))
    with pytest.raises(ValueError, match="was trained on 1 of these 2 cases"):
        shown(model("learnt", 0, learnt="blob_2"))
    with pytest.raises(ValueError, match="keeps no case to score"):
        shown(model("all", -1))
    with pytest.raises(ValueError, match="no model is given"):
        shown("data.fold=0")


def test_another_rule_is_in_force_for_its_own_routes_alone(pairs):
    rule = pairs.router(COARSEST_FINE_RESIDUAL=1.25)
    spacing, reference = (1.2, 1.2, 1.2), (1.0, 1.0, 1.0)
    assert rule(spacing, reference, 3, None).network_spacing_mm == spacing
    assert route_for(spacing, reference).network_spacing_mm == reference


def test_difference_is_paired_over_the_cases(pairs, capsys):
    pairs.print_pairs(("as it is", "finer"), {"2 mm": [(0.5, 0.6), (0.7, 0.9)]})
    row = capsys.readouterr().out.splitlines()[1]
    assert row.split() == ["2", "mm", "0.600", "0.750", "+0.150", "+-", "0.050"]


@pytest.mark.parametrize("depths", [(0, 0, 0), (1, 1, 1), (2, 2, 2), (0, 2, 1)], ids=str)
@pytest.mark.parametrize("filters", [5, 8])
def test_a_wider_network_answers_what_the_old_one_does(filters, depths):
    old = uneven(PLAIN, seed=1)
    widening = runpy.run_path(str(STUDY / "wider.py"))["Widening"]
    wider = widening(old, filters).network()
    assert [layer.out_channels for layer in wider.encoder[0].convolutions] == [filters] * 2
    image = torch.rand(1, 2, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = (network(image, depths).logits for network in (old, wider))
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_copies_of_a_channel_can_part():
    """Equal weights would get equal gradients for ever."""
    widening = runpy.run_path(str(STUDY / "wider.py"))["Widening"]
    reading = widening(uneven(PLAIN, seed=1), 8).network().heads[0].weight.flatten(1)
    assert len(torch.unique(reading, dim=1).T) == 8


def test_widening_writes_a_model(tmp_path, monkeypatch, capsys):
    card = ({"condition": "2 mm", "spacing_mm": [2, 2, 2], "cases": 7, "dice_mean": 0.8, "dice_sd": 0.02},)
    old = describe_tiny(PLAIN, resolution_card=card).save(tmp_path / "old", uneven(PLAIN, seed=1))
    run_script(monkeypatch, "wider.py", old.folder, "--filters", 6, "--output", tmp_path / "wider")
    assert capsys.readouterr().out.strip() == str(tmp_path / "wider")
    wider = Bundle.load(tmp_path / "wider")
    assert wider.load_network().architecture == replace(PLAIN, filters=6)
    assert (wider.name, wider.labels, wider.resolution_card) == (old.name, old.labels, ())


@pytest.mark.parametrize(("changes", "filters"), [({}, 9), ({}, 3), ({"residual_blocks": 1}, 8)])
def test_networks_that_can_not_be_widened_are_refused(changes, filters):
    widening = runpy.run_path(str(STUDY / "wider.py"))["Widening"]
    with pytest.raises(ValueError, match="plain blocks and up to twice the filters"):
        widening(tiny_network(replace(PLAIN, **changes)), filters)


def learner(folder, seed, *cases, **changes):
    training = {"data": {"fold": 0, "case_hashes": list(cases)}, "settings": {"seed": seed}}
    described = describe_tiny(PLAIN, training=training, **{"name": folder.name, **changes})
    return described.save(folder, uneven(PLAIN, seed))


def test_average_of_two_models(tmp_path, monkeypatch, capsys):
    models = [learner(tmp_path / "a", 1, "x", "y"), learner(tmp_path / "b", 2, "y", "w", version="0.2.0")]
    words = [*(model.folder for model in models), "--output", tmp_path / "average"]
    run_script(monkeypatch, "average_weights.py", *words)
    assert capsys.readouterr().out.strip() == str(tmp_path / "average")
    average = Bundle.load(tmp_path / "average")
    first, second, found = (model.load_network().state_dict() for model in (*models, average))
    for name, weight in found.items():
        torch.testing.assert_close(weight, (first[name] + second[name]) / 2, rtol=1e-3, atol=1e-4)
    assert (average.name, average.version, average.resolution_card) == ("average", "0.2.0", ())
    assert average.training["data"] == {"fold": 0, "case_hashes": ["w", "x", "y"]}
    assert average.training["settings"] == {"seed": 2}
    assert [model["sha256"] for model in average.training["average_of"]] == [m.sha256 for m in models]


def test_models_of_two_kinds_are_not_averaged(tmp_path, monkeypatch):
    one = learner(tmp_path / "one", 1)
    other = learner(tmp_path / "other", 2, reference_spacing_mm=(1.0, 1.0, 2.0))
    words = [one.folder, other.folder, "--output", tmp_path / "average"]
    with pytest.raises(SystemExit, match="one and .*other differ in reference_spacing_mm"):
        run_script(monkeypatch, "average_weights.py", *words)
    assert not (tmp_path / "average").exists()


def test_fewer_scans_are_a_part_of_more_and_leave_the_held_out_fold(tmp_path):
    names = [f"case_{number}" for number in range(10)]
    (tmp_path / "folds.json").write_text(json.dumps([names[:2], names[2:]]))
    data = DataConfig(folder="any", folds=str(tmp_path / "folds.json"))
    left_out = runpy.run_path(str(STUDY / "fewer_scans.py"))["left_out"]
    few, more = (set(left_out(names, data, number)) for number in (2, 5))
    assert (len(few), len(more)) == (6, 3)
    assert more < few <= set(names[2:])
    assert left_out(names, data, 8) == []
    with pytest.raises(ValueError, match="choose 1 to 8"):
        left_out(names, data, 9)


def test_errors_of_outline_and_parts_are_told_apart():
    measure = runpy.run_path(str(STUDY / "outline.py"))["measure"]
    reference = np.zeros((6, 8, 10), dtype=int)
    reference[2:5, 2:6, 1:5], reference[2:5, 2:6, 5:9] = 1, 2
    # One plane more is of the first part.
    shifted = np.where(reference > 0, np.where(np.arange(10) < 6, 1, 2), 0)
    parts, whole, told, outlined = measure(shifted, reference)
    assert whole == told == 1
    assert parts == outlined == pytest.approx((2 * 4 / 9 + 2 * 3 / 7) / 2)
    larger = reference.copy()
    larger[1, 2:6, 1:5], larger[1, 2:6, 5:9] = 1, 2
    assert measure(larger, reference) == pytest.approx([6 / 7, 6 / 7, 6 / 7, 1])


def test_the_entry_at_1_8_is_trained_alone(monkeypatch):
    """All that scans of 1, 1/2 and 1/4 go through stays as it is."""
    monkeypatch.syspath_prepend(str(STUDY))
    script = runpy.run_path(str(STUDY / "eighth_entry.py"))
    network = tiny_network(replace(PLAIN, in_channels=1, stages=4, gateways=3))
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    images, labels = torch.rand(4, 4, 8, 4), torch.randint(3, (4, 4, 8, 4))
    script["train"](script["Entry"](network), images, labels, 2, 2)
    changed = {name for name, weight in network.state_dict().items() if not weight.equal(before[name])}
    assert {".".join(name.split(".")[:2]) for name in changed} == {"gateways.3", "heads.3"}
