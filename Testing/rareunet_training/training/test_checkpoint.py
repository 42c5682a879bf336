"""Saving and loading within one process; test_fit_interrupted.py kills real ones."""

import pickle
import weakref

import pytest
import torch

from rareunet_training.training import checkpoint
from rareunet_training.training.checkpoint import load_checkpoint, save_checkpoint


def test_checkpoint_comes_back_in_a_folder_that_was_not_there(tmp_path):
    path = tmp_path / "new" / "last.ckpt"
    save_checkpoint(path, {"epoch": 3, "network": torch.arange(4.0)})
    state = load_checkpoint(path)
    assert state["epoch"] == 3
    assert torch.equal(state["network"], torch.arange(4.0))
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


def test_half_written_files_of_a_killed_process_are_cleared_away(tmp_path):
    (tmp_path / ".last.ckpt-abc").touch()
    save_checkpoint(tmp_path / "last.ckpt", {"epoch": 1})
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("error", [OSError("no space left"), RuntimeError("unexpected pos 64 vs 0")])
def test_failed_write_is_explained_and_keeps_the_old_one(tmp_path, monkeypatch, error):
    """torch's own writer raises a RuntimeError where the disk is full."""
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, {"epoch": 1})

    def fail(state, file):
        file.write_bytes(b"half")
        raise error

    monkeypatch.setattr(checkpoint.torch, "save", fail)
    with pytest.raises(OSError, match=r"could not be written \(.*\): the one before it is intact"):
        save_checkpoint(path, {"epoch": 2})
    assert load_checkpoint(path) == {"epoch": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


class Code:
    def __reduce__(self):
        return print, ("a checkpoint must not run code",)


def test_file_that_would_run_code_is_refused(tmp_path, capsys):
    torch.save({"epoch": Code()}, tmp_path / "torch.ckpt")
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(Code(), protocol=2))
    (tmp_path / "empty.ckpt").touch()
    torch.save([1, 2], tmp_path / "list.ckpt")
    for path in tmp_path.iterdir():
        with pytest.raises(ValueError, match="is not a checkpoint"):
            load_checkpoint(path)
    assert capsys.readouterr().out == ""


def test_nothing_holds_the_file_of_a_checkpoint_that_failed(tmp_path, monkeypatch):
    """On a full disk its space is needed to tell of it."""
    opened = []

    def full(state, path):
        file = open(path, "wb")  # noqa: SIM115  # as torch's writer does
        opened.append(weakref.ref(file))
        raise RuntimeError("unexpected pos 2972992 vs 2972880")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="free some space, then start again") as told:
        save_checkpoint(tmp_path / "last.ckpt", {})
    assert opened[0]() is None, told
