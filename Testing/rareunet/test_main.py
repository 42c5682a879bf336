"""The command line as a whole: its help."""

from __future__ import annotations

import pytest
from command_helpers import python

from rareunet.__main__ import main


@pytest.mark.parametrize("command", [[], ["segment"], ["models"], ["verify"], ["import-checkpoint"]], ids=str)
def test_help_explains_each_command(command, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main([*command, "--help"])
    assert exit_info.value.code == 0
    assert "usage: python -m rareunet" in capsys.readouterr().out


def test_help_needs_no_torch():
    script = (
        "import sys; from rareunet.__main__ import build_parser; build_parser().format_help();"
        "sys.exit('torch' in sys.modules)"
    )
    assert python("-c", script).returncode == 0
