"""Reports of a check on disk: JSON for programs and for later runs, HTML for people."""

from __future__ import annotations

from pathlib import Path

from rareunet.whole_files import check_report_path, make_folder, write_whole
from rareunet_training.check.page import to_html
from rareunet_training.check.report import CheckReport

FORMATS = (".json", ".html")


def read_report(path: str | Path) -> CheckReport:
    """Reads a report that was written as JSON.

    Raises:
        ValueError: it is none, or of another version: check again.
        OSError: it can't be read.
    """
    try:
        return CheckReport.from_json(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} holds {error}. Delete it and check again.") from None


def write_report(report: CheckReport, path: str | Path) -> None:
    """Writes JSON or HTML by the path's extension; an older report stays until the new one is whole."""
    path = Path(path)
    check_report_path(path, FORMATS)
    text = report.to_json() if path.suffix.lower() == ".json" else to_html(report)
    make_folder(path.parent)
    write_whole(path, text)
