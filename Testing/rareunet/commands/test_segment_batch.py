"""segment of many scans: one that fails does not stop the others, and nothing is lost where the run is ended."""

from __future__ import annotations

import errno
import os
import signal
import sys
from dataclasses import replace

import numpy as np
import pytest
from command_helpers import cases_of, python
from scan_files import nifti

from rareunet import bundle as bundle_module
from rareunet import predictor as predictor_module
from rareunet.commands import segment as segment_module
from rareunet.volume_files import write_volume


def test_a_failing_scan_is_named_and_the_others_go_on(segment, scans, tmp_path, make_scan, capsys):
    (scans / "aa.nii.gz").write_bytes(b"not an image")
    write_volume(scans / "ab.nii.gz", make_scan((16, 20, 18), channels=2))
    report = tmp_path / "report.json"
    assert segment(scans, "--report", report) == 1
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.nii.gz", "b.nii.gz"]
    cases = {case["case"]: case for case in cases_of(report)}
    assert [cases[name]["status"] for name in ("a", "aa", "ab", "b")] == ["done", "failed", "failed", "done"]
    assert "2 channel(s), the model tiny needs 1" in cases["ab"]["reason"]
    assert "Export one volume of it" in cases["ab"]["reason"]
    assert cases["ab"]["output"] == ""
    errors = capsys.readouterr().err
    assert "aa: failed: " in errors
    assert "ab: failed: " in errors


def test_label_maps_beside_their_scans_are_left_out_and_named_once(
    segment, scans, tmp_path, make_scan, capsys
):
    """As the sample scans lie."""
    for name in ("a-label.nii.gz", "b-label.nii.gz"):
        write_volume(scans / name, make_scan((16, 20, 18)))
    for given in ([scans], sorted(scans.iterdir())):
        assert segment(*given, "--output", tmp_path / "out") == 0
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.nii.gz", "b.nii.gz"]
        assert capsys.readouterr().err.count("a-label.nii.gz, b-label.nii.gz") == 1
    assert segment(scans / "a-label.nii.gz") == 0
    assert (tmp_path / "out" / "a-label.nii.gz").is_file()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has file names that are no text")
def test_what_was_assumed_on_reading_is_told_of_a_refused_scan_too(segment, tmp_path, capsys):
    """The unit of length is why it shows so much."""
    path = nifti(tmp_path / "a.nii", matrix=np.diag([30, 40, 50, 1.0]), xyzt_units=1)
    assert segment(path, "--report", tmp_path / "report.json") == 1
    (case,) = cases_of(tmp_path / "report.json")
    assert "place a region" in case["reason"]
    assert any("unit of length is the metre" in warning for warning in case["warnings"])
    assert "unit of length is the metre" in capsys.readouterr().err


def test_names_that_are_no_text_do_not_end_the_batch(scans, tmp_path, tiny_bundle):
    os.rename(os.fsencode(scans / "a.nii.gz"), os.fsencode(scans) + b"/M\xfcller.nii.gz")
    report = tmp_path / "report.json"
    done = python(
        *("-m", "rareunet", "segment", scans, "--model", tiny_bundle.folder, "--device", "cpu"),
        *("--output", tmp_path / "out", "--report", report),
        PYTHONIOENCODING="utf-8:strict",
    )
    assert done.returncode == 0, done.stderr
    assert [case["status"] for case in cases_of(report)] == ["done", "done"]


def test_full_disk_fails_the_scan_and_keeps_the_old_output(segment, scans, tmp_path, monkeypatch):
    assert segment(scans / "a.nii.gz") == 0
    old = (tmp_path / "out" / "a.nii.gz").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert segment(scans / "a.nii.gz") == 1
    assert (tmp_path / "out" / "a.nii.gz").read_bytes() == old
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a.nii.gz"]


def test_an_unexpected_error_is_one_scan_only(segment, scans, tmp_path, monkeypatch):
    def out_of_memory(*_, **__):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(predictor_module.Predictor, "predict", out_of_memory)
    assert segment(scans, "--report", tmp_path / "report.json") == 1
    assert [c["reason"] for c in cases_of(tmp_path / "report.json")] == ["RuntimeError: out of memory"] * 2


def by_keyboard():
    raise KeyboardInterrupt


def by_scheduler():
    assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL  # which would end the tests
    signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("interrupt", [by_keyboard, by_scheduler])
def test_interruption_reports_what_was_done_so_far(segment, scans, tmp_path, monkeypatch, interrupt):
    before = signal.getsignal(signal.SIGTERM)
    original = predictor_module.Predictor.predict
    calls = []

    def interrupted_at_the_second(self, *arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            interrupt()
        return original(self, *arguments, **options)

    monkeypatch.setattr(predictor_module.Predictor, "predict", interrupted_at_the_second)
    assert segment(scans, "--report", tmp_path / "report.json") == 130
    assert [case["status"] for case in cases_of(tmp_path / "report.json")] == ["done", "not run"]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a.nii.gz"]
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("interrupt", [by_keyboard, by_scheduler])
def test_interruption_while_loading(segment, scans, monkeypatch, interrupt):
    monkeypatch.setattr(bundle_module.Bundle, "load_network", lambda *_: interrupt())
    assert segment(scans) == 130


def test_a_second_sigterm_does_not_cut_the_report_short(segment, scans, tmp_path, monkeypatch):
    monkeypatch.setattr(predictor_module.Predictor, "predict", lambda *_, **__: by_scheduler())
    write = segment_module.write_report

    def signalled_again(*arguments):
        by_scheduler()
        write(*arguments)

    monkeypatch.setattr(segment_module, "write_report", signalled_again)
    assert segment(scans, "--report", tmp_path / "report.json") == 130
    assert [case["status"] for case in cases_of(tmp_path / "report.json")] == ["not run", "not run"]


def test_probabilities_that_can_not_be_written_are_named(segment, scans, tmp_path, monkeypatch):
    def full(path, *arguments):
        raise OSError(errno.ENOSPC, f"{path} could not be written")

    monkeypatch.setattr(segment_module, "write_volume", full)
    report = tmp_path / "report.json"
    assert segment(scans / "a.nii.gz", "--probabilities", "--report", report) == 1
    (case,) = cases_of(report)
    assert case["reason"] == f"{tmp_path / 'out' / 'a_probabilities.nii.gz'} could not be written"
    assert list((tmp_path / "out").iterdir()) == []


def test_a_link_that_leads_to_itself_fails_alone(segment, scans, capsys):
    (scans / "loop.nii.gz").symlink_to("loop.nii.gz")
    assert segment(scans) == 1
    told = capsys.readouterr()
    assert "loop: failed" in told.err
    assert told.out.count("enters at depth") == 2


def test_a_terminal_that_is_gone_does_not_end_the_batch(segment, scans, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise BrokenPipeError

    monkeypatch.setattr("tqdm.tqdm.write", fail)
    assert segment(scans, "--report", tmp_path / "r.json") == 0
    assert [case["status"] for case in cases_of(tmp_path / "r.json")] == ["done", "done"]


def test_older_files_stay_where_the_label_map_can_not_be_written(
    segment, scans, tmp_path, monkeypatch, make_scan
):
    assert segment(scans / "a.nii.gz", "--probabilities") == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def fail(path, *arguments):
        raise OSError(f"{path} could not be written")

    monkeypatch.setattr("rareunet.commands.segment.write_label_map", fail)
    scan = make_scan((16, 20, 18))
    write_volume(scans / "a.nii.gz", replace(scan, voxels=scan.voxels[:, ::-1].copy()))  # another answer
    assert segment(scans / "a.nii.gz", "--probabilities") == 1
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_processes_share_the_scans(segment, scans, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, case in ((0, "a"), (1, "b")):
        monkeypatch.setenv("RANK", str(rank))
        assert segment(scans, "--report", tmp_path / "report.json") == 0
        assert [c["case"] for c in cases_of(tmp_path / f"report.rank{rank}.json")] == [case]


def test_a_rank_without_a_world_size_is_one_process(segment, scans, tmp_path, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("RANK", "3")
    assert segment(scans) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.nii.gz", "b.nii.gz"]
