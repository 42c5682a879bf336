"""Searches settings with Optuna: every trial is a whole fit in a folder of its own, and workers share one storage.

A worker that dies leaves a trial that nobody runs. Each worker therefore touches a file in its trial's folder; a
trial whose file has been still for STILL_SECONDS is queued again, and goes on from its checkpoint.
"""

from __future__ import annotations

import json
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import torch
from optuna.distributions import distribution_to_json
from optuna.exceptions import StorageInternalError
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError  # Optuna needs it

from rareunet.errors import BundleError, first_line
from rareunet.whole_files import make_folder
from rareunet_training.configuration import TrainingConfig
from rareunet_training.monitoring.epoch_report import EpochReport
from rareunet_training.sweep.search_space import ORIGINAL_KEY, SweepPlan
from rareunet_training.training.trainer import NonFiniteLossError, TrainingStopped

Watch = Callable[[EpochReport], None]
Train = Callable[[TrainingConfig, Path, bool, Watch], object]

ALIVE_FILE = "alive"
TOUCH_SECONDS = 5.0
STILL_SECONDS = 180.0  # network file systems show a change of a file up to a minute late
MOST_ATTEMPTS = 3  # a trial that ends its process each time, by memory say, is given up
PLAN_KEY, ATTEMPT_KEY, REPLACES_KEY, ERROR_KEY = "plan", "attempt", "replaces", "error"


def open_study(plan: SweepPlan, storage: str = "") -> optuna.Study:
    """The study that all workers with this storage share, made by the first of them.

    Args:
        plan: what is searched.
        storage: a database such as sqlite:///sweep.db, or a journal file; "" is sweep.journal in the output folder.

    Raises:
        ValueError: the storage can't be used, or holds a sweep over other settings.
    """
    make_folder(plan.output)
    config = plan.training_config({})
    storage = storage or str(plan.output / "sweep.journal")
    try:
        study = optuna.create_study(
            study_name="sweep",
            storage=_storage(storage),
            sampler=optuna.samplers.TPESampler(),  # unseeded: workers that start together must not try the same points
            pruner=optuna.pruners.MedianPruner(n_warmup_steps=config.fit.epochs // 4),
            direction="maximize",
            load_if_exists=True,
        )
    except (SQLAlchemyError, StorageInternalError, ImportError, OSError) as error:
        system = error.strerror if isinstance(error, OSError) else None
        cause = system or first_line(error.__cause__ or error)
        raise ValueError(
            f"the storage {_without_password(storage)} can't be used ({cause}): give --storage a journal file"
            " in a folder that exists and can be written, or the URL of a database that SQLAlchemy has a driver for,"
            " such as sqlite:////data/sweep.db."
        ) from None
    known, asked = study.user_attrs.get(PLAN_KEY), _facts(plan, config)
    if known is None:
        study.set_user_attr(PLAN_KEY, asked)
    elif known != asked:
        different = sorted(key for key in known.keys() | asked.keys() if known.get(key) != asked.get(key))
        raise ValueError(
            f"{plan.output} holds a sweep with other settings ({', '.join(different)}): repeat its command to go"
            " on with it, or choose another --output."
        )
    return study


def run_trials(
    plan: SweepPlan, study: optuna.Study, train: Train, trials: int, seconds: float = math.inf
) -> Iterator[FrozenTrial]:
    """Runs trials until all workers together have taken up `trials` of them; yields each as it ends.

    Args:
        train: trains with (configuration, folder, resume, watch), as fitting.fit does.
        seconds: no new trial starts later than this.

    Raises:
        TrainingStopped, KeyboardInterrupt: as `train` did; the trial goes on at the next start.
    """
    deadline, idle_since = time.monotonic() + seconds, math.inf
    while time.monotonic() < deadline:
        queue_dead_trials(plan, study)
        if trials_taken(study) < trials:
            yield _run_trial(plan, study, train)
            idle_since = math.inf
        elif all(_last_sign(plan, trial) > idle_since for trial in _running(study)):
            return
        else:  # a worker that has not shown life since may have died: then its trial is ours to do
            idle_since = min(idle_since, time.time())
            time.sleep(TOUCH_SECONDS / 2)


def trials_taken(study: optuna.Study) -> int:
    """Trials that ended or run; one that another goes on for counts by that one."""
    trials, replaced = study.get_trials(deepcopy=False), replaced_trials(study)
    return sum(trial.state != TrialState.WAITING and trial.number not in replaced for trial in trials)


def replaced_trials(study: optuna.Study) -> dict[int, str]:
    """Numbers of the trials that another goes on for, and how they ended: "died" or "stopped"."""
    trials = study.get_trials(deepcopy=False)
    ends = {}
    for trial in trials:
        if (number := trial.user_attrs.get(REPLACES_KEY)) is not None:
            ends[number] = "died" if _attempt(trial) > _attempt(trials[number]) else "stopped"
    return ends


def queue_dead_trials(plan: SweepPlan, study: optuna.Study) -> None:
    """Queues the trials whose worker died."""
    for trial in _running(study):
        if time.time() - _last_sign(plan, trial) > STILL_SECONDS:
            try:
                study.tell(trial.number, state=TrialState.FAIL)
            except (ValueError, RuntimeError):  # another worker was faster
                continue
            _queue_again(study, trial)


def _run_trial(plan: SweepPlan, study: optuna.Study, train: Train) -> FrozenTrial:
    trial = study.ask(dict(plan.space))
    folder = plan.folder(trial)
    folder.mkdir(parents=True, exist_ok=True)
    config = plan.training_config(trial.params)

    def dice() -> dict[int, float]:
        return study.get_trials(deepcopy=False)[trial.number].intermediate_values

    def watch(report: EpochReport) -> None:
        if (
            math.isfinite(report.mean_dice) and report.epoch not in dice()
        ):  # it may have died after its checkpoint
            trial.report(report.mean_dice, report.epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

    try:
        with _sign_of_life(folder):
            train(config, folder, True, watch)
    except optuna.TrialPruned:
        return study.tell(trial, state=TrialState.PRUNED)
    except (
        NonFiniteLossError,
        BundleError,  # weights that can't be saved
        MemoryError,
        torch.cuda.OutOfMemoryError,
    ) as error:  # these settings' own fault
        trial.set_user_attr(ERROR_KEY, str(error))
        return study.tell(trial, state=TrialState.FAIL)
    except (KeyboardInterrupt, TrainingStopped):
        _queue_again(study, study.tell(trial, state=TrialState.FAIL), died=False)
        raise
    except BaseException:
        study.tell(trial, state=TrialState.FAIL)
        raise
    found = dice()
    if not found:
        trial.set_user_attr(ERROR_KEY, "no validation gave a Dice")
        return study.tell(trial, state=TrialState.FAIL)
    # With fit.patience the bundle holds the best weights, else the last.
    return study.tell(trial, max(found.values()) if config.fit.patience else found[max(found)])


def _queue_again(study: optuna.Study, trial: FrozenTrial, died: bool = True) -> None:
    """Queues a trial to go on from its checkpoint. One that died too often is given up, one that was stopped is not."""
    attempt = _attempt(trial)
    if died and attempt >= MOST_ATTEMPTS:
        return
    attributes = {
        ORIGINAL_KEY: trial.user_attrs.get(ORIGINAL_KEY, trial.number),
        ATTEMPT_KEY: attempt + died,
        REPLACES_KEY: trial.number,
    }
    again = optuna.create_trial(
        state=TrialState.WAITING,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=attributes,
        intermediate_values=trial.intermediate_values,
    )
    study.add_trial(again)


def _attempt(trial: FrozenTrial) -> int:
    return trial.user_attrs.get(ATTEMPT_KEY, 1)


@contextmanager
def _sign_of_life(folder: Path) -> Iterator[None]:
    """Touches a file in the folder for as long as the process lives."""
    path, ended = folder / ALIVE_FILE, threading.Event()

    def touch() -> None:
        while not ended.wait(TOUCH_SECONDS):
            path.touch()

    path.touch()
    thread = threading.Thread(target=touch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        path.unlink(missing_ok=True)


def _running(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=[TrialState.RUNNING])


def _last_sign(plan: SweepPlan, trial: FrozenTrial) -> float:
    """When a running trial last showed life, seconds since the epoch."""
    started = trial.datetime_start.timestamp() if trial.datetime_start else time.time()
    try:
        return max((plan.folder(trial) / ALIVE_FILE).stat().st_mtime, started)
    except OSError:  # not yet made, or just removed by a worker that is about to tell the result
        return started


def _storage(text: str) -> optuna.storages.BaseStorage:
    if "://" in text:
        return optuna.storages.RDBStorage(text)
    # Making symbolic links, Optuna's usual lock, needs special rights on Windows.
    lock = JournalFileOpenLock(text) if os.name == "nt" else None
    return optuna.storages.JournalStorage(JournalFileBackend(text, lock_obj=lock))


def _without_password(url: str) -> str:
    return re.sub(r"(://[^:@/]*):[^@]*@", r"\1:***@", url)


def _facts(plan: SweepPlan, config: TrainingConfig) -> dict[str, str]:
    """What must agree between the workers, by setting; each may compute on a device of its own."""
    facts = {
        f"{section}.{name}": json.dumps(value, sort_keys=True)
        for section, values in config.to_dict().items()
        for name, value in values.items()
    }
    facts.pop("fit.device")
    return facts | {f"--search {name}": distribution_to_json(d) for name, d in plan.space.items()}
