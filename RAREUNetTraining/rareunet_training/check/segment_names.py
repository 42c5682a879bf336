"""What Slicer's .seg.nrrd files call their label values.

Slicer numbers segments as they were drawn: a structure may have another value in the next case, and its name alone
shows it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rareunet.files.itk import ITK_READERS, simpleitk
from rareunet.wording import some
from rareunet_training.check.facts import ERROR, WARNING, CaseReading, Finding

NRRD = "NrrdImageIO"
WHAT_TO_DO = (
    " Give each structure one value and one name in all cases: in Slicer, rename the segments and export them to label"
    " maps (module Segmentations, Export) with 'Use color table values' and one color table for all."
)

Uses = Mapping[str, Sequence[str]]


def read_segment_names(path: Path) -> dict[int, str]:
    """Names of the segments by label value, from the header of a label map; none but an NRRD of Slicer's has them."""
    if ITK_READERS.get(path.suffix.lower()) != NRRD:
        return {}
    reader = simpleitk().ImageFileReader()
    reader.SetImageIO(NRRD)
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    header = {key: reader.GetMetaData(key).strip() for key in reader.GetMetaDataKeys()}
    named = {
        header.get(f"{key.removesuffix('_Name')}_LabelValue", ""): name
        for key, name in header.items()
        if key.startswith("Segment") and key.endswith("_Name")
    }
    return {int(value): name for value, name in named.items() if value.isdecimal() and name}


def segment_names(cases: Iterable[CaseReading]) -> dict[int, str]:
    """One name for each value that has one, no name twice."""
    names: dict[int, str] = {}
    for volume in (volume for case in cases for volume in case.label_volumes):
        if volume.name and volume.name not in names.values():
            names.setdefault(volume.value, volume.name)
    return names


def naming_errors(cases: Iterable[CaseReading]) -> list[Finding]:
    """Values with several names; if there are none, names without a value that all their cases share."""
    by_value: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    by_name: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    spelled: dict[str, str] = {}
    for case in cases:
        for volume in (volume for volume in case.label_volumes if volume.name):
            name = spelled.setdefault(volume.name.casefold(), volume.name)
            by_value[volume.value][name].append(case.name)
            by_name[name][case.name].add(volume.value)
    found = [_told(f"label {v}", uses) for v, uses in sorted(by_value.items()) if len(uses) > 1]
    if not found:
        for name, values in by_name.items():
            if not set.intersection(*values.values()):
                found.append(_told(name, _by_values(values)))
    return [Finding(ERROR, "", text + WHAT_TO_DO) for text in found]


def labels_named_otherwise(named: Mapping[int, str], source: str, labels: Mapping[int, str]) -> list[Finding]:
    """Values that a source calls other than the model does; an error where that name is another of the model's labels.

    Args:
        named: the source's names by value.
        source: what it is, for the message.
        labels: the model's names by value.
    """
    values = {name.casefold(): value for value, name in labels.items()}
    found = []
    for value, name in named.items():
        ours = labels.get(value, name)
        if name.casefold() == ours.casefold():
            continue
        told = f"label {value} is {name} in {source}, but {ours} in model.labels"
        if name.casefold() in values:
            text = f"{told}, where {name} is label {values[name.casefold()]}: correct the values in model.labels."
            found.append(Finding(ERROR, "", text))
        else:
            found.append(Finding(WARNING, "", f"{told}: make sure that they are the same structure."))
    return found


def _by_values(values_of_cases: Mapping[str, Iterable[int]]) -> Uses:
    uses = defaultdict(list)
    for case, values in values_of_cases.items():
        uses[" and ".join(f"label {value}" for value in sorted(values))].append(case)
    return uses


def _told(what: str, uses: Uses) -> str:
    """Such as "label 1 is Liver in a, b; Spleen in c, as their .seg.nrrd files say."."""
    used = "; ".join(f"{use} in {some(names)}" for use, names in uses.items())
    return f"{what} is {used}, as their .seg.nrrd files say."
