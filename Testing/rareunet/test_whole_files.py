"""Files are whole, or what was there before."""

import pytest

from rareunet.whole_files import replacing, write_whole


def test_an_error_leaves_the_older_file_and_nothing_else(tmp_path):
    path = tmp_path / "scores.csv"
    write_whole(path, "old")

    def fail():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("scores.csv", "old")]


@pytest.mark.parametrize(
    "name", ["海" * 80 + ".json", "a." + "b" * 240 + ".json", "x.nii.gz", "no_extension"]
)
def test_any_name_that_the_disk_takes_can_be_written(tmp_path, name):
    seen = []
    with replacing(tmp_path / name) as temporary:
        seen.append(temporary.name)
        temporary.write_text("whole")
    assert (tmp_path / name).read_text() == "whole"
    extension = ".nii.gz" if name.endswith(".nii.gz") else (tmp_path / name).suffix
    assert seen[0].endswith(extension)
    assert len(seen[0].encode()) < 200
