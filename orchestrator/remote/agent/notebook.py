"""The one Jupyter of this machine: started, joined, looked at, ended. Its lock says whether it runs."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainer import run_folder

from . import notes
from .beginning import in_tmux, scope
from .locks import is_held
from .notes import Places
from .records import read_facts, write_facts

START_SECONDS = 20.0
"""How long one question waits for it; whoever asks again waits on."""
GRACE_SECONDS = 25.0
BEGIN_SECONDS = 15.0
LAST_LINES = 8
KEEPER = "gpu-notebook"
"""The last word of the keeper's command line, by which the machine's self-stop knows it (`ami/selfstop.sh`)."""


def answer(verb: str) -> dict[str, Any]:
    if verb == "start":
        return start()
    return stop() if verb == "stop" else state()


def start() -> dict[str, Any]:
    """Begin it as stdin wishes, or join the one that runs; returns once it answers, has failed, or takes long."""
    wish = json.loads(sys.stdin.buffer.read())
    here = Places()
    here.make()
    warning = failed = ""
    with _alone(here):
        notes.name_disk(here)
        notes.give_lesson(here)
        if not is_held(here.lock):
            write_facts(here.wish, wish)
            words, warning = scope()
            failed = in_tmux(run_folder.NOTEBOOK_SESSION, ["keep", KEEPER], words)
    until = time.monotonic() + START_SECONDS
    while not failed:
        found = state()
        if found["state"] != "starting" or time.monotonic() > until:
            return {**found, "warning": warning}
        time.sleep(0.1)
    return {**state(), "state": "absent", "last": failed}


@contextlib.contextmanager
def _alone(here: Places) -> Iterator[None]:
    """Two who begin it at the same moment write the same files."""
    with (here.folder / "start").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        # What is started meanwhile does not inherit it, and the file's end is the lock's.
        yield


def state() -> dict[str, Any]:
    """`absent starting running`; what reaches it; every notebook's size and time, as far as it is the user's own."""
    here = Places()
    facts = read_facts(here.facts)
    kernels = None
    held = is_held(here.lock)
    if held and facts:
        # Its modules take a while to load, and most of the time nobody is there to be asked.
        from .asking import kernels_of

        kernels = kernels_of(str(facts.get("socket")), str(facts.get("token")))
    phase = "absent" if not held and not _begins(here) else "starting" if kernels is None else "running"
    return {
        "state": phase,
        "kernels": kernels or [],
        "disk": notes.disk(here),
        "files": notes.listing(here),
        "last": "" if phase == "running" else last_lines(here.log),
        **{key: facts.get(key) for key in ("socket", "token", "data", "code", "since")},
    }


def _begins(here: Places) -> bool:
    """Its keeper has been asked for a moment ago and has not read what is wished yet."""
    try:
        return time.time() - here.wish.stat().st_mtime < BEGIN_SECONDS
    except FileNotFoundError:
        return False


def stop() -> dict[str, Any]:
    """SIGTERM, at which Jupyter ends its kernels and goes, then, after a grace, SIGKILL."""
    here = Places()
    began, asked, forced = time.monotonic(), False, False
    while is_held(here.lock) and time.monotonic() - began < 2 * GRACE_SECONDS:
        facts = read_facts(here.lock)
        forced = time.monotonic() - began > GRACE_SECONDS
        if forced:
            _signal(facts.get("jupyter"), signal.SIGKILL)
        elif not asked:
            # Its keeper passes it on, unless it has been killed: Jupyter holds the lock by itself. A second one would
            # disturb the ending.
            asked = _signal(facts.get("keeper"), signal.SIGTERM) or _signal(facts.get("jupyter"), signal.SIGTERM)
        time.sleep(0.1)
    if not is_held(here.lock):
        clear(here)
    return {**state(), "forced": forced}


def _signal(process: Any, number: int) -> bool:
    """False where there is no such process, or one that has ended and that nobody has buried."""
    if not isinstance(process, int) or process <= 1:
        return False
    with contextlib.suppress(OSError, IndexError):
        if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return False
    try:
        os.kill(process, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def clear(here: Places) -> None:
    """What only a running one needs: above all its token."""
    where = read_facts(here.facts).get("socket")
    if isinstance(where, str):
        Path(where).unlink(missing_ok=True)
        if Path(where).parent.name.startswith("gpu-notebook-"):
            with contextlib.suppress(OSError):
                Path(where).parent.rmdir()
    for file in (here.facts, here.wish, here.configuration / "jupyter_server_config.json"):
        file.unlink(missing_ok=True)


def last_lines(log: Path) -> str:
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - 8192))
            lines = stream.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return "\n".join([line for line in lines if line.strip()][-LAST_LINES:])
