"""What tests of the command line share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import rareunet


def python(*words: object, **environment: str) -> subprocess.CompletedProcess:
    paths = os.pathsep.join([str(Path(rareunet.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": paths, **environment},
    )


def cases_of(report: Path) -> list[dict]:
    return json.loads(report.read_text(encoding="utf-8"))["cases"]
