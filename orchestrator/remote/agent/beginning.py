"""Beginning a run: its notes are written, then its wrapper is started in a tmux that outlives the login."""

from __future__ import annotations

import json
import locale
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from trainer import run_folder

from . import places, turns
from .phases import LIVE, START_SECONDS, exit_code_of, has_signed, phase_of, state_of
from .records import read_facts, write_facts

LOCALES = ("C.UTF-8", "C.utf8", "en_US.UTF-8", "en_GB.UTF-8")
_TOOL_SECONDS = 10
KILLED_AT_LOGOUT = (
    "this machine ends what a user runs when the user logs out (KillUserProcesses=yes in its logind.conf) and would "
    "not let the run out of that: ask its administrator for `loginctl enable-linger {user}`"
)


def start(run_id: str) -> dict[str, Any]:
    """Write the job that stdin holds and start its wrapper in tmux; safe to repeat after a lost answer."""
    job = json.loads(sys.stdin.buffer.read())
    run = places.folder_of(run_id)
    run.mkdir(parents=True, exist_ok=True)
    attempt = int(job.get("attempt") or 1)
    begun = read_facts(run / run_folder.BEGUN)
    answered = begun.get("attempt") == attempt and has_signed(run)
    if answered or phase_of(run)[0] in ("finished", *LIVE[1:]):
        return state_of(run)
    if begun.get("attempt") != attempt:
        _note(run, job, attempt)
    words, trouble = scope()
    failed = in_tmux(run_folder.tmux_session(run.name), ["run", str(run)], words)
    if failed:
        return {**state_of(run), "state": "lost", "last": failed}
    until = time.monotonic() + START_SECONDS
    while not _has_begun(run) and time.monotonic() < until:
        time.sleep(0.05)
    return {**state_of(run), "warning": trouble}


def _note(run: Path, job: dict[str, Any], attempt: int) -> None:
    """The end of an earlier attempt goes last: a call that is cut off before leaves the run as it was."""
    write_facts(run / run_folder.JOB, {**job, "requirements": places.requirements()})
    begun = {"attempt": attempt, "ticket": turns.next_ticket(), "boot": places.boot_id()}
    write_facts(run / run_folder.BEGUN, begun)
    for name in (run_folder.INTERRUPTED, run_folder.EXIT_CODE):
        # missing_ok came with Python 3.8: what is not there need not go.
        (run / name).unlink(missing_ok=True)


def _has_begun(run: Path) -> bool:
    """Its trainer is there, it waits, or it has ended already: a held lock alone may still turn out to be refused."""
    facts = read_facts(run / run_folder.LOCK)
    return has_signed(run) and (exit_code_of(run) is not None or "trainer" in facts or "waiting" in facts)


def in_tmux(session: str, verb: list[str], words: list[str]) -> str:
    """Why this agent's `verb` could not be started there; empty when it was, or the session is there already."""
    tmux = [*words, "tmux", "-u", "-L", run_folder.TMUX_SOCKET, "-f", "/dev/null"]
    tmux += ["new-session", "-d", "-x", "200", "-y", "50", "-s", session]
    code = str(Path(__file__).resolve().parent.parent)
    begun = subprocess.run(
        [*tmux, "-c", code, "--", sys.executable, "-m", __package__ or "agent", *verb],
        cwd=code,
        env={**os.environ, "LC_ALL": utf8_locale()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    message = begun.stderr.decode(errors="replace").strip()
    message = message if message.startswith("tmux: ") else f"tmux: {message}"
    return message if begun.returncode and "duplicate session" not in message else ""


def utf8_locale() -> str:
    """One that this system has, since tmux refuses every other one; the usual name where none is found."""
    before = locale.setlocale(locale.LC_CTYPE)
    for name in (*LOCALES, *_installed()):
        try:
            locale.setlocale(locale.LC_CTYPE, name)
        except locale.Error:
            continue
        locale.setlocale(locale.LC_CTYPE, before)
        return name
    return LOCALES[0]


def _installed() -> list[str]:
    return [name for name in _said("locale", "-a").split() if name.lower().endswith((".utf8", ".utf-8"))]


def scope() -> tuple[list[str], str]:
    """The words before `tmux` that keep it from ending with the login, and what cannot be helped.

    Lingering alone is not enough: what began in a login's scope is killed with it (logind.conf, KillUserProcesses;
    the way out is systemd-run's manual, example «tmux»).
    """
    user = str(os.getuid())
    if _said("loginctl", "show-user", "--property=KillUserProcesses") != "KillUserProcesses=yes":
        return [], ""
    if _said("loginctl", "show-user", "--property=Linger", user) != "Linger=yes":
        _said("loginctl", "enable-linger")
    lingers = _said("loginctl", "show-user", "--property=Linger", user) == "Linger=yes"
    words = ["systemd-run", "--user", "--scope", "--quiet", "--"]
    if lingers and shutil.which(words[0]) and _succeeds(*words, "true"):
        return words, ""
    return [], KILLED_AT_LOGOUT.format(user=places.home().name)


def _said(*words: str) -> str:
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_TOOL_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace").strip()


def _succeeds(*words: str) -> bool:
    try:
        return (
            subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TOOL_SECONDS).returncode == 0
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
