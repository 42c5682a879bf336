"""The configuration: its documented defaults, files, overrides and mistakes."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from training_helpers import write_data_set

from rareunet_training.configuration import TrainingConfig, read_config
from rareunet_training.loading import load_data

SCRIPTS = Path(__file__).parents[2] / "RAREUNetTraining" / "Scripts"


def test_default_toml_lists_every_setting_with_its_default_and_a_reason():
    path = SCRIPTS / "default.toml"
    assert asdict(read_config(path)) == asdict(TrainingConfig())
    lines = path.read_text(encoding="utf-8").splitlines()
    settings = [line for line in lines if "=" in line and not line.startswith("#")]
    assert len(settings) == sum(len(section) for section in asdict(TrainingConfig()).values())
    assert all(len(line.partition("#")[2].split()) >= 3 for line in settings)


def test_saved_configuration_can_be_read_again(tmp_path):
    write_data_set(tmp_path)
    config = read_config(tmp_path / "balls.toml", ["fit.epochs=7"])
    saved = tmp_path / "elsewhere" / "config.json"
    saved.parent.mkdir()
    saved.write_text(json.dumps(config.to_dict()), encoding="utf-8")
    assert read_config(saved) == config


def test_folders_are_relative_to_the_file_or_to_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "a.toml").write_text('[data]\nfolder = "scans"\nlabels = "/abs"\n')
    monkeypatch.chdir(tmp_path.parent)
    config = read_config(tmp_path / "a.toml", ["data.folds=folds.json"])
    assert config.data.folder == str(tmp_path / "scans")
    assert Path(config.data.labels) == Path("/abs")
    assert config.data.folds == str(tmp_path.parent / "folds.json")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("fit.epoch=3", "unknown configuration fit.epoch"),
        ("fit.epochs=many", "fit.epochs is 'many'"),
        ("fit.epochs=0", "fit.epochs is 0: at least 1"),
        ("fit.patch=[32, 64]", "fit.patch is .* three positive numbers"),
        ("fit.protocol=displaced", "choose aligned, published"),
        ("fit.method=resnet", "choose rare, unet, unet-aug-up, unet-aug-pad"),
        ("epochs=3", "section.name=value"),
        ("data.fold=9", "folds 0 to 4"),
        ("data.exclude=['nobody']", "no cases"),
        ("data.folder=nowhere", "nowhere"),
    ],
)
def test_mistakes_are_explained(tmp_path, override, message):
    write_data_set(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_data(read_config(tmp_path / "balls.toml", [override]))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [("a.toml", "[fit", "is not TOML"), ("a.json", "{", "is not JSON"), ("none.toml", None, "can't be read")],
)
def test_unreadable_files_are_explained(tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_config(tmp_path / name)


def test_reading_a_configuration_needs_no_torch():
    program = (
        "import sys; from rareunet_training.configuration import read_config; read_config(None);"
        "sys.exit('torch' in sys.modules or 'monai' in sys.modules)"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        ).returncode
        == 0
    )
