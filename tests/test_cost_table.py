"""What people see of the bill: tables that are whole wherever they are read, and what is not known, said."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from rich.cells import cell_len

from orchestrator.cli import table
from orchestrator.cli.main import main
from orchestrator.providers.base import Price, State
from orchestrator.reporter import Silent
from orchestrator.settings import Home, Profile
from orchestrator.verbs import cost
from orchestrator.verbs.desk import Desk

COLUMNS = ("type", "about", " dollars")
ROWS = [("p2.xlarge", "a" * 60, "0.9000"), ("x\x1b[31m", "short", "12345.6789")]


def test_a_pipe_gets_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    table.show(COLUMNS, ROWS, elastic="about")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["type", "about", "dollars"]
    assert lines[1] == f"p2.xlarge  {'a' * 60}      0.9000"
    assert lines[2].startswith("x\\x1b[31m")
    assert len(lines[1]) == len(lines[2])


@pytest.mark.parametrize("name", ["holiday/Kätzchen 日本.jpg", "고양이.jpg", "x" * 500])
def test_whatever_it_is_written_in(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    table.show(("image", " %"), [(name, "99.1"), ("a.jpg", "0.9")], elastic="image")
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"{name}  99.1"
    assert len({cell_len(line) for line in lines}) == 1


def on_terminal(columns: int) -> list[str]:
    script = f"from orchestrator.cli import table; table.show({COLUMNS!r}, {ROWS!r}, elastic='about')"
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environ = {**os.environ, "TERM": "xterm"}
    environ.pop("COLUMNS", None)
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


def test_the_bill_says_what_it_does_not_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = Home.from_environment()
    home.config.mkdir()
    home.config_file.write_text("profiles: {mine: {provider: nobody, budget: 5}}")
    desk = Desk(home, Profile("mine", provider="nobody"), "p2", Silent(), tmp_path)
    noon = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
    price = Price(0.9, 13.89, "")
    seen = State("p2", "stopped", "i-1", "127.0.0.2", "p2.xlarge", launched=noon, price=price, disk_gb=128)
    cost.note(desk, seen, now=noon + timedelta(hours=2))
    cost.note(desk, replace(seen, kind="t2", machine_id="i-2", price=None, spot=True), now=noon + timedelta(hours=20))
    cost.removed(desk, now=noon + timedelta(hours=20))
    damaged = home.state / "sessions" / "mine" / "ran" / "20260131T130000Z-i-3.json"
    damaged.write_text("{")
    with pytest.raises(SystemExit) as ended:
        main(["--profile", "mine", "cost"])
    out, err = capsys.readouterr()
    assert (ended.value.code, err) == (0, "")
    lines = [re.sub(r"\s{2,}", "  ", line) for line in out.splitlines()]
    assert "p2  p2.xlarge on demand  2026-01-31 12:00  14:00 at most  2.00  0.9000  1.80" in lines
    assert "t2  p2.xlarge spot  2026-01-31 12:00  2026-02-01 08:00 at most  20.00  unknown  unknown" in lines
    assert [line for line in lines if line.startswith("not in it: 1 of the lines above")]
    assert [line for line in lines if line.startswith(f"{damaged} cannot be read")]
    assert [line for line in lines if line.startswith("not checked against EC2: the profile mine names a provider")]
    assert [line for line in lines if re.fullmatch(r"budget: \$\d\.\d\d of \$5\.00 are left", line)]
    assert [line.partition(":")[0] for line in lines if line.startswith("2026-")] == ["2026-01", "2026-02"]
