"""Judges what was read by what the model expects, case by case and over the whole data set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from rareunet.architecture import PRESETS, Architecture
from rareunet.bundle_format import LARGEST_LABEL
from rareunet.geometry import Triple
from rareunet.oblique import LARGEST_TILT, LEARNT_SHARE, learns_turned
from rareunet.routing import route_for
from rareunet.wording import some, times
from rareunet_training.check.facts import (
    ERROR,
    WARNING,
    CaseFacts,
    CaseReading,
    Finding,
    label_values,
    usual_channels,
)
from rareunet_training.check.segment_names import labels_named_otherwise, naming_errors, segment_names
from rareunet_training.data.cases import MOST_NAMED, channel_order_problem
from rareunet_training.setting_rules import MOST_LABELS

if TYPE_CHECKING:
    from rareunet_training.configuration import ModelConfig

MUCH_FINER = 4.0  # than the reference spacing: a patch then has up to 64 times the voxels


@dataclass(frozen=True)
class Expectations:
    """What the model that is to be trained needs of a case.

    Attributes:
        reference_spacing_mm: (S, A, R) of depth 0.
        deepest: deepest entry depth.
        channels: names, in order; none given accepts the number that most cases have.
        labels: names by value; none given accepts every value.
    """

    reference_spacing_mm: Triple
    deepest: int
    channels: tuple[str, ...]
    labels: dict[int, str]

    @classmethod
    def of(cls, model: ModelConfig) -> Expectations:
        z, y, x = model.reference_spacing_mm
        network = {"gateways": Architecture.gateways, **PRESETS[model.preset], **model.network}
        labels = {int(label["value"]): str(label["name"]) for label in model.labels}
        return cls((z, y, x), int(network["gateways"]), tuple(model.channels), labels)


def judge(reading: CaseReading, expected: Expectations, names: Mapping[int, str]) -> CaseFacts:
    """What a reading means to the model; `names` are the structures' by label value."""
    errors = [*reading.errors, *_label_errors(reading, expected)]
    warnings = list(reading.warnings)
    depths = None
    if reading.spacing_mm is not None:
        errors += _channel_errors(reading, expected)
        warnings += _intensity_warnings(reading, expected)
        warnings += _spacing_warnings(reading.spacing_mm, expected.reference_spacing_mm)
        route = route_for(reading.spacing_mm, expected.reference_spacing_mm, expected.deepest)
        depths, warnings = route.axis_depths, warnings + list(route.warnings)
        if all(_is_constant(reading, channel) for channel in range(len(reading.intensities))):
            errors.append(
                "the scan is constant, there is nothing to learn from: export it again or leave it out."
            )
    findings = [Finding(ERROR, reading.name, text) for text in errors]
    findings += [Finding(WARNING, reading.name, text) for text in warnings]
    volumes = {names.get(v.value, f"label {v.value}"): v.ml for v in reading.label_volumes}
    known = {field.name: getattr(reading, field.name) for field in fields(CaseReading)}
    return CaseFacts(**known, axis_depths=depths, volumes_ml=volumes, findings=tuple(findings))


def findings_of_all(
    cases: Sequence[CaseFacts],
    expected: Expectations,
    named_channels: Sequence[str],
    named_labels: Mapping[int, str],
) -> list[Finding]:
    """Every finding of the cases, and those that only all cases together show; errors first.

    Args:
        named_channels: what the data set calls the channels, in order.
        named_labels: what its dataset.json calls the label values.
    """
    found = [finding for case in cases for finding in case.findings]
    if problem := channel_order_problem(named_channels, expected.channels):
        found.append(Finding(ERROR, "", problem))
    found += [*_duplicates(cases), *_odd_channel_numbers(cases, expected), *_missing_labels(cases, expected)]
    found += _too_many_labels(cases, expected)
    found += _few_turned(cases)
    by_segments = labels_named_otherwise(segment_names(cases), "the .seg.nrrd files", expected.labels)
    found += naming_errors(cases) or by_segments
    # Names there are often shorter than a model's, or in another language: only exchanged ones tell of an error.
    otherwise = labels_named_otherwise(named_labels, "dataset.json", expected.labels)
    found += [finding for finding in otherwise if finding.severity == ERROR]
    return sorted(found, key=lambda finding: finding.severity != ERROR)


def _label_errors(reading: CaseReading, expected: Expectations) -> list[str]:
    values = [volume.value for volume in reading.label_volumes]
    known = expected.labels or {value: "" for value in values if 0 < value <= LARGEST_LABEL}
    unknown = [value for value in values if value not in known]
    if not unknown:
        return []
    names = some([f"{value} ({name})" for value, name in expected.labels.items()], MOST_NAMED)
    return [
        f"label values [{some([*map(str, unknown)])}] are not in the label set: accepted are 0 and"
        f" {names or f'1 to {LARGEST_LABEL}'}."
        " Correct the label map or add them to model.labels."
    ]


def _channel_errors(reading: CaseReading, expected: Expectations) -> list[str]:
    if not expected.channels or reading.channels == len(expected.channels):
        return []
    return [
        f"{_count(reading.channels, 'channel')}, the model takes {len(expected.channels)}"
        f" ({', '.join(expected.channels)}): give one image for each, or name the channels in model.channels."
    ]


def _intensity_warnings(reading: CaseReading, expected: Expectations) -> list[str]:
    warnings = []
    for channel, found in enumerate(reading.intensities):
        several = len(reading.intensities) > 1
        named = expected.channels if len(expected.channels) == len(reading.intensities) else ()
        where = f"channel {named[channel] if named else channel}" if several else "the scan"
        if found.not_finite:
            warnings.append(
                f"{where} is NaN or infinite in {_count(found.not_finite, 'voxel')}: they become 0."
            )
        if several and _is_constant(reading, channel):
            warnings.append(f"{where} is constant: it tells the network nothing.")
    return warnings


def _spacing_warnings(spacing_mm: Triple, reference_mm: Triple) -> list[str]:
    """A scan in another unit, or one for which the reference spacing is far too coarse."""
    finer = max(ref / mm for mm, ref in zip(spacing_mm, reference_mm, strict=True))
    if finer < MUCH_FINER:
        return []
    return [
        f"voxels of {times(reversed(spacing_mm), '.3g')} mm (R x A x S), {finer:.3g} times finer than the reference"
        f" spacing of {times(reversed(reference_mm), '.3g')} mm: patches of it are large. Correct the unit if it is not"
        " mm, choose a model.reference_spacing_mm that suits the scans, or leave this one out."
    ]


def _is_constant(reading: CaseReading, channel: int) -> bool:
    found = reading.intensities[channel]
    return found.smallest == found.largest


def _duplicates(cases: Iterable[CaseFacts]) -> list[Finding]:
    names_by_hash = defaultdict(list)
    for case in cases:
        if case.voxel_hash:
            names_by_hash[case.voxel_hash].append(case.name)
    return [
        Finding(
            WARNING,
            name,
            f"the same voxels as {', '.join(n for n in names if n != name)}: in training and validation at once they"
            " flatter the scores. Keep one of them.",
        )
        for names in names_by_hash.values()
        for name in names[1:]
    ]


def _odd_channel_numbers(cases: Sequence[CaseFacts], expected: Expectations) -> list[Finding]:
    """Without named channels, the number that most cases have is the right one."""
    if expected.channels:
        return []
    usual = usual_channels(cases)
    return [
        Finding(
            ERROR,
            case.name,
            f"{_count(case.channels, 'channel')}, most cases have {usual}: give it the same.",
        )
        for case in cases
        if case.channels not in (0, usual)
    ]


def _missing_labels(cases: Sequence[CaseFacts], expected: Expectations) -> list[Finding]:
    found = {volume.value for case in cases for volume in case.label_volumes}
    if not found:
        return [Finding(ERROR, "", "no case has a structure in its label map: there is nothing to learn.")]
    return [
        Finding(WARNING, "", f"label {value} ({name}) occurs in no case: the model can't learn it.")
        for value, name in expected.labels.items()
        if value not in found
    ]


def _too_many_labels(cases: Sequence[CaseFacts], expected: Expectations) -> list[Finding]:
    """More values than a model can name; a label set that is named was refused as a setting."""
    values = label_values(cases)
    if expected.labels or len(values) <= MOST_LABELS:
        return []
    return [
        Finding(
            ERROR,
            "",
            f"the label maps hold {len(values)} structures (label values {some([*map(str, values)])}), a model has at"
            f" most {MOST_LABELS}: if they are label maps and not scans, join structures in them or set those that are"
            " not to be learnt to 0.",
        )
    ]


def _few_turned(cases: Sequence[CaseFacts]) -> list[Finding]:
    """Too few turned scans to learn them: the model will get such scans straightened."""
    if learns_turned([case.tilt_degrees for case in cases]):
        return []
    return [
        Finding(
            WARNING,
            case.name,
            f"turned by {case.tilt_degrees:.0f} degrees against the patient's axes: it is trained along its own axes,"
            f" but segmented on a straight grid, as all beyond {LARGEST_TILT:.0f} degrees where fewer than"
            f" {LEARNT_SHARE:.0%} of the scans are. Resample such scans and their label maps to a straight grid first.",
        )
        for case in cases
        if case.tilt_degrees > LARGEST_TILT
    ]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
