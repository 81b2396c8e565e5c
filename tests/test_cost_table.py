"""Tables on a pipe and on a narrow terminal: whole, but for the one column that may be shortened."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

from orchestrator.cli import table

COLUMNS = ("type", "about", " dollars")
ROWS = [("p2.xlarge", "a" * 60, "0.9000"), ("x\x1b[31m", "short", "12345.6789")]


def test_a_pipe_gets_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    table.show(COLUMNS, ROWS, elastic="about")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["type", "about", "dollars"]
    assert lines[1] == f"p2.xlarge  {'a' * 60}      0.9000"
    assert lines[2].startswith("x\\x1b[31m")
    assert len(lines[1]) == len(lines[2])


def on_terminal(columns: int) -> list[str]:
    script = f"from orchestrator.cli import table; table.show({COLUMNS!r}, {ROWS!r}, elastic='about')"
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environ = {**os.environ, "TERM": "xterm"}
    subprocess.run([sys.executable, "-c", script], stdout=slave, stdin=slave, env=environ, check=True)
    os.close(slave)
    text = os.read(master, 65536).decode()
    os.close(master)
    return re.sub(r"\x1b\[[0-9;]*m", "", text).split("\r\n")[:-1]


def test_a_narrow_terminal_shortens_one_column_and_no_figure() -> None:
    lines = on_terminal(50)
    assert [len(line) for line in lines] == [50, 50, 50]
    assert lines[1].endswith("…      0.9000")
    assert lines[2].endswith("12345.6789")


def test_on_the_narrowest_figures_are_whole_still() -> None:
    assert all(line.endswith(("dollars", "0.9000", "12345.6789")) for line in on_terminal(10))
