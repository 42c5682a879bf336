"""Runs lines of Python in a Slicer of its own, where no test has imported anything yet."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

OPEN = """
import os, sys
for name in {missing}:
    sys.modules[name] = None  # importing it raises
{before}
import slicer, standin
standin.start()
slicer.packaging.install_pytorch_utils()
representation = standin.load_module({module!r}).widgetRepresentation()
representation.enter()
panel = representation.self()
{after}
sys.stdout.flush()
os._exit(0)
"""


def in_a_new_slicer(module, after, before="", missing=()):
    """What it prints.

    Args:
        module: path of the module whose panel is opened.
        after: lines that follow, with the panel as `panel`.
        before: lines before Slicer starts.
        missing: packages that can't be imported.
    """
    folders = [ROOT / "RAREUNetSegment", ROOT / "RAREUNetTraining", ROOT / "Testing"]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
        "QT_QPA_PLATFORM": "offscreen",
    }
    code = OPEN.format(module=str(module), after=after, before=before, missing=tuple(missing))
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, timeout=120)
    assert run.returncode == 0, run.stderr
    return run.stdout
