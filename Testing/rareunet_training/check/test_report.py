"""The report of a check: on the terminal, as JSON that is read back, as a page; and the command."""

import os
import re
import shlex
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import SimpleITK as sitk

from rareunet import Volume
from rareunet.volume_files import write_volume
from rareunet_training import check
from rareunet_training.__main__ import main
from rareunet_training.check import report as report_module
from rareunet_training.check import summary
from rareunet_training.check.page import spacing_picture, to_html
from rareunet_training.check.table import to_text
from rareunet_training.configuration import ModelConfig
from rareunet_training.data.cases import find_cases

MODEL = ModelConfig(labels=[{"value": 1, "name": "Ball"}])


def add(folder, name, value=1, seed=0, spacing=1.0):
    for sub in ("images", "labels"):
        (folder / sub).mkdir(exist_ok=True)
    matrix = np.diag([1, 1, spacing, 1.0])
    voxels = np.random.default_rng(seed).integers(0, 1000, (4, 5, 6)).astype(np.int16)
    write_volume(folder / "images" / f"{name}.nii.gz", Volume(voxels, matrix))
    label = np.zeros(voxels.shape, np.uint8)
    label[1, 2, 3] = value
    write_volume(folder / "labels" / f"{name}.nii.gz", Volume(label, matrix))


@pytest.fixture
def folder(tmp_path):
    """40 cases, two of which have findings."""
    for number in range(40):
        add(tmp_path, f"case_{number:02d}", seed=number, spacing=4 if number % 2 else 1)
    add(tmp_path, "case_33", value=9, seed=33)
    add(tmp_path, "case_35", seed=34)
    return tmp_path


@pytest.fixture
def report(folder):
    return check.check_cases(find_cases(folder), MODEL)


def test_json_round_trip(report, tmp_path):
    check.write_report(report, tmp_path / "new" / "check.json")
    assert check.read_report(tmp_path / "new" / "check.json") == report
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["check.json"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 1}', '{"format": 1, "cases": [{}]}', '{"format": 0}']
)
def test_other_json_is_refused(tmp_path, text):
    (tmp_path / "check.json").write_text(text)
    with pytest.raises(ValueError, match=r"check\.json holds no report of a check.*check again"):
        check.read_report(tmp_path / "check.json")


def test_failed_write_keeps_the_old_report(report, tmp_path, monkeypatch):
    path = tmp_path / "check.json"
    path.write_text("old")

    def full_disk(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="No space"):
        check.write_report(report, path)
    assert path.read_text(encoding="utf-8") == "old"
    assert not list(tmp_path.glob(".check*"))


def test_a_check_with_a_previous_one_reads_only_what_changed_and_judges_anew(folder, report, monkeypatch):
    cases, read = find_cases(folder), []
    original = report_module.read_case
    monkeypatch.setattr(report_module, "read_case", lambda case: read.append(case.name) or original(case))
    assert check.check_cases(cases, MODEL, previous=report) == report
    assert read == []
    add(folder, "case_07", value=5)
    os.utime(folder / "labels" / "case_09.nii.gz", ns=(1, 1))
    add(folder, "new")
    again = check.check_cases(
        find_cases(folder), replace(MODEL, reference_spacing_mm=[2.0, 2.0, 2.0]), previous=report
    )
    assert read == ["case_07", "case_09", "new"]
    assert {f.case for f in again.errors} == {"case_07", "case_33"}
    assert again.cases[1].axis_depths == (1, 0, 0)
    assert check.check_cases(find_cases(folder), MODEL) == check.check_cases(
        find_cases(folder), MODEL, previous=again
    )


def test_a_case_that_could_not_be_read_is_read_again(folder, monkeypatch):
    """Its files need not change: a package may have been missing, or memory."""
    cases = find_cases(folder)

    def fail(path):
        raise ImportError("SimpleITK is not installed.")

    with monkeypatch.context() as patched:
        patched.setattr("rareunet_training.check.reading.read_volume", fail)
        before = check.check_cases(cases, MODEL)
    assert {finding.case for finding in before.errors} >= {case.name for case in cases}
    assert check.check_cases(cases, MODEL, previous=before) == check.check_cases(cases, MODEL)


def test_header_with_its_voxels_elsewhere_is_always_read(tmp_path):
    add(tmp_path, "a")
    (tmp_path / "images" / "a.nii.gz").unlink()
    voxels = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    image = sitk.GetImageFromArray(voxels)
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / "images" / "a.mhd"))
    cases = find_cases(tmp_path)
    before = check.check_cases(cases, MODEL)
    assert before.findings == ()
    (tmp_path / "images" / "a.raw").write_bytes((voxels + 1).tobytes())
    assert check.check_cases(cases, MODEL, previous=before).cases[0].intensities[0].largest == 120


def test_progress(folder):
    calls = []
    check.check_cases(find_cases(folder), MODEL, lambda: calls.append(1))
    assert len(calls) == 40


def test_table_shows_problems_first_and_not_too_much(report):
    lines = to_text(report).splitlines()
    assert lines[0].split()[:2] == ["case", "voxels"]
    assert lines[1].startswith("case_33  6 x 5 x 4  1 x 1 x 1 ")
    assert lines[1].endswith("1 error")
    assert lines[2].startswith("case_35")
    assert lines[31] == "... and 10 more cases"
    text = "\n".join(lines)
    assert "40 cases: 1 error, 1 warning" in text
    assert "error: case_33: label values [9] are not in the label set" in text
    assert "Ball: in 39 of 40 cases, 0.001 / 0.001 / 0.004 ml" in text
    assert "0 0 0 (22), 0 0 2 (18)" in text
    assert '"fit.patch=[16, 4, 4]"' in text  # 4 slices of 4 mm


def test_many_cases_of_one_finding_are_one_line(tmp_path):
    for number in range(6):
        add(tmp_path, f"c{number}", value=9, seed=number)
    text = to_text(check.check_cases(find_cases(tmp_path), MODEL))
    assert text.count("label values") == 1
    assert "error: c0, c1, c2, c3 and 2 more: label values [9]" in text


class Page(HTMLParser):
    """What a page loads from elsewhere, its elements, and its text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.links, self.text = [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.text += data


def test_page_is_whole_and_escaped(report):
    named = replace(report.cases[0], name="<script>alert(1)</script>")
    page = Page(to_html(replace(report, cases=(named, *report.cases[1:]))))
    assert page.links == []
    assert page.tags.count("script") == 1
    assert page.tags.count("h1") == 1
    assert "<script>alert(1)</script>" in page.text
    assert page.text.index("case_33") < page.text.index("case_02")
    assert "errors stop the training" in page.text


def test_picture_of_the_spacings(report):
    bands, histograms = spacing_picture(report)
    assert [band.text for band in bands] == ["1 mm", "2 mm", "4 mm", "8 mm"]
    assert all(a.right == b.left for a, b in zip(bands, bands[1:], strict=False))
    assert (bands[0].left, bands[-1].right) == (0, 1)
    right, _, superior = histograms
    assert [bar.text for bar in right.bars] == ["40 at about 1 mm"]
    assert [bar.text for bar in superior.bars] == ["22 at about 1 mm", "18 at about 4 mm"]
    assert superior.bars[0].height == pytest.approx(22 / 40)
    for bar, band in zip(superior.bars, (bands[0], bands[2]), strict=True):
        assert bar.left + bar.width / 2 == pytest.approx(band.middle)


def test_page_of_unreadable_cases_alone(tmp_path):
    add(tmp_path, "a")
    for sub in ("images", "labels"):
        (tmp_path / sub / "a.nii.gz").write_text("nothing")
    report = check.check_cases(find_cases(tmp_path), MODEL)
    assert "1 case: 3 errors, 0 warnings" in to_html(report)
    assert "1 case: 3 errors, 0 warnings" in to_text(report)


# The command


def test_command_writes_both_reports_and_fails_on_errors(folder, capsys):
    words = ["check", str(folder), "--report", str(folder / "c.json"), "--report", str(folder / "c.html")]
    label = "model.labels=[{'value': 1, 'name': 'Ball', 'color': [1, 2, 3]}]"
    assert main([*words, label]) == 1
    printed = capsys.readouterr()
    assert "40 cases: 1 error, 1 warning" in printed.out
    assert "label values [9]" in printed.out
    assert len(check.read_report(folder / "c.json").cases) == 40
    assert (folder / "c.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_command_without_a_configuration_accepts_and_proposes(folder, capsys):
    assert main(["check", str(folder / "images"), "--labels", str(folder / "labels")]) == 0
    printed = capsys.readouterr().out
    assert "\"model.channels=['image']\"" in printed
    assert re.search(r"model\.labels=\[.*'value': 9, 'name': 'Label 9'", printed)


def test_command_takes_settings_from_a_configuration(folder, tmp_path, capsys):
    config = tmp_path / "c.toml"
    config.write_text(
        '[data]\nexclude = ["case_33"]\n[model]\nchannels = ["a", "b"]\n'
        '[[model.labels]]\nvalue = 1\nname = "Ball"\ncolor = [1, 2, 3]\n'
    )
    assert main(["check", str(folder), "--config", str(config)]) == 1
    assert "1 channel, the model takes 2 (a, b)" in capsys.readouterr().out
    assert main(["check", str(folder), "--config", str(config), "model.channels=['T1']"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere does not exist: accepted are"),
        (["{folder}", "--report", "c.txt"], "ends in .txt, choose .json or .html"),
        (["{folder}", "--labels", "nowhere"], "nowhere is not a folder"),
        (["{folder}", "model.colour=1"], "unknown configuration model.colour"),
        (["{folder}", "--config", "none.toml"], "none.toml"),
        (["{folder}", "data.exclude=['x']"], "no cases ['x'] to leave out"),
    ],
)
def test_wrong_usage_is_exit_code_2(folder, capsys, words, message):
    assert main(["check", *(word.format(folder=folder) for word in words)]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""


def test_what_a_shell_would_carry_out_is_quoted_in_proposals(report):
    odd = replace(report, proposed_channels=("T1 $HOME `x`",))
    (line,) = (line for line in summary.proposals(odd) if "channels" in line)
    assert shlex.split(line) == ["model.channels=['T1 $HOME `x`']"]
    assert line.startswith("'")
