"""Where the scans and label maps of a data set lie: the accepted layouts, and what a dataset.json says of them.

Nothing is read here but names, CSV files and dataset.json; a file that is missing is found when its case is read.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from rareunet.volume_files import case_name, images_in

# Folders of images and of label maps: Decathlon and nnU-Net, the published code, plain.
PAIRS = (("imagesTr", "labelsTr"), ("images", "masks"), ("images", "labels"))
ACCEPTED = (
    "accepted are a folder with imagesTr and labelsTr (Medical Segmentation Decathlon, nnU-Net), with images and"
    " masks or labels, a folder of images beside a folder of label maps, or a CSV file with the columns case, image"
    " (or one per channel), label"
)


class CaseFiles(NamedTuple):
    """The files of a case: one image per channel or one with all, its label map, and names of the images if known."""

    name: str
    images: tuple[Path, ...]
    label: Path
    channels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Description:
    """What a dataset.json says: names of the channels, in order, and of the label values."""

    channels: tuple[str, ...] = ()
    labels: dict[int, str] = field(default_factory=dict)


def find_files(source: Path, labels: str | Path = "") -> list[CaseFiles]:
    """The cases of a data set, sorted by name in folders and in the order of the rows in a CSV file.

    Raises:
        ValueError: the layout is none of ACCEPTED, or two cases have the same name.
    """
    if labels:
        cases = _in_folders(_folder(source), _folder(Path(labels)))
    elif source.is_dir():
        cases = _in_folders(*_pair_in(source))
    elif source.suffix.lower() == ".csv" and source.is_file():
        cases = _in_csv(source)
    else:
        found = "is not a data set" if source.exists() else "does not exist"
        raise ValueError(f"{source} {found}: {ACCEPTED}.")
    counts = Counter(case.name for case in cases)
    if twice := sorted(name for name, count in counts.items() if count > 1):
        raise ValueError(f"{source}: more than one case is named {', '.join(twice[:5])}. Rename one of them.")
    return cases


def labels_without_scan(source: Path, labels: str | Path = "") -> list[str]:
    """Names of the label maps in folders that belong to no scan of find_files; a CSV file names those it means."""
    if not (labels or source.is_dir()):
        return []
    images, maps = (source, Path(labels)) if labels else _pair_in(source)
    used = {case.label for case in _in_folders(images, maps)}
    return [path.name for path in images_in(maps) if path not in used]


def read_description(folders: Iterable[Path]) -> Description:
    """The first dataset.json in these folders; an empty description where there is none that can be used."""
    for folder in folders:
        try:
            content = json.loads((folder / "dataset.json").read_text(encoding="utf-8-sig"))
        except (OSError, ValueError):
            continue
        if isinstance(content, dict):
            channels = content.get("channel_names", content.get("modality"))
            return Description(_channel_names(channels), _label_names(content.get("labels")))
    return Description()


def _channel_names(section: Any) -> tuple[str, ...]:
    """{"0": "FLAIR", "1": "T1"} -> ("FLAIR", "T1")."""
    if not isinstance(section, dict) or not all(str(key).isdecimal() for key in section):
        return ()
    return tuple(str(section[key]) for key in sorted(section, key=int))


def _label_names(section: Any) -> dict[int, str]:
    """{"1": "Anterior"} (Decathlon) or {"Anterior": 1} (nnU-Net) -> {1: "Anterior"}, without the background."""
    pairs = section.items() if isinstance(section, dict) else ()
    names = {}
    for key, value in pairs:
        value, name = (key, value) if str(key).isdecimal() and isinstance(value, str) else (value, key)
        if str(value).isdecimal() and int(value) > 0:
            names[int(value)] = str(name)
    return names


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise ValueError(f"{path} is not a folder: with a folder of labels, {ACCEPTED}.")
    return path


def _pair_in(folder: Path) -> tuple[Path, Path]:
    """The folders of images and of label maps in a data set."""
    for images, labels in PAIRS:
        if (folder / images).is_dir() and (folder / labels).is_dir():
            return folder / images, folder / labels
    if images_in(folder):
        raise ValueError(
            f"{folder} holds images beside each other: put label maps into a folder of their own and name it"
            f" (data.labels, or --labels of check); {ACCEPTED}."
        )
    inside = sorted(path.name for path in folder.iterdir() if path.is_dir())
    raise ValueError(f"{folder} holds the folders {', '.join(inside[:8]) or '(none)'}: {ACCEPTED}.")


def _in_folders(images: Path, labels: Path) -> list[CaseFiles]:
    """Pairs images with the label maps of their names; case_0000, case_0001 ... are channels of the label map `case`,
    which Slicer saves as case.seg.nrrd.

    Where a label map or a channel is missing, the case names the file that should be there.
    """
    maps: dict[str, Path] = {}
    for path in images_in(labels):
        if (name := case_name(path)) in maps:
            raise ValueError(f"{labels}: {path.name} and {maps[name].name} have the same name: keep one.")
        maps[name] = path
    maps = {name.removesuffix(".seg"): path for name, path in maps.items()} | maps
    groups: dict[str, list[Path]] = {}
    for path in images_in(images):
        name, stem = case_name(path), case_name([path])
        groups.setdefault(stem if name not in maps and stem in maps else name, []).append(path)
    if not groups:
        raise ValueError(f"{images} holds no scan in a known format. Folders within it are not searched.")
    return [
        CaseFiles(name, _channels(name, files), maps.get(name, labels / f"{name}.nii.gz"))
        for name, files in sorted(groups.items())
    ]


def _channels(name: str, files: Sequence[Path]) -> tuple[Path, ...]:
    """The channel files in order, with the names of those that are missing in between."""
    numbered: dict[int, Path] = {}
    for file in files:
        match = re.fullmatch(r"_(\d{4})", case_name(file)[len(name) :])
        number = int(match[1]) if match else -1
        if number in numbered:
            raise ValueError(
                f"{file.parent}: {numbered[number].name} and {file.name} are both the same channel of {name}: keep one."
            )
        numbered[number] = file
    if -1 in numbered:
        if len(files) > 1:
            raise ValueError(
                f"{files[0].parent}: {name} is there as one file and as channels ({', '.join(f.name for f in files)}):"
                " keep one of the two."
            )
        return tuple(files)
    ending = files[0].name[len(case_name(files[0])) :]
    return tuple(
        numbered.get(i, files[0].with_name(f"{name}_{i:04d}{ending}")) for i in range(max(numbered) + 1)
    )


def _in_csv(path: Path) -> list[CaseFiles]:
    """Rows of case, image columns, label; relative paths start at the CSV file's folder."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text: save it as 'CSV UTF-8'.") from None
    header = lines[0] if lines else ""
    rows = list(csv.reader(lines, delimiter=";" if header.count(";") > header.count(",") else ","))
    titles = [title.strip() for title in rows[0]] if rows else []
    columns = [title.lower() for title in titles]
    if not columns or columns[0] != "case" or "label" not in columns[2:]:
        raise ValueError(f"{path} has the columns {', '.join(columns) or '(none)'}: {ACCEPTED}.")
    width = columns.index("label") + 1
    cases = []
    for number, row in enumerate(rows[1:], start=2):
        cells = [cell.strip() for cell in row[:width]]
        if not any(cells):
            continue
        if len(cells) < width or not all(cells):
            raise ValueError(f"{path}, row {number}: each of {', '.join(columns[:width])} needs a value.")
        if re.search(r"[/\\]", cells[0]):
            raise ValueError(f"{path}, row {number}: the case {cells[0]!r} names files: leave out / and \\.")
        files = [path.parent / cell for cell in cells[1:]]
        cases.append(CaseFiles(cells[0], tuple(files[:-1]), files[-1], tuple(titles[1 : width - 1])))
    return cases
