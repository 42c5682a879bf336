"""The configuration: its documented defaults, files, overrides and mistakes."""

import json
import os
import shlex
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from training_helpers import write_data_set

from rareunet_training.configuration import TrainingConfig, read_config
from rareunet_training.training.loading import load_data

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
    ("start", "file"),
    [("hippocampus", "hippocampus"), ("runs/liver", "DIR/runs/liver"), ("~/liver", "HOME/liver"), ("", "")],
)
def test_model_to_begin_with_is_a_packaged_one_or_a_folder_beside_the_file(
    tmp_path, monkeypatch, start, file
):
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    (tmp_path / "a.toml").write_text(f'[data]\nfolder = "~/scans"\n[model]\nstart_from = "{start}"\n')
    config = read_config(tmp_path / "a.toml")
    assert config.data.folder == str(home / "scans")
    expected = file.replace("DIR", str(tmp_path)).replace("HOME", str(home))
    assert config.model.start_from == (str(Path(expected)) if expected else "")


SETTINGS = [
    f"{section}.{name}" for section, settings in asdict(TrainingConfig()).items() for name in settings
]
FOLDERS = ("data.folder", "data.labels", "data.folds", "model.start_from")  # any text or number may name one


@pytest.mark.parametrize("setting", [setting for setting in SETTINGS if setting not in FOLDERS])
def test_value_of_the_wrong_type_is_answered_by_one_that_can_be_written_in_a_shell(setting):
    with pytest.raises(ValueError, match=f"{setting} is \\(1, 2\\): [a-z ]+ is needed, such as") as raised:
        read_config(None, [f"{setting}=(1, 2)"])
    (example,) = shlex.split(str(raised.value).partition("such as ")[2].removesuffix("."))
    assert example.startswith(f"{setting}=")
    read_config(None, [example])


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ('loss.weights={"1/4" = 2}', {"1/4": 2}),
        ("loss.weights={'1/4': 2}", {"1/4": 2}),
        ("model.network={filters = 24}", {"filters": 24}),
        ('model.labels=[{value = 1, name = "Liver", color = [1, 2, 3]}]', [
            {"value": 1, "name": "Liver", "color": [1, 2, 3]}
        ]),
        ("log.tensorboard=false", False),
        ("log.wandb=2024-01-02", "2024-01-02"),
    ],
)  # fmt: skip
def test_overrides_are_written_as_in_python_or_toml(override, value):
    section, _, name = override.partition("=")[0].partition(".")
    assert getattr(getattr(read_config(None, [override]), section), name) == value


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("fit.epoch=3", "unknown configuration fit.epoch"),
        ("fit.epochs=many", "fit.epochs is 'many'"),
        ("fit.epochs=0", "fit.epochs is 0: at least 1"),
        ("fit.patch=[32, 64]", "fit.patch is .* three positive numbers"),
        ("fit.protocol=displaced", "choose aligned, published"),
        ("fit.method=resnet", "choose rare, unet, unet-aug-up, unet-aug-pad"),
        ("fit.patch=['a', 16, 16]", r"fit.patch is \['a', 16, 16\]: a list of whole numbers is needed"),
        ("fit.patch=[16.5, 16, 16]", r"fit.patch is \[16.5, 16, 16\]: a list of whole numbers"),
        ("fit.wide_patch=[16]", "fit.wide_patch is .* three positive numbers"),
        ("fit.workers=-1", "fit.workers is -1: at least 0"),
        ("data.fold=-2", "data.fold is -2: a fold from 0 on, or -1 to train on all cases"),
        ("fit.seed=4294967296", "fit.seed is 4294967296: 0 to 4294967295 is needed"),
        ("fit.ema_decay=1", "fit.ema_decay is 1.0: at least 0 and below 1"),
        ("loss.alpha=1.5", "loss.alpha is 1.5: 0 to 1"),
        ("loss.alpha=-0.1", "loss.alpha is -0.1: 0 to 1"),
        ("loss.weights={'1/3': 2}", "loss.weights has '1/3': 2: a number above 0 for any of own, 1/2, 1/4"),
        ("loss.weights={'1/4': 0}", "loss.weights has '1/4': 0: a number above 0"),
        ("loss.weights={'1/4': 'twice'}", "loss.weights has '1/4': 'twice'"),
        ("fit.coarse_patches=0", "fit.coarse_patches is 0: at least 1"),
        ("data.cache_gb=0", "data.cache_gb is 0.0: above 0"),
        ("data.fold_count=1", "data.fold_count is 1: at least 2"),
        ("augmentation.gamma=0", "augmentation.gamma is 0.0: at least 1"),
        ("model.reference_spacing_mm=[1, 1, 0]", "three positive numbers"),
        ("model.labels=['Ball']", r"model.labels is \['Ball'\]: a list of tables is needed"),
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
    "changes",
    [
        {"value": 0},
        {"value": 3.7},
        {"value": True},
        {"value": 65536},
        {"value": None},
        {"name": ""},
        {"color": "red"},
        {"color": [0, 0]},
        {"color": [0, 0, 256]},
        {"colour": [0, 0, 0]},
    ],
)
def test_label_that_no_model_can_have_is_shown(changes):
    label = {"value": 3, "name": "Ball", "color": [200, 30, 30], **changes}
    with pytest.raises(ValueError, match="model.labels has .*: each needs value, name and color") as raised:
        read_config(None, [f"model.labels=[{label}]"])
    assert str(label) in str(raised.value)


@pytest.mark.parametrize(("key", "value"), [("value", 3), ("name", "Ball")])
def test_labels_have_values_and_names_of_their_own(key, value):
    one, other = (
        {"value": 3, "name": "Ball", "color": [1, 1, 1]},
        {"value": 4, "name": "Rim", "color": [1, 1, 1]},
    )
    with pytest.raises(ValueError, match=f"has the {key} {value!r} twice"):
        read_config(None, [f"model.labels=[{one}, { ({**other, key: value}) }]"])


@pytest.mark.parametrize("name", ["2024_01", "007", "1e5"])
def test_text_that_looks_like_a_number_stays_text(name):
    assert Path(read_config(None, [f"data.folder={name}"]).data.folder).name == name


def test_file_of_a_windows_editor_is_read(tmp_path):
    (tmp_path / "a.toml").write_text("[fit]\nepochs = 7\n", encoding="utf-8-sig")
    assert read_config(tmp_path / "a.toml").fit.epochs == 7


def test_more_structures_than_a_byte_holds_are_refused():
    labels = [{"value": n, "name": f"part {n}", "color": [0, 0, 0]} for n in range(1, 257)]
    with pytest.raises(ValueError, match="model.labels names 256 structures: 255 are possible"):
        read_config(None, [f"model.labels={labels}"])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.toml", "[fit", "is not TOML"),
        ("a.toml", 'data = "x"', "data is 'x': write settings below their section"),
        ("a.toml", "fit = 3", "fit is 3: write settings below their section"),
        ("a.json", "{", "is not JSON"),
        ("a.json", "[1]", "write settings below their section"),
        ("none.toml", None, "can't be read"),
    ],
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
