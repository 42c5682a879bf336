"""`python -m rareunet segment`: segments many scans with one loaded model and goes on after a failing one."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rareunet.commands.reports import DONE, FAILED, CaseReport, write_report
from rareunet.errors import FieldOfViewError, MemoryLadderError, message_of
from rareunet.volume_files import (
    Scan,
    case_name,
    find_scans,
    is_segmentation,
    read_volume,
    without_label_maps,
    write_label_map,
    write_volume,
)
from rareunet.whole_files import make_folder, replacing
from rareunet.wording import some

if TYPE_CHECKING:
    from rareunet.bundle import Bundle
    from rareunet.prediction import Prediction
    from rareunet.predictor import Predictor
    from rareunet.volume import Volume


@dataclass(frozen=True)
class Job:
    """One scan to segment; `source` is a list where each channel has its own file."""

    source: Scan
    case: str
    output: Path
    probabilities: Path | None

    @property
    def inputs(self) -> list[Path]:
        return self.source if isinstance(self.source, list) else [self.source]

    @property
    def outputs(self) -> list[Path]:
        return [self.output] if self.probabilities is None else [self.output, self.probabilities]


def run(arguments: argparse.Namespace) -> int:
    """Segments the scans of a command line; returns the exit code."""
    with _interrupted_by_sigterm():
        return _run(arguments)


@contextlib.contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """A scheduler that ends a job interrupts it as Ctrl-C does, so that its report is written; SIGTERMs that follow,
    such as those that torchrun hands on, don't cut that short."""
    if threading.current_thread() is not threading.main_thread():  # others may not choose what a signal does
        yield
        return

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    former = signal.getsignal(signal.SIGTERM)
    try:
        signal.signal(signal.SIGTERM, interrupt)
        yield
    finally:
        signal.signal(signal.SIGTERM, former or signal.SIG_DFL)


def _run(arguments: argparse.Namespace) -> int:
    world_size = int(os.environ.get("WORLD_SIZE") or "1")
    rank = int(os.environ.get("RANK", "0")) if world_size > 1 else 0  # RANK alone is no share of the scans
    report: Path | None = arguments.report
    if report is not None and world_size > 1:
        report = report.with_name(f"{report.stem}.rank{rank}{report.suffix}")
    try:
        bundle = _bundle(arguments)
        scans, label_maps = without_label_maps(find_scans(arguments.scans, len(bundle.channels)))
        if label_maps:
            names = some([path.name for path in label_maps])
            print(
                f"rareunet segment: left out, being called like label maps of scans beside them: {names}. To segment"
                " one, give it alone.",
                file=sys.stderr,
            )
        jobs = plan(scans, arguments.output, with_probabilities=arguments.probabilities)[rank::world_size]
        if older := [str(output) for job in jobs for output in job.outputs if output.exists()]:
            print(f"rareunet segment: there already, to be replaced: {some(older)}.", file=sys.stderr)
        predictor = _load(bundle, arguments.device, world_size)
        for folder in (arguments.output, *([] if report is None else [report.parent])):
            make_folder(folder)
    except (ValueError, OSError) as error:
        print(f"rareunet segment: {error}", file=sys.stderr)
        return 2
    return _segment_all(predictor, jobs, arguments, report)


def plan(scans: Sequence[Scan], folder: Path, *, with_probabilities: bool = False) -> list[Job]:
    """The scans with the files they will be written to.

    Raises:
        ValueError: two scans of the same output, or an output that is an input.
    """
    jobs = []
    for source in scans:
        case = case_name(source)
        probabilities = folder / f"{case}_probabilities.nii.gz" if with_probabilities else None
        jobs.append(Job(source, case, folder / f"{case}.nii.gz", probabilities))
    inputs = {os.path.realpath(path) for job in jobs for path in job.inputs}
    for job in jobs:
        for output in job.outputs:
            if os.path.realpath(output) in inputs:
                raise ValueError(
                    f"{output} is an input: its label map would replace it. Choose another --output."
                )
    # Names are compared without case: some file systems do not tell Scan from scan.
    counts = Counter(str(output).casefold() for job in jobs for output in job.outputs)
    twice = [str(output) for job in jobs for output in job.outputs if counts[str(output).casefold()] > 1]
    if twice:
        raise ValueError(
            f"more than one scan would be written to {', '.join(sorted(set(twice)))}:"
            " rename one or segment them into different folders."
        )
    return jobs


def _bundle(arguments: argparse.Namespace) -> Bundle:
    from rareunet.bundle import DEFAULT_MODEL, Bundle

    bundle = Bundle.load(arguments.model or DEFAULT_MODEL)
    bundle.labels_named(arguments.structure)
    depth = arguments.entry_depth
    if depth is not None and depth > bundle.deepest:
        raise ValueError(
            f"entry depth {depth}: the model {bundle.name} has 0 to {bundle.deepest}, or choose auto."
        )
    return bundle


def _load(bundle: Bundle, device: str, world_size: int) -> Predictor:
    from rareunet.predictor import Predictor

    return Predictor(bundle, _device_of_process(device, world_size))


def _device_of_process(device: str, world_size: int) -> str:
    """Gives each process of a machine its own GPU."""
    import torch

    if world_size > 1 and device in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"
    return device


def _segment_all(
    predictor: Predictor, jobs: Sequence[Job], arguments: argparse.Namespace, report: Path | None
) -> int:
    from tqdm import tqdm

    roi = "" if arguments.roi is None else arguments.roi.to_text()
    depth = "auto" if arguments.entry_depth is None else str(arguments.entry_depth)
    cases = [
        CaseReport(
            job.case,
            [str(path) for path in job.inputs],
            roi=roi,
            structures=list(arguments.structure or ()),
            entry_depth=depth,
        )
        for job in jobs
    ]
    code = 0
    try:
        # disable=None: no bar where stderr is a file.
        with tqdm(total=len(jobs), desc="segment", unit="scan", file=sys.stderr, disable=None) as bar:
            for job, case in zip(jobs, cases, strict=True):
                bar.set_postfix_str(job.case)
                done = _segment(predictor, job, case, arguments)
                _tell(case, done)
                bar.update()
    except KeyboardInterrupt:
        print("rareunet segment: interrupted.", file=sys.stderr)
        code = 130
    if report is not None:
        try:
            write_report(report, cases)
        except OSError as error:
            print(f"rareunet segment: the report {message_of(error)}", file=sys.stderr)
            code = code or 1
    return code or int(any(case.status == FAILED for case in cases))


def _segment(predictor: Predictor, job: Job, case: CaseReport, arguments: argparse.Namespace) -> str:
    """Segments one scan, notes in its record what became of it, and returns that for a person."""
    try:
        if segments := [str(path) for path in job.inputs if is_segmentation(path)]:
            raise ValueError(f"{some(segments)}: segments, not a scan. Give the scan that they belong to.")
        volume = read_volume(job.source, arguments.series)
        case.warnings = list(volume.notes)  # they may be why the scan is refused
        prediction = predictor.predict(
            volume,
            arguments.roi,
            arguments.entry_depth,
            force=arguments.force,
            memory_gb=arguments.memory,
            structures=arguments.structure,
            with_probabilities=arguments.probabilities,
        )
        _write(job, prediction, volume)
    except FieldOfViewError as error:
        case.status, case.reason = FAILED, f"{error} (--roi R,A,S,size_R,size_A,size_S in mm, or --force)"
        return f"failed: {case.reason}"
    except Exception as error:  # one scan's failure, whatever its kind, must not stop the others
        known = isinstance(error, ValueError | OSError | ImportError | MemoryLadderError)
        case.status = FAILED
        case.reason = message_of(error) if known else f"{type(error).__name__}: {error}"
        if not known:
            traceback.print_exc()
        return f"failed: {case.reason}"
    case.fill(prediction, volume)
    case.status, case.output = DONE, str(job.output)
    found = ", ".join(f"{name} {ml:.2f} ml" for name, ml in prediction.volumes_ml.items())
    return f"{prediction.describe()} {found} -> {job.output}"


def _write(job: Job, prediction: Prediction, volume: Volume) -> None:
    """Both files, or neither: older ones stay until both are written."""
    if job.probabilities is None or prediction.probabilities is None:
        write_label_map(job.output, prediction.label_map, volume)
        return
    with replacing(job.probabilities) as temporary:
        try:
            write_volume(temporary, replace(volume, voxels=prediction.probabilities))
        except OSError as error:  # it names the temporary file
            told = message_of(error).replace(temporary.name, job.probabilities.name)
            raise OSError(error.errno, told) from error
        write_label_map(job.output, prediction.label_map, volume)


def _tell(case: CaseReport, done: str) -> None:
    """Prints what became of a scan, above the progress bar."""
    from tqdm import tqdm

    with contextlib.suppress(OSError):  # whoever reads it may be gone; the scans and the report go on
        tqdm.write(f"{case.case}: {done}", file=sys.stdout if case.status == DONE else sys.stderr)
        for warning in case.warnings:
            tqdm.write(f"{case.case}: warning: {warning}", file=sys.stderr)
