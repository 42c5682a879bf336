"""segment: what is read, what is written and reported, and what is refused."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from command_helpers import cases_of, python
from turns import turned_world

from rareunet import bundle as bundle_module
from rareunet.__main__ import main
from rareunet.volume_files import read_volume, write_volume


def write_slices(folder: Path, uid: str, voxels: np.ndarray) -> None:
    """Writes voxels (Z, Y, X) as a DICOM series of 1 mm."""
    for z, voxels_of_slice in enumerate(voxels):
        image = sitk.GetImageFromArray((voxels_of_slice * 100).astype(np.int16)[np.newaxis])
        image.SetMetaData("0008|0060", "MR")
        image.SetMetaData("0020|000e", uid)
        image.SetMetaData("0008|0018", f"{uid}.{z + 1}")
        image.SetMetaData("0020|0032", f"0\\0\\{z}")
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / f"{uid}_{z}.dcm"))
        writer.Execute(image)


def test_as_a_program(scans, tmp_path, tiny_bundle):
    done = python(
        "-m", "rareunet", "segment", scans, "--output", tmp_path / "out", "--model", tiny_bundle.folder
    )
    assert done.returncode == 0, done.stderr
    assert "a: 1.0 x 1.0 x 1.0 mm: enters at depth 0. Done on" in done.stdout
    assert "b: 1.0 x 1.0 x 4.0 mm: enters at depth 0, z at depth 2. Done on" in done.stdout
    assert "\r" not in done.stderr  # no progress bar where nobody looks
    assert python("-m", "rareunet").returncode == 2


def test_memory_is_limited(segment, scans, make_scan, capsys):
    write_volume(scans / "large.nii.gz", make_scan((48, 48, 48)))
    assert segment(scans / "large.nii.gz", "--memory", "0.000001") == 1
    assert "allow more memory" in capsys.readouterr().err
    assert segment(scans / "large.nii.gz", "--memory", "4") == 0


@pytest.mark.parametrize("memory", ["0", "-1", "nan", "inf", "much"])
def test_memory_must_be_a_number_above_0(segment, scans, memory, capsys):
    with pytest.raises(SystemExit) as exit_info:
        segment(scans, f"--memory={memory}")
    assert exit_info.value.code == 2
    assert "give GB above 0" in capsys.readouterr().err


def test_a_memory_limit_is_told_with_its_digits(segment, scans, make_scan, capsys):
    write_volume(scans / "large.nii.gz", make_scan((48, 48, 48)))
    assert segment(scans / "large.nii.gz", "--memory", "0.0002") == 1
    assert "may use 0.0002 GB" in capsys.readouterr().err


def test_label_maps_lie_on_the_grids_of_their_scans(segment, scans, tmp_path):
    assert segment(scans) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.nii.gz", "b.nii.gz"]
    for name in ("a.nii.gz", "b.nii.gz"):
        scan, answer = read_volume(scans / name), read_volume(tmp_path / "out" / name)
        assert answer.shape == scan.shape
        np.testing.assert_allclose(answer.ijk_to_ras, scan.ijk_to_ras, atol=1e-4)
        assert set(np.unique(answer.voxels)) <= {0, 5, 9}


def test_what_was_found_is_told_with_the_file(segment, scans, tmp_path, capsys):
    assert segment(scans) == 0
    lines = capsys.readouterr().out.splitlines()
    label_map = read_volume(tmp_path / "out" / "b.nii.gz").voxels
    ml = [np.count_nonzero(label_map == value) * 4 / 1000 for value in (5, 9)]
    assert lines[1].endswith(f"five {ml[0]:.2f} ml, nine {ml[1]:.2f} ml -> {tmp_path / 'out' / 'b.nii.gz'}")


def test_a_structure_alone(segment, scans, tmp_path, capsys):
    assert segment(scans / "a.nii.gz", "--structure", "nine") == 0
    assert set(np.unique(read_volume(tmp_path / "out" / "a.nii.gz").voxels)) == {0, 9}
    assert "five" not in capsys.readouterr().out
    report = tmp_path / "report.json"
    assert segment(scans / "a.nii.gz", "--structure", "nine", "--structure", "five", "--report", report) == 0
    assert cases_of(report)[0]["structures"] == ["nine", "five"]
    assert set(np.unique(read_volume(tmp_path / "out" / "a.nii.gz").voxels)) == {0, 5, 9}


def test_label_maps_to_be_replaced_are_told_beforehand(segment, scans, tmp_path, capsys):
    assert segment(scans / "a.nii.gz") == 0
    assert "replaced" not in capsys.readouterr().err
    assert segment(scans) == 0
    told = capsys.readouterr().err
    assert f"there already, to be replaced: {tmp_path / 'out' / 'a.nii.gz'}.\n" in told


def test_json_report_says_what_was_done(segment, scans, tmp_path, tiny_bundle):
    report = tmp_path / "reports" / "report.json"
    assert segment(scans, "--report", report) == 0
    thick = cases_of(report)[1]
    assert thick["case"] == "b"
    assert thick["status"] == "done"
    assert thick["reason"] == ""
    assert thick["input"] == [str(scans / "b.nii.gz")]
    assert thick["output"] == str(tmp_path / "out" / "b.nii.gz")
    assert thick["spacing_mm"] == {"x": 1, "y": 1, "z": 4}
    assert thick["axis_depths"] == {"x": 0, "y": 0, "z": 2}
    assert thick["resampled_axes"] == []
    assert thick["device"] == "cpu"
    assert set(thick["seconds"]) == {"prepare", "network", "finish"}
    assert set(thick["volumes_ml"]) == {"five", "nine"}
    assert 0 < thick["certainty"] < 1
    assert (thick["roi"], thick["entry_depth"]) == ("", "auto")
    assert thick["model"] == {"name": "tiny", "version": "0.1.0", "sha256": tiny_bundle.sha256}
    assert [p.name for p in report.parent.iterdir()] == ["report.json"]


def test_csv_report_has_one_row_per_scan(segment, scans, tmp_path):
    report = tmp_path / "report.csv"
    assert segment(scans, scans / "gone.nii.gz", "--report", report) == 1
    with open(report, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["done", "done", "failed"]
    assert rows[1]["spacing_mm.z"] == "4.0"
    assert float(rows[1]["seconds.network"]) > 0
    assert (0 < float(rows[1]["certainty"]) < 1, rows[2]["certainty"]) == (True, "")
    assert "does not exist" in rows[2]["reason"]


def test_segments_saved_by_slicer_are_no_scans(segment, scans, make_scan, tmp_path, capsys):
    write_volume(scans / "a.seg.nrrd", make_scan((16, 20, 18)))
    assert segment(scans) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.nii.gz", "b.nii.gz"]
    assert segment(scans / "a.seg.nrrd") == 1
    assert "a.seg.nrrd: segments, not a scan. Give the scan that they belong to" in capsys.readouterr().err


def test_the_model_is_loaded_once(segment, scans, monkeypatch):
    loaded = []
    original = bundle_module.Bundle.load_network
    monkeypatch.setattr(
        bundle_module.Bundle, "load_network", lambda self, device: loaded.append(1) or original(self, device)
    )
    assert segment(scans) == 0
    assert len(loaded) == 1


@pytest.mark.parametrize("right", ["-2", "-2.0", "-.2e1"])
def test_region_with_negative_coordinates(segment, scans, tmp_path, right):
    report = tmp_path / "r.json"
    assert segment(scans / "a.nii.gz", "--roi", f"{right},15,10,12,14,14", "--report", report) == 0
    assert cases_of(report)[0]["roi"] == "-2,15,10,12,14,14"
    label_map = read_volume(tmp_path / "out" / "a.nii.gz").voxels[0]
    assert label_map.any()
    assert not label_map[:, :, 15:].any()  # x from 5 mm on


def test_fixed_entry_depth(segment, scans, tmp_path):
    assert segment(scans, "--entry-depth", 1, "--report", tmp_path / "r.json") == 0
    for case in cases_of(tmp_path / "r.json"):
        assert set(case["axis_depths"].values()) == {1}
        assert case["entry_depth"] == "1"


def test_large_scan_needs_force(segment, tmp_path, make_scan):
    write_volume(tmp_path / "large.nii.gz", make_scan((100, 20, 20)))
    assert segment(tmp_path / "large.nii.gz", "--report", tmp_path / "r.json") == 1
    reason = cases_of(tmp_path / "r.json")[0]["reason"]
    assert "region of interest" in reason
    assert "--roi" in reason
    assert "--force" in reason
    assert segment(tmp_path / "large.nii.gz", "--force", "--report", tmp_path / "r.json") == 0
    assert "false findings" in cases_of(tmp_path / "r.json")[0]["warnings"][0]


def test_probabilities_lie_beside_the_label_map(segment, scans, tmp_path):
    assert segment(scans / "a.nii.gz", "--probabilities") == 0
    probabilities = read_volume(tmp_path / "out" / "a_probabilities.nii.gz")
    assert probabilities.voxels.shape == (3, 16, 20, 18)
    np.testing.assert_allclose(probabilities.voxels.sum(axis=0), 1, atol=1e-5)


def test_report_tells_the_spacing_of_a_turned_scan_itself(segment, tmp_path, make_scan):
    """It is brought to a straight grid, whose spacing is another."""
    scan = make_scan((10, 20, 20), (1.0, 1.0, 2.0))
    write_volume(tmp_path / "turned.nii.gz", replace(scan, ijk_to_ras=turned_world(40, 2) @ scan.ijk_to_ras))
    assert segment(tmp_path / "turned.nii.gz", "--report", tmp_path / "r.json") == 0
    (case,) = cases_of(tmp_path / "r.json")
    assert case["spacing_mm"] == pytest.approx({"x": 1, "y": 1, "z": 2})
    assert "turned by 40 degrees" in case["route"]


def test_a_folder_of_dicom_and_other_images_is_refused(segment, tmp_path, make_scan, capsys):
    (tmp_path / "knee").mkdir()
    write_slices(tmp_path / "knee", "1.2.3.4", make_scan((16, 20, 18)).voxels[0])
    assert segment(tmp_path / "knee") == 0
    write_volume(tmp_path / "knee" / "knee.nii.gz", make_scan((16, 20, 18)))
    assert segment(tmp_path / "knee") == 2
    assert "holds DICOM files and other images (knee.nii.gz)" in capsys.readouterr().err


def test_series_of_a_dicom_folder(segment, tmp_path, make_scan, capsys):
    (tmp_path / "knee").mkdir()
    for uid, size in (("1.2.3.4", 16), ("1.2.3.5", 20)):
        write_slices(tmp_path / "knee", uid, make_scan((size, 20, 18)).voxels[0])
    assert segment(tmp_path / "knee") == 1
    assert "--series" in capsys.readouterr().err
    assert segment(tmp_path / "knee", "--series", "1.2.3.5") == 0
    assert read_volume(tmp_path / "out" / "knee.nii.gz").shape == (20, 20, 18)


def test_outputs_of_a_scan_without_forms_have_none_either(segment, scans, tmp_path, make_scan):
    image = nibabel.Nifti1Image(make_scan((16, 20, 18)).voxels[0].T, None)
    nibabel.save(image, scans / "open.nii")
    assert segment(scans / "open.nii", "--probabilities") == 0
    for name in ("open.nii.gz", "open_probabilities.nii.gz"):
        header = nibabel.load(tmp_path / "out" / name).header
        assert header["sform_code"] == header["qform_code"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "toaster"], "unknown device"),
        (["--device", "cuda:99"], "can't be used"),
        (["--model", "nosuch"], "no model 'nosuch'"),
        (["--entry-depth", "7"], "has 0 to 3"),
        (["--entry-depth", "deep"], "choose auto"),
        (["--structure", "ten"], "has no structure ten: choose from five, nine"),
        (["--roi", "1,2,3"], "six numbers"),
        (["--roi", "1,2,3,4,5,-6"], "positive"),
        (["--report", "report.txt"], "choose .json or .csv"),
        (["--report", "report"], "choose .json or .csv"),
        (["--surprise"], "--surprise"),
        (["--output", "FILE"], "is not a folder and can't be made one"),
        (["--output", "FILE/out"], "is not a folder and can't be made one"),
        (["--report", "FILE/report.csv"], "choose a name that is free"),
    ],
    ids=str,
)
def test_wrong_usage_is_2_and_writes_nothing(scans, tmp_path, tiny_bundle, capsys, options, message):
    defaults = ["--model", tiny_bundle.folder, "--device", "cpu"]
    (tmp_path / "file").touch()
    options = [option.replace("FILE", str(tmp_path / "file")) for option in options]
    words = ["segment", scans, "--output", tmp_path / "out", *defaults, *options]
    try:
        code = main([str(word) for word in words])
    except SystemExit as exit_info:
        code = exit_info.code
    assert code == 2
    assert message in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*"))


def test_two_scans_of_one_name_are_refused(segment, scans, tmp_path, make_scan, capsys):
    (tmp_path / "more").mkdir()
    write_volume(tmp_path / "more" / "A.nii", make_scan())
    assert segment(scans, tmp_path / "more" / "A.nii") == 2
    assert "more than one scan would be written to" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_scan_is_never_overwritten(scans, tiny_bundle, capsys):
    before = (scans / "a.nii.gz").read_bytes()
    assert main(["segment", str(scans), "--output", str(scans), "--model", str(tiny_bundle.folder)]) == 2
    assert "is an input" in capsys.readouterr().err
    assert (scans / "a.nii.gz").read_bytes() == before


def test_numbered_files_are_scans_of_their_own_for_a_model_of_one_channel(segment, tmp_path, make_scan):
    (tmp_path / "scans").mkdir()
    for number in range(3):
        write_volume(tmp_path / "scans" / f"patient_{number:04d}.nii.gz", make_scan())
    assert segment(tmp_path / "scans") == 0
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["patient.nii.gz", "patient_0001.nii.gz", "patient_0002.nii.gz"]


def test_folder_without_scans_is_wrong_usage(segment, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert segment(tmp_path / "empty") == 2
    assert "holds no scan" in capsys.readouterr().err
