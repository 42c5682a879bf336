"""Four channels from files to a model to a label map: each channel keeps its place, in training and in use.

Each of four structures shows in one channel alone, so a channel in another's place gives another structure.
"""

import itertools
from pathlib import Path

import numpy as np
import pytest

from rareunet import Predictor, Volume, read_volume
from rareunet.__main__ import main as rareunet
from rareunet.volume_files import write_label_map, write_volume
from rareunet_training.configuration import read_config
from rareunet_training.data.samples import SampleFacts
from rareunet_training.model import describe_bundle
from rareunet_training.monitoring.history_file import read_history
from rareunet_training.training.fitting import fit

CONFIG = Path(__file__).parents[2] / "RAREUNetTraining" / "Scripts" / "brain_tumour.toml"
SIZE, RADIUS, CHANNELS = 20, 4, 4
STRUCTURES = [{"value": c + 1, "name": f"shows in {c}", "color": [60 * c, 9, 9]} for c in range(CHANNELS)]


def four_balls(seed):
    """A scan of four channels, and its label map (Z, Y, X): a ball of value c + 1 shows in channel c alone."""
    random = np.random.default_rng(seed)
    voxels = random.normal(0, 5, (CHANNELS, *(SIZE,) * 3)).astype(np.float32)
    label = np.zeros((SIZE,) * 3, np.uint8)
    corners = random.permutation(list(itertools.product((5, 14), repeat=3)))[:CHANNELS]
    for channel, corner in enumerate(corners):
        centre = corner + random.uniform(-1, 1, 3)
        distance = sum((g - c) ** 2 for g, c in zip(np.indices(label.shape), centre, strict=True))
        voxels[channel] += 100 * (distance < RADIUS**2)
        label[distance < RADIUS**2] = channel + 1
    return Volume(voxels, np.eye(4), f"case_{seed}"), label


def write_channels(folder, scan, coarse=()):
    """FOLDER/<name>_0000.nii.gz and so on; those in `coarse` with voxels of 2 mm over the same field of view."""
    for channel, image in enumerate(scan.voxels):
        matrix = scan.ijk_to_ras
        if channel in coarse:
            image = image.reshape(SIZE // 2, 2, SIZE // 2, 2, SIZE // 2, 2).mean(axis=(1, 3, 5))
            matrix = np.diag([2, 2, 2, 1.0])
            matrix[:3, 3] = 0.5
        write_volume(folder / f"{scan.name}_{channel:04d}.nii.gz", Volume(image, matrix))


def dice(predicted, label):
    """Of each structure that the label map holds."""
    pairs = [(predicted == value, label == value) for value in np.unique(label[label > 0])]
    return [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on twelve scans: every other one is a file with four channels, the rest are four files each."""
    folder = tmp_path_factory.mktemp("four_channels")
    for name in ("imagesTr", "labelsTr"):
        (folder / "data" / name).mkdir(parents=True)
    for seed in range(12):
        scan, label = four_balls(seed)
        if seed % 2:
            write_channels(folder / "data" / "imagesTr", scan)
        else:
            write_volume(folder / "data" / "imagesTr" / f"{scan.name}.nii.gz", scan)
        write_label_map(folder / "data" / "labelsTr" / f"{scan.name}.nii.gz", label, scan)
    words = [
        f"data.folder={folder / 'data'}", "data.fold=-1", f"model.labels={STRUCTURES}",
        'model.network={"filters": 8, "stages": 2, "gateways": 1}', "fit.patch=[20, 20, 20]", "fit.epochs=8",
        "fit.learning_rate=0.03", "fit.device=cpu", "fit.precision=float32", "log.tensorboard=false",
        "augmentation.rotation_degrees=0", "augmentation.scaling=0", "augmentation.elastic_probability=0",
    ]  # fmt: skip
    fit(read_config(CONFIG, words), folder / "out")
    return folder / "out"


@pytest.fixture
def predictor(trained):
    return Predictor(trained / "brain-tumour", "cpu")


def test_loss_falls_to_a_third(trained):
    losses = [row["loss own"] for row in read_history(trained / "history.csv")]
    assert losses[-1] < losses[0] / 3


def test_new_scan_is_segmented(predictor):
    scan, label = four_balls(seed=100)
    assert min(dice(predictor.predict(scan).label_map, label)) > 0.8


def test_channels_that_change_places_change_the_structures(predictor):
    """FLAIR, T1w, T1gd, T2w given as T1w, T1gd, T2w, FLAIR: each structure is taken for the one before it."""
    scan, label = four_balls(seed=100)
    turned = Volume(np.roll(scan.voxels, -1, axis=0), scan.ijk_to_ras)
    expected = np.array([0, 4, 1, 2, 3])[label]
    assert min(dice(predictor.predict(turned).label_map, expected)) > 0.8


@pytest.mark.parametrize("channel", range(CHANNELS))
def test_structure_is_not_found_without_the_channel_that_shows_it(predictor, channel):
    scan, label = four_balls(seed=100)
    scan.voxels[channel] = 0
    predicted = predictor.predict(scan).label_map
    assert (predicted[label == channel + 1] == channel + 1).mean() < 0.1
    assert set(np.unique(predicted)) >= {0, 1, 2, 3, 4} - {channel + 1}


def test_command_takes_four_files_of_which_two_lie_on_a_coarser_grid(trained, tmp_path):
    scan, label = four_balls(seed=100)
    (tmp_path / "scans").mkdir()
    write_channels(tmp_path / "scans", scan, coarse=(1, 3))
    words = ["--model", str(trained / "brain-tumour"), "--device", "cpu", "--output", str(tmp_path / "out")]
    assert rareunet(["segment", str(tmp_path / "scans"), *words]) == 0
    assert min(dice(read_volume(tmp_path / "out" / f"{scan.name}.nii.gz").voxels[0], label)) > 0.6


def test_command_says_which_channels_are_needed(trained, tmp_path, capsys):
    scan, _ = four_balls(seed=100)
    (tmp_path / "scans").mkdir()
    write_channels(tmp_path / "scans", Volume(scan.voxels[:3], scan.ijk_to_ras, scan.name))
    words = ["--model", str(trained / "brain-tumour"), "--device", "cpu", "--output", str(tmp_path / "out")]
    assert rareunet(["segment", str(tmp_path / "scans"), *words]) == 1
    assert "3 channel(s), the model brain-tumour needs 4: FLAIR, T1w, T1gd, T2w" in capsys.readouterr().err
    assert not list(tmp_path.glob("out/*.nii.gz"))


def test_configuration_describes_the_decathlons_task():
    """Four channels, three structures: the network of the paper has then the parameters that were published."""
    facts = [SampleFacts("whole head", (155, 240, 240), (1.0, 1.0, 1.0), CHANNELS)]
    bundle = describe_bundle(read_config(CONFIG, ["model.preset=paper"]), facts)
    assert [channel["name"] for channel in bundle.channels] == ["FLAIR", "T1w", "T1gd", "T2w"]
    assert [label.value for label in bundle.labels] == [1, 2, 3]
    assert {label.terminology["region"][2] for label in bundle.labels} == {"Brain"}
    assert (bundle.architecture.in_channels, bundle.architecture.classes) == (4, 4)
