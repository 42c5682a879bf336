"""models, verify, import-model and import-checkpoint from the command line."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import yaml

from rareunet import installed_models as models_module
from rareunet.__main__ import main
from rareunet.commands.models import describe


def test_models_whose_volumes_were_not_measured_are_listed_too(tiny_bundle):
    row = {"condition": "2 mm", "spacing_mm": [2, 2, 2], "cases": 7, "dice_mean": 0.8, "dice_sd": 0.02}
    listed = describe(replace(tiny_bundle, resolution_card=(row,)))
    assert listed.splitlines()[-1].split() == ["2", "mm", "2", "x", "2", "x", "2", "0.800", "0.020", "7", "-"]


def test_models_are_listed_with_what_to_expect(tiny_bundle, monkeypatch, capsys):
    monkeypatch.setattr(models_module, "PACKAGED_MODELS", tiny_bundle.folder.parent)
    assert main(["models"]) == 0
    text = capsys.readouterr().out
    for part in (
        "tiny 0.1.0  Tiny",
        "5 five, 9 nine",
        "channel 0",
        "1 x 1 x 1 mm",
        "2 x 2 x 2",
        "0.810",
        "0.020",
        "-9",
    ):
        assert part in text


def test_no_packaged_model(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(models_module, "PACKAGED_MODELS", tmp_path)
    assert main(["models"]) == 0
    assert "no packaged and no imported model" in capsys.readouterr().out
    assert main(["verify"]) == 1


def test_verify_names_the_bad_model(make_bundle, capsys):
    good, bad = make_bundle("good"), make_bundle("bad")
    assert main(["verify", str(good.folder), str(bad.folder)]) == 0
    (bad.folder / "weights.safetensors").write_bytes(b"")
    assert main(["verify", str(good.folder), str(bad.folder)]) == 1
    output = capsys.readouterr()
    assert f"{good.folder}: good" in output.out
    assert f"{bad.folder}: bad" in output.err
    assert "SHA-256" in output.err


def test_verify_takes_all_packaged_models(make_bundle, monkeypatch, capsys):
    monkeypatch.setattr(models_module, "PACKAGED_MODELS", make_bundle("tiny").folder.parent)
    assert main(["verify"]) == 0
    assert "tiny: good" in capsys.readouterr().out


def test_an_imported_model_is_listed_by_what_it_is_called(tiny_bundle, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(models_module, "PACKAGED_MODELS", tiny_bundle.folder.parent)
    monkeypatch.setenv("RAREUNET_MODELS", str(tmp_path / "own"))
    file = shutil.make_archive(str(tmp_path / "tiny"), "zip", tiny_bundle.folder)
    assert main(["import-model", file]) == 0
    assert "choose it by `segment --model tiny-0.1.0`" in capsys.readouterr().out
    assert main(["models"]) == 0
    assert capsys.readouterr().out.count("imported, called   tiny-0.1.0") == 1
    assert main(["verify"]) == 0
    assert "tiny-0.1.0: good" in capsys.readouterr().out
    assert main(["import-model", str(tmp_path / "gone.zip")]) == 1
    assert "gone.zip is no file" in capsys.readouterr().err


@pytest.mark.parametrize("python", [[sys.executable], [sys.executable, "-u"]], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("command", ["models", "verify"])
def test_a_reader_that_has_seen_enough_is_no_error(python, command):
    reader, writer = os.pipe()
    os.close(reader)
    words = [*python, "-m", "rareunet", command]
    done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    os.close(writer)
    assert done.stderr == ""


def test_import_that_does_not_fit_is_1(tmp_path, capsys):
    torch.save({"final_conv.bias": torch.zeros(3)}, tmp_path / "model.pth")
    architecture = {"depth": 2, "n_filters": 2, "norm_type": "instance", "activation_type": "leaky_relu"}
    dataset = {"name": "D", "target_shape": [8, 8, 8], "num_classes": 3, "in_channels": 1}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"architecture": architecture, "dataset": dataset}))
    words = ["import-checkpoint", tmp_path / "model.pth", "--config", tmp_path / "config.yaml"]
    assert main([str(word) for word in (*words, "--output", tmp_path / "new")]) == 1
    assert "more" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert (
        main([*map(str, words[:1]), "gone.pth", *map(str, words[2:]), "--output", str(tmp_path / "new")]) == 1
    )
