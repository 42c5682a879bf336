"""What tests of the training panel share: processes that are made up, and the files that a run leaves."""

import json
import time
from pathlib import Path

from rareunet_training.monitoring import history_file
from rareunet_training.monitoring.progress import HISTORY_FILE

ROOT = Path(__file__).parent.parent
MODULE = ROOT / "RAREUNetTraining" / "RAREUNetTraining.py"


class FakeProcess:
    """Runs until the test ends it."""

    def __init__(self, command, log):
        self.command, self.log = command, Path(log)
        self.pid, self.code, self.killed = 0, None, False

    def poll(self):
        return self.code

    def kill(self):
        self.killed, self.code = True, -9

    def write(self, text):
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "a") as file:
            file.write(text)


class FakeProcesses:
    """In the place of start_process."""

    def __init__(self):
        self.started = []

    def start(self, command, log):
        self.started.append(FakeProcess(command, log))
        return self.started[-1]


def tell(folder, state, **facts):
    facts = {
        "epoch": 0,
        "epochs": 100,
        "step": 0,
        "steps": 10,
        "seconds_left": -1,
        "message": "",
        "bundle": "",
        "pid": 0,
    } | facts
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "progress.json").write_text(json.dumps({"state": state, **facts}))


def stopped_run(folder, epoch, epochs, device):
    """The folder of a run that was stopped and can go on."""
    tell(folder, "stopped", epoch=epoch, epochs=epochs)
    (folder / "last.ckpt").touch()
    (folder / "config.json").write_text(json.dumps({"fit": {"device": device}}))


def write_history(folder, rows):
    """The history of a run with these rows."""
    folder.mkdir(parents=True, exist_ok=True)
    history_file.write_history(folder / HISTORY_FILE, rows)


def epochs(number, validate_every=2):
    rows = []
    for epoch in range(1, number + 1):
        row = {
            "epoch": epoch,
            "seconds": 5,
            "learning_rate": 1e-3,
            "loss total": 1 / epoch,
            "loss own": 0.9 / epoch,
        }
        if epoch % validate_every == 0:
            row |= {"dice scale 1": 1 - 1 / epoch, "dice scale 1/2": 0.9 - 1 / epoch}
        rows.append(row)
    return rows


def training_process():
    from RAREUNetTrainingLib import training_process

    return training_process


def wait_for(panel, condition, seconds=60):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, panel.logic.log()
        time.sleep(0.05)
        panel.poll()
