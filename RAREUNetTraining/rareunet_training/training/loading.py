"""Configuration -> the samples to train on and to validate with. What can't be used is said before anything starts."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from rareunet.intensity import IntensityRule
from rareunet_training.check import CheckReport, check_cases, read_report, write_report
from rareunet_training.check.summary import group
from rareunet_training.configuration import TrainingConfig
from rareunet_training.data.cases import Case, find_cases, fold_warnings, split_cases
from rareunet_training.data.layouts import labels_without_scan
from rareunet_training.data.samples import KeptSamples, Sample, SampleCache, SampleFacts, load_sample
from rareunet_training.training.distributed import Processes


@dataclass(frozen=True)
class SampleReader:
    """Reads the sample of a name. Unlike a lambda it can be pickled, as workers that are spawned need it."""

    cases: Mapping[str, Case]
    label_values: tuple[int, ...]
    rule: IntensityRule

    def __call__(self, name: str) -> Sample:
        return load_sample(self.cases[name], self.label_values, self.rule)


def load_data(
    config: TrainingConfig, output: Path | None = None, processes: Processes | None = None
) -> tuple[SampleCache, SampleCache]:
    """Training and validation samples of the configured fold, after checking all cases.

    Args:
        output: where check.json and check.html go; an earlier check.json there saves reading unchanged scans again.

    Raises:
        ValueError: a case can't be used, or there is none; says which and why.
    """
    processes = processes or Processes()
    data = config.data
    cases = find_cases(data.folder, data.labels, data.exclude)
    names, held_out = split_cases([case.name for case in cases], data, config.fit.seed)
    if processes.is_first:
        for warning in fold_warnings([case.name for case in cases], data):
            print(f"warning: {warning}", file=sys.stderr, flush=True)
    report = None
    problem = ""
    if processes.is_first:
        try:
            report = _check(cases, config, output)
        except ValueError as error:
            problem = str(error)
    if problem := processes.from_first(problem):
        raise ValueError(problem)
    report = processes.from_first(report)
    assert report is not None
    kept = KeptSamples(data.cache_gb * 1e9 / processes.local_world_size)
    return tuple(_samples(cases, report, config, wanted, kept) for wanted in (names, held_out))  # type: ignore[return-value]


def _check(cases: Sequence[Case], config: TrainingConfig, output: Path | None) -> CheckReport:
    path = output / "check.json" if output is not None else None
    # disable=None: no bar where stderr is a file.
    with tqdm(total=len(cases), desc="check", unit="case", file=sys.stderr, disable=None, leave=False) as bar:
        alone = labels_without_scan(Path(config.data.folder), config.data.labels)
        report = check_cases(cases, config.model, bar.update, alone, _earlier(path))
    if path is not None:
        for target in (path, path.with_suffix(".html")):
            write_report(report, target)
    for warning in group(report.warnings):
        print(f"warning: {warning.message} ({warning.who})", file=sys.stderr, flush=True)
    if report.errors:
        lines = "\n".join(f"  {error.message} ({error.who})" for error in group(report.errors))
        raise ValueError(f"the data can't be used for training:\n{lines}")
    return report


def _earlier(path: Path | None) -> CheckReport | None:
    """What an earlier run found, if it can be read; else everything is checked anew."""
    if path is None or not path.exists():
        return None
    try:
        return read_report(path)
    except ValueError:
        return None


def _samples(
    cases: Sequence[Case],
    report: CheckReport,
    config: TrainingConfig,
    wanted: Sequence[str],
    kept: KeptSamples,
) -> SampleCache:
    by_name, facts = {case.name: case for case in cases}, []
    known = {case.name: case for case in report.cases}
    for name in wanted:
        case = known[name]
        if case.shape is None or case.spacing_mm is None:
            raise ValueError(f"{name} could not be read.")
        facts.append(SampleFacts(name, case.shape, case.spacing_mm, case.channels, case.tilt_degrees))
    read = SampleReader(by_name, tuple(config.model.label_values), IntensityRule())
    return SampleCache(facts, read, kept)
