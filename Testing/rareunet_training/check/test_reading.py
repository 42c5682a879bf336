"""Files that can't be read, and how much is in memory meanwhile."""

import weakref

from check_helpers import SHAPE

from rareunet_training.check import reading


def test_files_that_are_missing_or_damaged(data):
    for name in "abcd":
        data.add(name)
    images, labels = data.folder / "images", data.folder / "labels"
    (images / "a.nii.gz").write_bytes((images / "a.nii.gz").read_bytes()[:100])
    (labels / "b.nii.gz").write_text("a report")
    (labels / "c.nii.gz").unlink()
    report = data.check()
    assert [(finding.severity, finding.case) for finding in report.findings] == [("error", c) for c in "abc"]
    for finding, words in zip(
        report.findings, ("could not be read", "could not be read", "not exist"), strict=True
    ):
        assert words in finding.message
    assert report.cases[0].shape is None
    assert report.cases[0].label_volumes != ()
    assert report.cases[2].shape == SHAPE


def test_unexpected_failure_of_one_file_does_not_stop_the_others(data, monkeypatch):
    data.add("a")
    data.add("b")
    read = reading.read_volume

    def fail(path):
        if path.name == "a.nii.gz":
            raise RuntimeError("broken library")
        return read(path)

    monkeypatch.setattr(reading, "read_volume", fail)
    report = data.check()
    assert {(f.case, f.message) for f in report.errors} == {("a", "RuntimeError: broken library")}


def test_one_case_is_in_memory_at_a_time(data, monkeypatch):
    for name in "abc":
        data.add(name)
    read, volumes, seen = reading.read_volume, [], []

    def remember(path):
        volume = read(path)
        volumes.append((path.name, weakref.ref(volume.voxels)))
        seen.append({name for name, voxels in volumes if voxels() is not None})
        return volume

    monkeypatch.setattr(reading, "read_volume", remember)
    data.check()
    assert seen == [{f"{name}.nii.gz"} for name in "aabbcc"]
