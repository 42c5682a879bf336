"""Scans in a folder, and `segment` as the command line runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rareunet.__main__ import main
from rareunet.volume_files import write_volume


@pytest.fixture
def scans(tmp_path, make_scan) -> Path:
    """A folder of two scans, one of thick slices."""
    folder = tmp_path / "scans"
    folder.mkdir()
    write_volume(folder / "a.nii.gz", make_scan((16, 20, 18)))
    write_volume(folder / "b.nii.gz", make_scan((6, 20, 18), (1.0, 1.0, 4.0)))
    return folder


@pytest.fixture
def segment(tmp_path, tiny_bundle):
    """Runs `segment` in this process with the tiny model; the output folder is tmp_path / "out"."""

    def run(*words: object) -> int:
        options = ["--model", tiny_bundle.folder, "--output", tmp_path / "out", "--device", "cpu"]
        return main([str(word) for word in ("segment", *words, *options)])

    return run
