"""Private folders: closed to others, gone with their owner, whatever ended it."""

import os
import subprocess
import sys

import pytest

from rareunet.worker.folder import LOCK_NAME, PREFIX, PrivateFolder, sweep

MAKE_ONE_AND_WAIT = """
import sys, time
from rareunet.worker.folder import PrivateFolder
folder = PrivateFolder(sys.argv[1])
(folder.path / "voxels.npy").write_bytes(b"voxels")
print(folder.path, flush=True)
time.sleep(600)
"""


def test_removed_with_all_that_is_in_it(tmp_path):
    folder = PrivateFolder(tmp_path)
    (folder.path / "voxels.npy").write_bytes(b"voxels")
    folder.remove()
    folder.remove()
    assert list(tmp_path.iterdir()) == []


def test_temporary_folder_that_a_cleaner_removed_is_made_again(tmp_path):
    folder = PrivateFolder(tmp_path / "gone" / "slicer")
    assert folder.path.is_dir()
    folder.remove()


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps access rights in other ways than mode bits")
def test_only_the_owner_may_look_inside(tmp_path):
    assert PrivateFolder(tmp_path).path.stat().st_mode & 0o077 == 0


def test_sweeping_takes_the_orphans_and_leaves_the_living(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", MAKE_ONE_AND_WAIT, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    others = process.stdout.readline().strip()
    own = PrivateFolder(tmp_path)
    (tmp_path / "another program's").mkdir()
    process.kill()
    process.communicate()
    assert sweep(tmp_path) == []
    for folder in tmp_path.iterdir():
        os.utime(folder, (0, 0))
    assert [str(path) for path in sweep(tmp_path)] == [others]
    assert sorted(tmp_path.iterdir()) == sorted([own.path, tmp_path / "another program's"])


@pytest.mark.parametrize("with_lock", [False, True])
def test_a_folder_is_left_while_it_may_be_in_the_making(tmp_path, with_lock):
    folder = tmp_path / f"{PREFIX}made"
    folder.mkdir()
    if with_lock:
        (folder / LOCK_NAME).touch()
    assert sweep(tmp_path) == []
    os.utime(folder, (0, 0))
    assert sweep(tmp_path) == [folder]
    assert not folder.exists()
