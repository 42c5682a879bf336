"""What may tell of patients in the text of a training or a check: folders and names of scans, taken out of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from rareunet.volume_files import case_name
from rareunet_training.data.layouts import PAIRS

# They tell of the layout, and of nobody.
USUAL_NAMES = {name for pair in PAIRS for name in pair} | {"dataset"}
# Digits of scans that are merely counted; taken out, they would take other numbers with them.
LONGEST_COUNT = 3
A_FILE = r"(?:[/\\]|\w\.(?:nii|nrrd|nhdr|mha|mhd|dcm|csv)\b)"
# What stands in quotes, or a word; an apostrophe within it is part of it.
PATH = re.compile(
    rf"""(?<!\w)(?P<quote>["'`])(?P<quoted>[^"'`\n]*?{A_FILE}[^"'`\n]*)(?P=quote)(?!\w)"""
    rf"""|(?<![^\s"'`=(])(?:[^\s"'`=(]|\b'\b)*?{A_FILE}(?:[^\s"'`]|\b'\b)*""",
    re.IGNORECASE,
)
# A file of Python's, of a package or of ours is told from the package on: a traceback is of no use without.
CODE = re.compile(
    r"(?:site-packages[/\\]+|python3\.\d+[/\\]|(?=\b(?:rareunet|RAREUNet)\w*[/\\]))([\w./\\-]+\.py(?::\d+)?)$"
)
NO_PATH = re.compile(r"[/\\]|[\d.]+\w*/[\d.]*\w*\]?|https://.*")  # such as 1/4 and 1.2it/s
BETWEEN = re.compile(r"\[file\](?: [\w'-]+){0,3} \[file\]")  # words of one path that holds spaces


def without_paths(text: str) -> str:
    """The text with [file] in the place of what looks like a path or a scan's file, whether it exists or not: of scans
    that can't be read no name is known. Rather a word too many is taken out than one too few."""

    def told(found: re.Match[str]) -> str:
        quote, whole = found["quote"] or "", found["quoted"] or found[0]
        path = whole.rstrip(".,:;)")
        if NO_PATH.fullmatch(path):
            return found[0]
        code = CODE.search(path)
        return f"{quote}{code[1] if code else '[file]'}{whole[len(path) :]}{quote}"

    return BETWEEN.sub("[file]", PATH.sub(told, text))


def without_names(
    text: str, sources: Iterable[str], others: Iterable[str] = (), names: Iterable[str] = ()
) -> str:
    """The text with [folder] and [scan] in the place of paths and of scans' names. Paths may be empty or not exist.

    Args:
        sources: folders of scans and CSV files of cases.
        others: other paths, whose files have names of ours.
        names: further names of scans.
    """
    scans = [Path(source) for source in sources if source]
    hidden = dict.fromkeys(_written(Path.home()), "~")
    hidden |= dict.fromkeys(_telling(names), "[scan]")
    hidden |= {name: "[scan]" for path in scans for name in _scan_names(path)}
    paths = [*scans, *(Path(other) for other in others if other)]
    hidden |= {form: "[folder]" for path in paths for form in _written(path)}
    longest_first = sorted(hidden, key=len, reverse=True)
    # Whole words, or a short name would take letters out of others; in case_0000 and case-label it is one.
    pattern = rf"(?<![^\W_])(?:{'|'.join(map(re.escape, longest_first))})(?![^\W_])"
    return re.sub(pattern, lambda found: hidden[found[0]], text) if hidden else text


def _scan_names(source: Path) -> set[str]:
    """None of what can't be read: a report must come about whatever is wrong with the scans."""
    try:
        return _telling(_in_folder(source) if source.is_dir() else _in_csv(source))
    except OSError:
        return set()


def _telling(found: Iterable[str]) -> set[str]:
    """Those that tell of somebody."""
    names = set(found)
    counts = {name for name in names if name.isdecimal() and len(name) <= LONGEST_COUNT}
    return names - counts - USUAL_NAMES - {""}


def _in_folder(folder: Path) -> Iterator[str]:
    """Of the files in it and in its folders, without the numbers of channels."""
    for path in (*folder.glob("*"), *folder.glob("*/*")):
        yield case_name([path]).removesuffix(".seg")


def _in_csv(file: Path) -> Iterator[str]:
    """All its cells, and the parts of paths in them, but its titles."""
    if file.suffix.lower() == ".csv":
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines()[1:]:
            for word in filter(None, map(str.strip, re.split(r'[,;"/\\]', line))):
                yield from (word, case_name(word))


def _written(path: Path) -> set[str]:
    """A path as messages have it: as it was given, absolute, without links; on Windows also as Python quotes it."""
    paths = {path, path.absolute(), path.resolve()}
    texts = {str(path) for path in paths if path.name}  # not a whole disk
    return texts | {text.replace("\\", other) for text in texts for other in ("\\\\", "/")}
