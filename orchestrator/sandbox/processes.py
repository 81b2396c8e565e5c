"""The processes of this computer as /proc tells them: who descends from whom, and how all of them end."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable, Collection
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
HANG_UP_AFTER = 0.5
"""Seconds after SIGTERM: an interactive shell ignores that one, and leaves at SIGHUP."""


def become_subreaper() -> None:
    """Orphaned descendants of this process become its children instead of init's."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent() -> None:
    """Called in a forked child: the kernel kills it when the thread that forked it ends."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def start_time(pid: int) -> str | None:
    """Clock ticks since boot at which `pid` began: with it a pid names one process for ever. None: no such process."""
    fields = _stat(pid)
    return fields[19] if fields else None


def descendants(root: int) -> set[int]:
    """All processes below `root`, zombies left out, `root` itself too."""
    children: dict[int, list[int]] = {}
    for pid in _pids():
        fields = _stat(pid)
        if fields and fields[0] != "Z":
            children.setdefault(int(fields[1]), []).append(pid)
    found: set[int] = set()
    frontier = [root]
    while frontier:
        new = [child for child in children.get(frontier.pop(), []) if child not in found]
        found.update(new)
        frontier.extend(new)
    return found


def marked(marker: bytes) -> set[int]:
    """Processes whose environment holds an entry that begins with `marker`, this one left out."""
    found = set()
    for pid in _pids():
        with contextlib.suppress(OSError):
            entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            if pid != os.getpid() and any(entry.startswith(marker) for entry in entries):
                found.add(pid)
    return found


def end_all(find: Callable[[], Collection[int]], *, grace: float) -> None:
    """End what `find` finds until it finds nothing: SIGTERM, SIGHUP, and after `grace` seconds SIGKILL."""
    began = time.monotonic()
    termed: set[int] = set()
    hung_up: set[int] = set()
    while left := set(find()):
        age = time.monotonic() - began
        if age >= grace:
            _send(left, signal.SIGKILL)
        else:
            _send(left - termed, signal.SIGTERM)
            termed |= left
            if age >= HANG_UP_AFTER:
                _send(left - hung_up, signal.SIGHUP)
                _send(left - hung_up, signal.SIGCONT)
                hung_up |= left
        time.sleep(0.02)
        reap()


def reap() -> None:
    """Collect the children that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _send(pids: Collection[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - names, often


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The name, in parentheses, may itself hold spaces and parentheses.
    return text[text.rindex(")") + 2 :].split()
