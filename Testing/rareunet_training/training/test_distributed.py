"""A run shared out by torchrun gives what one process gives. Two processes on the CPU stand for many machines."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from torch.distributed import HashStore
from training_helpers import write_data_set

from rareunet_training.training.distributed import _answer, _call

ROOT = Path(__file__).parents[3]

PROGRAM = textwrap.dedent("""
    import json, sys
    from pathlib import Path
    from training_helpers import make_trainer, samples
    from rareunet_training.training.distributed import Processes

    out, resume = Path(sys.argv[1]), "resume" in sys.argv
    processes = Processes.start("cpu")
    trainer = make_trainer(
        out, "fit.batch_size=4", "fit.validate_every=1", "fit.epochs=2",
        training=samples(5), validation=samples(3), processes=processes,
    )
    if resume:
        trainer.resume()
    reports = []
    for report in trainer.run():
        scores = [(score.case, score.condition, score.dice) for score in report.scores]
        reports.append({"losses": report.losses, "scores": scores, "dice": report.dice()})
        if "once" in sys.argv:
            break
    (out / f"rank{processes.rank}.json").write_text(json.dumps(reports))
    processes.stop()
    threads = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").glob("*")]
    (out / f"threads{processes.rank}.json").write_text(json.dumps(threads))
""")

# The first time, node A's process dies while node B's is in a long step.
ONE_NODE_FAILS = textwrap.dedent("""
    import os, sys, time
    from pathlib import Path
    from rareunet_training.training.distributed import Processes

    node, record = sys.argv[1], Path(sys.argv[2])
    processes = Processes.start("cpu")
    processes.any(False)
    if not processes.restarted:
        os._exit(1) if node == "A" else time.sleep(600)
    processes.any(False)
    record.write_text(f"{processes.restarted} {os.environ['TORCHELASTIC_RESTART_COUNT']}")
    processes.stop()
""")

ONE_PROCESS_FAILS = textwrap.dedent("""
    import atexit, os, sys, time
    from torch import distributed
    from rareunet_training.training import trainer
    from rareunet_training.__main__ import main

    def fail(self, step, rate):
        raise RuntimeError("this process alone has failed")

    def wait_for_the_others():
        if distributed.is_initialized():
            time.sleep(600)

    # NCCL does so whether the group is left or the interpreter ends.
    distributed.destroy_process_group = wait_for_the_others
    atexit.register(wait_for_the_others)
    if os.environ["RANK"] == "1":
        trainer.Trainer._optimise = fail
    sys.exit(main(["fit", *sys.argv[1:]]))
""")


def run(folder, processes, *words):
    """Reports of every process, by rank. The last batch has one case, so one process of two repeats it."""
    folder.mkdir(exist_ok=True)
    program = folder / "program.py"
    program.write_text(PROGRAM)
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *(torchrun if processes > 1 else []), str(program), str(folder), *words]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment(), timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return [
        json.loads((folder / f"rank{rank}.json").read_text(encoding="utf-8")) for rank in range(processes)
    ]


def environment():
    paths = [str(ROOT / name) for name in ("RAREUNetSegment", "RAREUNetTraining", "Testing")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def test_two_processes_give_the_losses_and_scores_of_one(tmp_path):
    (alone,) = run(tmp_path / "one", 1)
    first, second = run(tmp_path / "two", 2)
    assert first == second
    assert len(alone) == len(first) == 2
    for expected, found in zip(alone, first, strict=True):
        assert found["losses"] == pytest.approx(expected["losses"], rel=1e-5)
        assert [row[:2] for row in found["scores"]] == [row[:2] for row in expected["scores"]]
        # At 1/4 a scan has 4 x 4 x 4 voxels: one that tips over by rounding moves the mean of three cases by 0.02.
        assert found["dice"] == pytest.approx(expected["dice"], abs=0.04)


@pytest.mark.skipif(sys.platform != "linux", reason="thread names are read from /proc, which only Linux has")
def test_no_communication_thread_outlives_the_run(tmp_path):
    """One that does aborts the process now and then while the interpreter ends."""
    run(tmp_path, 2, "once")
    for rank in range(2):
        threads = json.loads((tmp_path / f"threads{rank}.json").read_text())
        assert threads
        assert not [name for name in threads if "gloo" in name]


def test_two_processes_go_on_from_the_checkpoint_of_one(tmp_path):
    (alone,) = run(tmp_path / "whole", 1)
    run(tmp_path / "parts", 1, "once")
    first, _ = run(tmp_path / "parts", 2, "resume")
    assert len(first) == 1
    assert first[0]["losses"] == pytest.approx(alone[1]["losses"], rel=1e-4)


def torchrun(*words):
    command = [sys.executable, "-m", "torch.distributed.run", *map(str, words)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", env=environment()
    )


def output_within(launcher, seconds):
    """What it and its processes have printed; fails if they are not done by then, and ends them."""
    try:
        return launcher.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        for process in [*psutil.Process(launcher.pid).children(recursive=True), launcher]:
            process.kill()
        pytest.fail(f"torchrun has not ended: {launcher.communicate()[0][-3000:]}")


def launched_until_the_first_epoch(tmp_path, processes, epochs):
    """A run under torchrun that restarts it once, and its output folder."""
    write_data_set(tmp_path)
    script, out = ROOT / "RAREUNetTraining" / "Scripts" / "train.py", tmp_path / "out"
    launcher = torchrun(
        "--standalone", f"--nproc-per-node={processes}", "--max-restarts=1",
        script, "--config", tmp_path / "balls.toml", "--output", out,
        f"fit.epochs={epochs}", f"fit.validate_every={epochs}", "log.tensorboard=false",
    )  # fmt: skip
    end = time.monotonic() + 120
    while not (out / "history.csv").exists():
        assert launcher.poll() is None, launcher.stdout.read()
        assert time.monotonic() < end, "no epoch was finished"
        time.sleep(0.05)
    return launcher, out


def test_run_goes_on_by_itself_after_a_process_was_killed(tmp_path):
    """torchrun starts all processes again, and they go on from the checkpoint."""
    launcher, out = launched_until_the_first_epoch(tmp_path, processes=2, epochs=12)
    first = json.loads((out / "progress.json").read_text(encoding="utf-8"))["pid"]
    (other,) = [child for child in psutil.Process(launcher.pid).children() if child.pid != first]
    other.send_signal(signal.SIGKILL)
    output, _ = launcher.communicate(timeout=240)
    assert launcher.returncode == 0, output[-3000:]
    assert "going on in epoch" in output
    history = (out / "history.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[0] for line in history] == ["epoch", *(str(n) for n in range(1, 13))]


def test_stop_file_ends_a_run_that_torchrun_would_start_again(tmp_path):
    launcher, out = launched_until_the_first_epoch(tmp_path, processes=1, epochs=100_000)
    (out / "stop").touch()
    output, _ = launcher.communicate(timeout=120)
    assert launcher.returncode == 0, output[-3000:]
    assert output.count("stopped and saved") == 1
    assert json.loads((out / "progress.json").read_text(encoding="utf-8"))["state"] == "stopped"


def test_each_attempt_meets_under_a_name_of_its_own():
    """The second attempt finds what the first has left: its call, the answers and their repetition."""
    store, names = HashStore(), []
    for _ in range(2):
        with ThreadPoolExecutor() as pool:
            others = [pool.submit(_answer, store, rank) for rank in (1, 2)]
            time.sleep(0.3)  # time to answer the call that is there
            assert not any(other.done() for other in others)
            names.append(_call(store, 3))
            assert [other.result() for other in others] == [names[-1]] * 2
    assert names[0] != names[1]


def test_nodes_meet_again_though_one_of_them_has_counted_no_restart(tmp_path):
    """torchrun on a machine whose own processes were well restarts them without counting."""
    program = tmp_path / "program.py"
    program.write_text(ONE_NODE_FAILS)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    nodes = {
        node: torchrun(
            "--nnodes=2", "--nproc-per-node=1", "--max-restarts=1", "--rdzv-backend=c10d",
            f"--rdzv-endpoint=localhost:{port}", program, node, tmp_path / node,
        )
        for node in "AB"
    }  # fmt: skip
    output = {node: output_within(launcher, 90) for node, launcher in nodes.items()}
    for node, known in (("A", "True 1"), ("B", "True 0")):
        assert nodes[node].returncode == 0, output[node][-3000:]
        assert (tmp_path / node).read_text() == known


def test_process_that_fails_alone_ends_the_run(tmp_path):
    """It must not wait for the others, which wait for it."""
    write_data_set(tmp_path)
    program = tmp_path / "program.py"
    program.write_text(ONE_PROCESS_FAILS)
    launcher = torchrun(
        "--standalone", "--nproc-per-node=2", program, "--config", tmp_path / "balls.toml",
        "--output", tmp_path / "out", "log.tensorboard=false",
    )  # fmt: skip
    output = output_within(launcher, 60)
    assert launcher.returncode == 1
    assert "error: this process alone has failed" in output
