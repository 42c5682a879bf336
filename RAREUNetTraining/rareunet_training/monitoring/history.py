"""The numbers of a run, a row per epoch: history.csv, TensorBoard, and Weights & Biases if asked for."""

from __future__ import annotations

import sys
import uuid
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rareunet_training.configuration import TrainingConfig
from rareunet_training.monitoring.epoch_report import EpochReport
from rareunet_training.monitoring.history_file import Row, read_history, write_history
from rareunet_training.monitoring.progress import HISTORY_FILE

WANDB_ID_FILE = "wandb_id.txt"


def check_log(config: TrainingConfig) -> None:
    """Raises ValueError where a log is asked for whose package is missing; a run asks before it reads its scans."""
    if config.log.wandb and find_spec("wandb") is None:
        raise ValueError(
            "log.wandb is set, but the package wandb is missing: pip install wandb, or clear the setting."
        )


class History:
    """Writes each epoch's numbers. Rows of epochs that a resumed run repeats are replaced.

    Args:
        folder: gets history.csv and the event files.
        config: of the run; its log section decides who else is told.
        first_epoch: epochs done so far; later rows of an earlier attempt are dropped.
    """

    def __init__(self, folder: Path, config: TrainingConfig, first_epoch: int = 0) -> None:
        self.path = folder / HISTORY_FILE
        self.rows = [row for row in _earlier_rows(self.path) if int(row["epoch"]) <= first_epoch]
        self._events = _tensorboard(folder, first_epoch) if config.log.tensorboard else None
        self._wandb = _weights_and_biases(config, folder, first_epoch) if config.log.wandb else None

    def add(self, report: EpochReport) -> Row:
        row: Row = {
            "epoch": report.epoch,
            "seconds": round(report.seconds, 2),
            "learning_rate": report.learning_rate,
            "samples_per_second": round(report.samples_per_second, 3),
        }
        row |= {f"loss {name}": round(value, 5) for name, value in report.losses.items()}
        row |= {f"dice {name}": round(value, 5) for name, value in report.dice().items()}
        self.rows.append(row)
        write_history(self.path, self.rows)
        numbers = {name: value for name, value in row.items() if name != "epoch"}
        if self._events is not None:
            for name, value in numbers.items():
                self._events.add_scalar(name.replace(" ", "/", 1), value, report.epoch)
            self._events.flush()
        if self._wandb is not None:
            self._wandb.log(numbers, step=report.epoch)
        return row

    def close(self) -> None:
        if self._events is not None:
            self._events.close()
        if self._wandb is not None:
            self._wandb.finish()


def _earlier_rows(path: Path) -> list[Row]:
    """Rows of an earlier attempt. A file that another program has changed is put aside: the run goes on without."""
    rows = read_history(path)
    if all(rows):
        return rows
    aside = path.with_suffix(".old.csv")
    path.replace(aside)
    print(
        f"warning: {path} has rows that can't be read: it was renamed to {aside.name}, and a new one is begun",
        file=sys.stderr,
        flush=True,
    )
    return []


def _tensorboard(folder: Path, first_epoch: int) -> Any:
    """A writer of event files, or None without the package: history.csv has the same numbers."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=first_epoch + 1)


def _weights_and_biases(config: TrainingConfig, folder: Path, first_epoch: int) -> Any:
    """A run of Weights & Biases; the same one when a training is resumed, which goes by its id alone."""
    import wandb

    # Folders and names of cases may tell of patients; they stay in config.json.
    told = config.to_dict() | {"data": {"fold": config.data.fold, "fold_count": config.data.fold_count}}
    identity = folder / WANDB_ID_FILE
    if not (first_epoch and identity.exists()):
        identity.write_text(uuid.uuid4().hex, encoding="utf-8")
    return wandb.init(
        project=config.log.wandb,
        name=folder.name,
        config=told,
        id=identity.read_text(encoding="utf-8"),
        resume="allow",
    )
