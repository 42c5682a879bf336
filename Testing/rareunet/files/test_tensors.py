"""Tensors of the published code's preprocessing: read in place, with what was assumed said; nothing is executed."""

import sys

import numpy as np
import pytest
import torch

from rareunet.__main__ import main
from rareunet.volume_files import case_name, find_scans, read_volume

XYZ = torch.arange(60, dtype=torch.float32).reshape(1, 5, 4, 3)  # (C, X, Y, Z)


def test_axes_are_turned_and_the_assumption_is_noted(tmp_path):
    torch.save(XYZ, tmp_path / "case_1.nii.pt")
    volume = read_volume(tmp_path / "case_1.nii.pt")
    assert volume.voxels.shape == (1, 3, 4, 5)
    assert volume.voxels[0, 2, 1, 3] == XYZ[0, 3, 1, 2]
    np.testing.assert_array_equal(volume.ijk_to_ras, np.eye(4))
    assert volume.name == "case_1"
    assert "1 mm" in volume.notes[0]


@pytest.mark.parametrize(
    ("tensor", "dtype", "channels"),
    [
        (XYZ[0], np.float32, 1),
        (XYZ.repeat(4, 1, 1, 1), np.float32, 4),
        (XYZ.bfloat16(), np.float32, 1),
        (XYZ.to(torch.int16), np.int16, 1),
        (XYZ.clone().requires_grad_(), np.float32, 1),
    ],
)
def test_channels_and_number_types(tmp_path, tensor, dtype, channels):
    torch.save(tensor, tmp_path / "a.nii.pt")
    voxels = read_volume(tmp_path / "a.nii.pt").voxels
    assert (voxels.dtype, voxels.shape) == (dtype, (channels, 3, 4, 5))


class Harmful:
    def __reduce__(self):
        return (open, ("executed", "w"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"image": XYZ}, ["holds a dict", "plain tensor"]),
        (XYZ.to_sparse(), ["plain tensor"]),
        (XYZ[0, 0], [r"\(4, 3\)", r"\(C, X, Y, Z\)"]),
        (XYZ[None], [r"\(1, 1, 5, 4, 3\)"]),
        (torch.zeros(1, 4, 4, 1), ["single slice"]),
        (Harmful(), ["could run code", "Save the scan's tensor alone"]),
        (b"text", ["could not be read|could run code"]),
    ],
)
def test_what_is_no_scan_is_refused(tmp_path, monkeypatch, content, words):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.nii.pt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    for word in words:
        with pytest.raises(ValueError, match=word):
            read_volume(path)
    assert not (tmp_path / "executed").exists()


def test_damaged_files_are_value_errors(tmp_path):
    path = tmp_path / "a.nii.pt"
    torch.save(XYZ, path)
    content = path.read_bytes()
    pieces = [content[:length] for length in range(0, len(content), 97)]
    for piece in [*pieces, b"\x80\x02.", b"\x80\x02N.", b"\n"]:
        path.write_bytes(piece)
        with pytest.raises(ValueError, match=r"a\.nii\.pt"):
            read_volume(path)


def test_without_torch(tmp_path, monkeypatch):
    torch.save(XYZ, tmp_path / "a.nii.pt")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match="PyTorch is not installed"):
        read_volume(tmp_path / "a.nii.pt")


def test_folders_and_names(tmp_path):
    for name in ("a.nii.pt", "weights.pt"):
        (tmp_path / name).touch()
    assert find_scans([tmp_path], 1) == [tmp_path / "a.nii.pt"]
    assert case_name("x/Hippo_01.NII.PT") == "Hippo_01"


def test_segment_says_the_assumption(tmp_path, make_bundle, capsys):
    folder = make_bundle().folder
    random = np.random.default_rng(0).random((1, 18, 20, 22), dtype=np.float32)
    torch.save(torch.from_numpy(random), tmp_path / "case.nii.pt")
    words = ["segment", str(tmp_path / "case.nii.pt"), "--output", str(tmp_path / "out"), "--device", "cpu"]
    assert main([*words, "--model", str(folder)]) == 0
    assert "case: warning: The file holds no spacing" in capsys.readouterr().err
    written = read_volume(tmp_path / "out" / "case.nii.gz")
    assert (written.shape, written.spacing_mm) == ((22, 20, 18), (1, 1, 1))
