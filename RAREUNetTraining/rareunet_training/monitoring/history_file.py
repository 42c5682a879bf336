"""history.csv: a row per epoch. The panel reads it by this file, in a Python that may lack PyTorch."""

from __future__ import annotations

import csv
from pathlib import Path

from rareunet.whole_files import replacing

Row = dict[str, float]


def write_history(path: Path, rows: list[Row]) -> None:
    """Writes all rows; a column of any row is a column of the file. Replaces the file in one go."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    # Losses and Dice of views that an early epoch lacks come beside their like, not at the end.
    kinds = ("loss", "dice")
    columns.sort(key=lambda name: kinds.index(kind) if (kind := name.split(" ")[0]) in kinds else -1)
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def read_history(path: Path) -> list[Row]:
    """The rows, without their empty cells; none where there is no file.

    A row that another program has spoilt is empty: it has no epoch, a word for a number, or more cells than columns.

    Raises:
        OSError: the file can't be opened.
    """
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8", errors="replace") as file:
        try:
            return [_numbers(cells) for cells in csv.DictReader(file)]
        except csv.Error:
            return [{}]


def _numbers(cells: dict[str, str]) -> Row:
    try:
        row = {name: int(text) if name == "epoch" else float(text) for name, text in cells.items() if text}
    except (ValueError, TypeError):
        return {}
    return row if "epoch" in row else {}
