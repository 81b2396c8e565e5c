"""Letters beyond ASCII come through whole, whatever locales the machine has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import GpuError
from orchestrator.remote.agent import beginning
from orchestrator.remote.ssh import connect

from .conftest import Machine
from .test_jobs import PYTHON, ended, folder
from .test_jobs_states import program, submit

KLINGON = "tlh_QO.UTF-8"
"""The laptop's, sent along by its ssh; no system has it."""
NAME = "犬 Käthe.jpg"
LISTS = f"import os, sys; print(os.listdir(sys.argv[1]), {NAME!r} in os.listdir(sys.argv[1]))"


def say_at_login(tmp_path: Path, words: str) -> None:
    login = tmp_path / "etc" / "login"
    login.write_text(login.read_text().replace("unset TMUX\n", f"unset TMUX\nexport {words}\n"))


@pytest.mark.parametrize("chosen", [f"LC_ALL={KLINGON} LANG={KLINGON}", "LC_ALL=POSIX", "LC_ALL= LANG= LC_CTYPE="])
def test_a_login_without_a_locale_that_is_there(machine: Machine, tmp_path: Path, chosen: str) -> None:
    say_at_login(tmp_path, f"LOCPATH={tmp_path / 'none'} {chosen}")
    photographs = machine.home / "gpu" / "data"
    photographs.mkdir()
    (photographs / NAME).touch()
    with connect(machine.address) as connection:
        run_id = submit(connection, PYTHON, "-c", LISTS, "~/gpu/data", note="für Käthe")
    job = ended(machine, run_id)
    assert (job.state, job.last, job.note) == ("finished", f"['{NAME}'] True", "für Käthe")
    assert (folder(machine, run_id) / "log.txt").read_bytes() == f"['{NAME}'] True\n".encode()


def test_one_that_is_installed_under_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beginning, "LOCALES", (KLINGON,))
    assert beginning.utf8_locale().lower().endswith((".utf8", ".utf-8"))
    assert beginning.utf8_locale() != KLINGON


def test_where_there_is_none_python_writes_utf8_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beginning, "LOCALES", (KLINGON, "en_QO.UTF-8"))
    monkeypatch.setenv("PATH", "")
    assert beginning.utf8_locale() == KLINGON
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    (photographs / NAME).touch()
    environment = {**os.environ, "LC_ALL": KLINGON, "LOCPATH": str(tmp_path / "none")}
    argv = [sys.executable, "-c", LISTS, str(photographs)]
    done = subprocess.run(argv, env=environment, stdout=subprocess.PIPE, check=True)
    assert done.stdout == f"['{NAME}'] True\n".encode()


def test_a_tmux_that_wants_one_is_said_with_what_helps(machine: Machine, tmp_path: Path) -> None:
    """The words are tmux's own (3.3a, tmux.c), where neither en_US.UTF-8 nor C.UTF-8 is to be had."""
    tools = tmp_path / "tools"
    tools.mkdir()
    program(tools / "tmux", "echo 'tmux: need UTF-8 locale (LC_CTYPE) but have ANSI_X3.4-1968' >&2; exit 1")
    say_at_login(tmp_path, f'PATH={tools}:"$PATH"')
    with (
        connect(machine.address) as connection,
        pytest.raises(GpuError, match=r"need UTF-8 locale.* localedef") as told,
    ):
        submit(connection, "true")
    assert "tmux: tmux:" not in str(told.value)
