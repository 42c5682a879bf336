"""The training panel with real processes: started, found again, stopped, resumed; and none ended but its own."""

import contextlib
import os
import platform
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest
from training_panel_helpers import MODULE, tell, training_process, wait_for

SCRIPT = """
import csv, json, os, sys, time
from pathlib import Path
from rareunet.file_lock import lock
output = Path(sys.argv[1])
held = open(output / "run.lock", "ab")
lock(held.fileno())
first = 3 if "--resume" in sys.argv else 0
def tell(state, epoch):
    text = json.dumps({"state": state, "epoch": epoch, "epochs": 4, "seconds_left": 1.0, "pid": os.getpid()})
    (output / "new").write_text(text)
    os.replace(output / "new", output / "progress.json")
epoch = first
while True:
    tell("training", epoch)
    (output / "last.ckpt").touch()
    with open(output / "history.csv", "w") as file:
        file.write("epoch,loss total\\n" + "".join(f"{e},{1 / e}\\n" for e in range(1, epoch + 1)))
    print("epoch", epoch, flush=True)
    if epoch == 4:
        tell("finished", epoch)
        sys.exit(0)
    if (output / "stop").exists():
        (output / "stop").unlink()
        tell("stopped", epoch)
        sys.exit(130)
    epoch = min(epoch + 1, 3 if first == 0 else 4)
    time.sleep(0.1)
"""


def test_a_real_process_is_started_found_again_stopped_and_resumed(ready, tmp_path, monkeypatch):
    import standin

    script, run = tmp_path / "script.py", tmp_path / "run"
    script.write_text(SCRIPT)

    monkeypatch.undo()
    really_start = training_process().start_process

    def start(command, log):
        return really_start([sys.executable, str(script), str(run), *command[6:]], log)

    monkeypatch.setattr(training_process(), "start_process", start)
    ready.ui.startButton.click()
    wait_for(ready, lambda: len(ready.logic.status().rows) == 3)
    assert "epoch 3" in ready.ui.logEdit.toPlainText()
    other = standin.load_module(MODULE)  # as after a restart of Slicer, which knows the files alone
    panel = other.widgetRepresentation().self()
    assert panel.logic.session.process is None
    assert panel.logic.status().running
    panel.ui.stopButton.click()
    wait_for(ready, lambda: not ready.logic.status().running)
    panel.poll()
    assert panel.ui.statusLabel.text == "Stopped and saved after epoch 3 of 4."
    assert panel.ui.startButton.text == "Resume"
    panel._parameterNode.epochs = 4
    panel.ui.startButton.click()
    wait_for(panel, lambda: panel.logic.status().text.startswith("Finished"))
    standin.unload_module(other)


@pytest.fixture
def holder(tmp_path):
    """A process that holds the output folder as a run does."""
    (tmp_path / "run").mkdir()
    script = (
        "import sys; from rareunet.file_lock import lock; file = open(sys.argv[1], 'ab'); lock(file.fileno());"
        " print(flush=True); input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "run" / "run.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(training_process().package_folders())},
    )
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def test_a_killed_process_is_not_taken_for_a_running_one(ready, tmp_path, holder):
    tell(tmp_path / "run", "training", epoch=5, pid=holder.pid, host=platform.node())
    ready.poll()
    assert ready.ui.stopButton.enabled
    holder.kill()
    holder.communicate()
    tell(
        tmp_path / "run", "training", epoch=5, pid=os.getpid(), host=platform.node()
    )  # the number is another's now
    ready.poll()
    assert not ready.ui.stopButton.enabled
    assert ready.ui.statusLabel.text.startswith("The training ended unexpectedly")
    ready.logic.session.run.kill()


def test_a_number_that_names_no_process_is_never_ended(ready, tmp_path, holder, monkeypatch):
    """To the system 0 is the caller's own group: a run that has told no number yet must not take Slicer with it."""
    monkeypatch.setattr(platform, "node", lambda: "")  # a computer may have no name
    run, sent = ready.logic.session.run, []
    monkeypatch.setattr(os, "kill", lambda *signal: sent.append(signal))
    for pid in (0, -1):
        tell(tmp_path / "run", "training", pid=pid, host="")
        assert run.is_running()
        assert not run.can_be_killed()
        run.kill()
    assert not sent
    states = iter([SimpleNamespace(pid=7, host=""), SimpleNamespace(pid=0, host="")])
    monkeypatch.setattr(run, "progress", lambda: next(states))  # a file that can't be read a moment later
    run.kill()
    assert [number for number, _ in sent] == [7]


@pytest.mark.parametrize(("host", "ended"), [(platform.node(), True), ("another-computer", False)])
def test_a_process_is_ended_on_its_own_computer_alone(ready, tmp_path, holder, host, ended):
    tell(tmp_path / "run", "training", epoch=5, pid=holder.pid, host=host)
    ready.poll()
    ready.ui.stopButton.click()
    stop = tmp_path / "run" / "stop"
    os.utime(stop, (time.time() - 61, time.time() - 61))
    ready.poll()
    assert (ready.ui.stopButton.text == "End at once") == ended
    ready.logic.session.run.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        holder.wait(timeout=5 if ended else 0.2)
    assert (holder.poll() is not None) == ended


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals; taskkill ends the tree there")
def test_a_process_is_ended_with_what_it_has_started(slicer_app, tmp_path):
    """Slicer's Python is a launcher whose child does the work."""
    import standin

    module = standin.load_module(MODULE)
    code = (
        "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "print(child.pid, flush=True); child.wait()"
    )
    process = training_process().start_process([sys.executable, "-c", code], tmp_path / "log")
    while not (text := (tmp_path / "log").read_text()).endswith("\n"):
        time.sleep(0.05)
    child = psutil.Process(int(text))
    process.kill()
    assert process.wait(10) < 0
    gone, _ = psutil.wait_procs([child], 10)
    assert gone or child.status() == psutil.STATUS_ZOMBIE
    process.kill()  # of one that has ended does nothing
    standin.unload_module(module)
