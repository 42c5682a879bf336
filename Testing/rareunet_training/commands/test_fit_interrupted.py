"""Whatever ends a run, what it has learnt is on disk: signals, a stop file, kill -9, a full disk."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from training_helpers import make_trainer, write_data_set

from rareunet_training.training.checkpoint import load_checkpoint, save_checkpoint

ROOT = Path(__file__).parents[3]
TRAIN = ROOT / "RAREUNetTraining" / "Scripts" / "train.py"


def start(folder, *words, **more):
    command = [
        sys.executable, str(TRAIN), "--config", str(folder / "balls.toml"), "--output", str(folder / "out"), *words,
        "log.tensorboard=false",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **more.pop("environment", {})}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", env=environment, **more
    )


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def progress(folder):
    try:
        return json.loads((folder / "out" / "progress.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"state": "", "epoch": 0}


def is_training(folder):
    return lambda: progress(folder)["state"] == "training"


@pytest.mark.parametrize("way", [signal.SIGTERM, signal.SIGINT, "stop file"])
def test_run_asked_to_stop_saves_and_can_go_on(tmp_path, way):
    write_data_set(tmp_path)
    process = start(tmp_path, "fit.epochs=100000")
    wait_for(is_training(tmp_path), process)
    if way == "stop file":
        (tmp_path / "out" / "stop").touch()
    else:
        process.send_signal(way)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped and saved; go on with --resume" in errors
    assert "Traceback" not in errors
    assert progress(tmp_path)["state"] == "stopped"
    state = load_checkpoint(tmp_path / "out" / "last.ckpt")
    resumed = start(tmp_path, "--resume", f"fit.epochs={state['epoch'] + 1}")
    output, errors = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, errors
    assert "model: " in output
    assert progress(tmp_path)["state"] == "finished"
    assert not (tmp_path / "out" / "stop").exists()


def test_new_run_does_not_overwrite_an_old_one(tmp_path):
    write_data_set(tmp_path)
    next(iter(make_trainer(tmp_path / "out").run()))
    before = (tmp_path / "out" / "last.ckpt").read_bytes()
    process = start(tmp_path)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "go on with it by --resume, or choose a new --output folder" in errors
    assert (tmp_path / "out" / "last.ckpt").read_bytes() == before


def test_killed_at_any_moment_the_checkpoint_stays_readable(tmp_path):
    """A process that does nothing but save is killed while it does so, again and again."""
    program = tmp_path / "saves.py"
    program.write_text(
        "import itertools, sys, torch\n"
        "from pathlib import Path\n"
        "from rareunet_training.training.checkpoint import save_checkpoint\n"
        "for epoch in itertools.count():\n"
        "    save_checkpoint(Path(sys.argv[1]), {'epoch': epoch, 'network': torch.full((2_000_000,), float(epoch))})\n"
        "    print(epoch, flush=True)\n"
    )
    paths = os.pathsep.join(str(ROOT / name) for name in ("RAREUNetSegment", "RAREUNetTraining"))
    path, moments = tmp_path / "last.ckpt", random.Random(0)
    for _ in range(6):
        process = subprocess.Popen(
            [sys.executable, str(program), str(path)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths},
        )
        process.stdout.readline()
        time.sleep(moments.uniform(0, 0.1))
        process.kill()
        process.communicate()
        state = load_checkpoint(path)
        assert torch.equal(state["network"], torch.full((2_000_000,), float(state["epoch"])))
    save_checkpoint(path, {"epoch": 0})
    assert [p.name for p in tmp_path.glob("*last.ckpt*")] == ["last.ckpt"]  # no half-written file stays


@pytest.mark.skipif(os.name != "posix", reason="file size limits are set by POSIX systems alone")
def test_full_disk_keeps_the_last_checkpoint(tmp_path):
    """A limit of the file size fails a write in the middle, as a full disk does."""
    import resource

    write_data_set(tmp_path)
    first = start(tmp_path, "fit.epochs=1")
    first.communicate(timeout=120)
    assert first.returncode == 0
    path = tmp_path / "out" / "last.ckpt"
    before = path.read_bytes()

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, len(before) // 2))

    process = start(tmp_path, "--resume", "fit.epochs=3", preexec_fn=limit)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "could not be written" in errors
    assert "the one before it is intact" in errors
    assert "Traceback" not in errors
    assert path.read_bytes() == before
    assert not list(path.parent.glob(".last.ckpt-*"))


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "does not exist"), (b"no checkpoint", "is not a checkpoint")],
)
def test_unusable_checkpoint_is_explained(tmp_path, content, message):
    path = tmp_path / "last.ckpt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_checkpoint(path)
