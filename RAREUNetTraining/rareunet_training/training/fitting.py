"""A training from its configuration to the bundle: the scans, the epochs and their records, the scores at the end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rareunet.bundle import Bundle, check_replaceable
from rareunet.whole_files import write_whole
from rareunet_training.configuration import TrainingConfig
from rareunet_training.data.scan_warnings import scan_warnings
from rareunet_training.evaluation.conditions import conditions_of, crop_of_patch, quick_conditions
from rareunet_training.evaluation.labelled_cases import fold_name
from rareunet_training.evaluation.resolution_card import with_card
from rareunet_training.evaluation.score_files import ScoreSet, reference_hash
from rareunet_training.evaluation.scoring import model_facts, usual_protocol
from rareunet_training.model import check_held_out, check_model, describe_bundle
from rareunet_training.monitoring.curves import draw_curves
from rareunet_training.monitoring.epoch_report import EpochReport
from rareunet_training.monitoring.history import History, check_log
from rareunet_training.monitoring.progress import CONFIG_FILE, RUN_NAMES, Progress, ProgressWriter, duration
from rareunet_training.reports.pictures import draw_cases
from rareunet_training.reports.score_output import show, write
from rareunet_training.training.distributed import Processes
from rareunet_training.training.loading import load_data
from rareunet_training.training.memory import estimate_memory, out_of_memory_told
from rareunet_training.training.output_folder import claimed
from rareunet_training.training.trainer import Trainer, TrainingStopped

PICTURED_CASES = 2

Watch = Callable[[EpochReport], None]


def fit(
    config: TrainingConfig,
    output: Path,
    resume: bool = False,
    watch: Watch = lambda report: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Trains, then writes the bundle with its resolution card; returns the bundle's folder.

    Args:
        config: the resolved configuration.
        output: folder for everything the run writes.
        resume: go on from the last checkpoint there, if there is one.
        watch: told of each epoch by the first process; may raise to end the run.
        should_stop: asked between steps.

    Raises:
        ValueError: the configuration, the scans or the folder can't be used; nothing was trained.
        TrainingStopped: should_stop was answered with yes; everything is saved.
        NonFiniteLossError, OSError: see Trainer.run.
        MemoryError: it does not fit, as was seen before or while training.
    """
    check_model(config)
    check_log(config)
    _check_bundle_folder(output, config.model.name)
    processes = Processes.start(config.fit.device)
    _warn_of_idle(processes, config.fit.batch_size)
    # A run that torchrun starts again after a failure goes on from where it was.
    resume = resume or processes.restarted
    try:
        with claimed(output, resume, processes):
            progress = ProgressWriter(output, config.fit.epochs, enabled=processes.is_first)
            with _end_told(progress), out_of_memory_told():
                folder = _prepare_and_train(config, output, resume, watch, should_stop, processes, progress)
            progress.tell("finished", bundle=str(folder))
    except TrainingStopped:
        processes.stop()
        raise
    processes.stop()  # not after another failure, which the other processes may know nothing of
    return folder


def _check_bundle_folder(output: Path, name: str) -> None:
    """Raises ValueError where the finished model could not be put into the output folder."""
    if name in RUN_NAMES:
        raise ValueError(
            f"model.name {name!r} is the name of another file in the output folder: choose another name."
        )
    check_replaceable(output / name)


def _warn_of_idle(processes: Processes, batch_size: int) -> None:
    """Tells of processes that no case of a batch is left for: they would only repeat one."""
    idle = processes.world_size - batch_size
    if processes.is_first and idle > 0:
        print(
            f"warning: {idle} of {processes.world_size} processes would have nothing to do: set fit.batch_size to at"
            f" least {processes.world_size}, or start {batch_size}.",
            file=sys.stderr,
            flush=True,
        )


@contextmanager
def _end_told(progress: ProgressWriter) -> Iterator[None]:
    """Writes to progress.json that the run was stopped or failed."""
    try:
        yield
    except TrainingStopped:
        progress.tell("stopped", "stopped and saved")
        raise
    except KeyboardInterrupt:
        progress.tell("failed", "interrupted")
        raise
    except Exception as error:
        progress.tell("failed", str(error))
        raise


def _prepare_and_train(
    config: TrainingConfig,
    output: Path,
    resume: bool,
    watch: Watch,
    should_stop: Callable[[], bool],
    processes: Processes,
    progress: ProgressWriter,
) -> Path:
    progress.tell("checking")
    training, validation = load_data(config, output, processes)
    bundle = describe_bundle(config, training.facts)
    check_held_out(bundle, validation.facts)
    device = processes.device(config.fit.device)
    memory = estimate_memory(
        config, bundle, [*training.facts, *validation.facts], device, processes.local_world_size
    )
    trainer = Trainer(config, bundle, training, validation, output, processes, progress.step, should_stop)
    changed: list[str] = []
    begun = resume and processes.from_first(trainer.checkpoint.exists())
    if resume and not begun and processes.is_first:
        print(f"{trainer.checkpoint} does not exist: the training starts anew", file=sys.stderr, flush=True)
    if begun:
        changed = trainer.resume()
    elif config.model.start_from:
        trainer.start_from(Bundle.load(config.model.start_from))
    if processes.is_first:
        write_whole(output / CONFIG_FILE, json.dumps(config.to_dict(), indent=2) + "\n")
        print(
            f"{len(training)} training and {len(validation)} validation cases; {memory.describe()}",
            flush=True,
        )
        # What they advise to change, a training that goes on would refuse.
        for warning in [] if begun else scan_warnings(training.facts, config.fit, trainer.settings):
            print(f"warning: {warning}", file=sys.stderr, flush=True)
        if trainer.is_done:
            print(
                f"the training is done (epoch {trainer.epoch}): only the model has yet to be written",
                flush=True,
            )
        elif trainer.epoch or trainer.step:
            print(f"going on in epoch {trainer.epoch + 1} after step {trainer.step}", flush=True)
        if changed:
            print(f"changed settings: {', '.join(changed)}", flush=True)
    memory.check()
    _train(trainer, output, watch, progress)
    progress.tell("evaluating")
    return finish(trainer, output)


def _train(trainer: Trainer, output: Path, watch: Watch, progress: ProgressWriter) -> None:
    """Runs all epochs; the first process keeps the records."""
    if not trainer.processes.is_first:
        for _ in trainer.run():
            pass
        return
    history = History(output, trainer.config, trainer.epoch)
    try:
        for report in trainer.run():
            history.add(report)
            progress.epoch_done(report.epoch)
            draw_curves(history.rows, output / "curves.png")
            if report.scores:
                shown = [trainer.validation[i] for i in range(min(PICTURED_CASES, len(trainer.validation)))]
                fit = trainer.config.fit
                conditions = quick_conditions(fit.protocol, crop_of_patch(fit.patch))
                draw_cases(trainer.predictor(), shown, conditions, output / "validation.png")
            print(_line(report, progress.now), flush=True)
            watch(report)
    finally:
        history.close()


def finish(trainer: Trainer, output: Path) -> Path:
    """Scores the final weights on all validation cases and saves the bundle with its resolution card."""
    bundle, network, first = trainer.bundle, trainer.predictor().network, trainer.processes.is_first
    folder = output / bundle.name
    if first:  # before the scoring, which can take long and be interrupted
        bundle.save(folder, network)
    if len(trainer.validation):
        protocol, names = usual_protocol(bundle), bundle.structure_names
        shape = crop_of_patch(trainer.config.fit.patch)
        conditions = conditions_of(protocol, shape)
        scores = tuple(trainer.score(trainer.validation, conditions, "all"))
        if first:
            references = {sample.name: reference_hash(sample) for sample in trainer.validation}
            with_card(bundle, scores).save(folder, network)
            facts = model_facts(Bundle.load(folder))
            results = ScoreSet(
                bundle.name, facts, protocol, shape, fold_name(trainer.config.data), names, references, scores
            )
            write(results, output)
            show(results)  # last: whoever reads it may be gone
    if first:
        print(f"model: {folder}", flush=True)
    return folder


def _line(report: EpochReport, now: Progress) -> str:
    """What an epoch brought; with the time left, because a log shows no bar."""
    dice = ", ".join(f"{name} {value:.3f}" for name, value in report.dice().items())
    left = f"  {duration(now.seconds_left)} left" if now.seconds_left >= 0 else ""
    spent, loss = f"{report.seconds:.0f} s", f"loss {report.losses['total']:.4f}"
    return f"epoch {report.epoch}/{now.epochs}  {spent}  {loss}{f'  Dice {dice}' if dice else ''}{left}"
