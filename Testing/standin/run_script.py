"""Emulates ``Slicer --no-main-window --python-script SCRIPT ARGS...``: python -m standin.run_script
[--testing] SCRIPT ARGS

Exit rules of ctkAbstractPythonManager::executeFile and qSlicerCoreApplication (Base/QTCore): sys.exit and
slicer.util.exit end Slicer with their code; an exception or the end of the script does not, so that Slicer
waits
for ever. That is exit code 99 here. With --testing Slicer ends by itself: 1 after an exception, 0 otherwise.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

STILL_RUNNING = 99


def run(arguments: list[str]) -> int:
    """Run the script in the started stand-in and return the exit code Slicer would have."""
    from standin.application import start

    testing = arguments[:1] == ["--testing"]
    script, *_ = sys.argv = arguments[1:] if testing else arguments
    application = start(main_window=False)
    application.setTestingEnabled(testing)
    sys.path.insert(0, str(Path(script).resolve().parent))
    namespace = sys.modules["__main__"].__dict__
    namespace.update(__file__=script, __name__="__main__")
    failed = False
    try:
        exec(compile(Path(script).read_text(encoding="utf-8"), script, "exec"), namespace)
    except SystemExit as exit_request:
        return _exit_code(exit_request)
    except BaseException:
        traceback.print_exc()
        failed = True
    if testing:
        return 1 if failed else 0
    reason = "an exception does not end it" if failed else "the script did not call sys.exit"
    print(f"Slicer would keep running now: {reason}", file=sys.stderr)
    return STILL_RUNNING


def _exit_code(exit_request: SystemExit) -> int:
    if exit_request.code is None:
        return 0
    if isinstance(exit_request.code, int):
        return exit_request.code
    print(exit_request.code, file=sys.stderr)
    return 1


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1:] == ["--testing"]:
        sys.exit("usage: python -m standin.run_script [--testing] SCRIPT [ARGS...]")
    code = run(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # Slicer ends without Python's own clean-up of Qt objects


if __name__ == "__main__":
    main()
