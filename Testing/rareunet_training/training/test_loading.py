"""From a configuration to checked samples: who is trained on, what is kept in memory, what stops the run."""

import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from torch.utils.data import DataLoader
from training_helpers import write_data_set

from rareunet import Volume
from rareunet.volume_files import read_volume, write_label_map, write_volume
from rareunet_training.configuration import read_config
from rareunet_training.data.cases import split_cases
from rareunet_training.training import loading
from rareunet_training.training.distributed import Processes
from rareunet_training.training.loading import load_data


def config_of(folder, *overrides):
    return read_config(folder / "balls.toml", overrides)


def names_of(cache):
    return [facts.name for facts in cache.facts]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_validation_cases_are_those_of_the_fold_and_never_trained_on(tmp_path, seed):
    write_data_set(tmp_path, 6)
    config = config_of(tmp_path, f"fit.seed={seed}", "data.fold_count=3", "data.exclude=['ball_003']")
    training, validation = load_data(config)
    cases = [f"ball_{case:03d}" for case in (0, 1, 2, 4, 5)]
    assert (names_of(training), names_of(validation)) == split_cases(cases, config.data, seed)
    assert len(validation) < len(training)
    assert training[0].name == names_of(training)[0]


@pytest.mark.parametrize(("processes", "kept"), [(1, 3), (2, 1)])
def test_processes_of_a_machine_share_the_cache(tmp_path, processes, kept):
    """Four balls of 18^3 voxels, 5 bytes each, and a few foreground voxels: 34 kB each, three in 110 kB."""
    write_data_set(tmp_path)
    training, _ = load_data(
        config_of(tmp_path, "data.cache_gb=1.1e-4"), processes=Processes(local_world_size=processes)
    )
    read = [training[index] for index in range(4)]
    assert training.kept.bytes == sum(sample.bytes for sample in read[-kept:])


def test_training_and_validation_keep_no_more_than_the_budget_together(tmp_path):
    write_data_set(tmp_path)
    training, validation = load_data(config_of(tmp_path, "data.cache_gb=1.1e-4"))
    read = [training[index] for index in range(4)][2:] + [validation[0]]
    assert training.kept.bytes == validation.kept.bytes == sum(sample.bytes for sample in read)


def test_samples_reach_a_worker_that_is_spawned(tmp_path):
    """As on Windows and macOS: what the worker gets is pickled."""
    write_data_set(tmp_path)
    training, _ = load_data(config_of(tmp_path))
    loader = DataLoader(training, batch_size=None, num_workers=1, multiprocessing_context="spawn")
    assert [sample.name for sample in loader] == names_of(training)


def test_unusable_cases_are_named_before_anything_starts(tmp_path):
    write_data_set(tmp_path, 8)
    for path in (tmp_path / "data" / "labelsTr").iterdir():
        label = read_volume(path)
        write_label_map(path, (label.voxels[0] * 2).astype(np.uint8), label)
    with pytest.raises(ValueError, match=r"can't be used for training:\n.*label values \[6\]") as raised:
        load_data(config_of(tmp_path))
    assert "ball_000, ball_001, ball_002, ball_003 and 4 more" in str(raised.value)


def test_doubtful_cases_are_told_and_used(tmp_path, capsys):
    write_data_set(tmp_path)
    for kind in ("imagesTr", "labelsTr"):
        folder = tmp_path / "data" / kind
        shutil.copy(folder / "ball_000.nii.gz", folder / "copy.nii.gz")
    training, validation = load_data(config_of(tmp_path))
    assert len(training) + len(validation) == 6
    assert "warning: the same voxels as ball_000" in capsys.readouterr().err


def test_label_map_without_a_scan_is_told(tmp_path, capsys):
    write_data_set(tmp_path)
    (tmp_path / "data" / "imagesTr" / "ball_001.nii.gz").unlink()
    load_data(config_of(tmp_path))
    assert "warning: a label map without a scan: add the scan" in capsys.readouterr().err


def test_unchanged_scans_are_not_read_again(tmp_path, monkeypatch):
    write_data_set(tmp_path)
    output, earlier, real = tmp_path / "out", [], loading.check_cases
    output.mkdir()

    def checked(cases, model, on_case, alone, known):
        earlier.append(known and len(known.cases))
        return real(cases, model, on_case, alone, known)

    monkeypatch.setattr(loading, "check_cases", checked)
    load_data(config_of(tmp_path), output)
    load_data(config_of(tmp_path), output)
    (output / "check.json").write_text("{")  # of a run that was killed
    load_data(config_of(tmp_path), output)
    assert earlier == [None, 5, None]


def test_facts_know_the_memory_of_scans_with_two_channels(tmp_path):
    write_data_set(tmp_path)
    folder = tmp_path / "data" / "imagesTr"
    for path in sorted(folder.iterdir()):
        scan = read_volume(path)
        stem = path.name.removesuffix(".nii.gz")
        write_volume(folder / f"{stem}_0000.nii.gz", scan)
        write_volume(folder / f"{stem}_0001.nii.gz", Volume(scan.voxels * 2, scan.ijk_to_ras))
        path.unlink()
    training, _ = load_data(config_of(tmp_path, "model.channels=['T1', 'T2']"))
    sample = training[0]
    assert training.facts[0].bytes == sample.image.nbytes + sample.label.nbytes
    assert len(sample.image) == 2


def test_segments_that_change_their_values_stop_a_run(tmp_path):
    write_data_set(tmp_path)
    for number, path in enumerate(sorted((tmp_path / "data" / "labelsTr").iterdir())):
        label = sitk.ReadImage(str(path))
        label.SetMetaData("Segment0_Name", "Rim" if number == 1 else "Ball")
        label.SetMetaData("Segment0_LabelValue", "3")
        sitk.WriteImage(label, str(path.with_name(path.name.replace(".nii.gz", ".seg.nrrd"))))
        path.unlink()
    with pytest.raises(ValueError, match="label 3 is Ball in ball_000, ball_002.*; Rim in ball_001"):
        load_data(config_of(tmp_path))
