"""What a run's state is: it follows from the exit code's file, the lock, the notes beside them, and nothing else."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from trainer import run_folder

from . import places
from .locks import is_held
from .records import read_facts

START_SECONDS = 15.0
TAIL_BYTES = 4096
LIVE = ("starting", "waiting", "running")
KEPT = ("data", "model", "sample", "note", "started", "asked_by")


def state_of(run: Path) -> dict[str, Any]:
    job = read_facts(run / run_folder.JOB)
    begun = read_facts(run / run_folder.BEGUN)
    phase, code = phase_of(run)
    return {
        "run_id": run.name,
        "state": phase,
        "exit_code": code,
        "why": _why(run, phase, begun),
        "attempt": begun.get("attempt", 1),
        "last": last_line(run),
        **{key: job.get(key) for key in KEPT},
    }


def phase_of(run: Path) -> tuple[str, int | None]:
    """`absent starting waiting running finished failed interrupted lost`, and the exit code where there is one."""
    held = is_held(run / run_folder.LOCK)
    # Read after the lock: a wrapper writes its exit code before it lets go.
    code = exit_code_of(run)
    told = (run / run_folder.INTERRUPTED).exists()
    if code is not None:
        # What was told to end and finished all the same has finished.
        return ("finished" if code == 0 else "interrupted" if told else "failed"), code
    if held:
        return ("waiting" if read_facts(run / run_folder.LOCK).get("waiting") else "running"), None
    if told:
        return "interrupted", None
    return _without_a_sign(run), None


def _without_a_sign(run: Path) -> str:
    """The lock is free and there is no exit code: it has not begun yet, or it is lost."""
    job, begun = run / run_folder.JOB, run / run_folder.BEGUN
    try:
        age = time.time() - (begun if begun.exists() else job).stat().st_mtime
    except FileNotFoundError:
        return "lost" if run.is_dir() else "absent"
    return "starting" if not has_signed(run) and age < START_SECONDS and not _went_down(read_facts(begun)) else "lost"


def has_signed(run: Path) -> bool:
    """A wrapper has taken the lock for the newest attempt, whatever became of it."""
    lock = run / run_folder.LOCK
    return lock.exists() and read_facts(lock).get("attempt") == read_facts(run / run_folder.BEGUN).get("attempt")


def _went_down(begun: dict[str, Any]) -> bool:
    boot = places.boot_id()
    return bool(boot and begun.get("boot") and begun["boot"] != boot)


def _why(run: Path, phase: str, begun: dict[str, Any]) -> str:
    if phase == "interrupted":
        return str(read_facts(run / run_folder.INTERRUPTED).get("why", ""))
    return "the machine went down" if phase == "lost" and _went_down(begun) else ""


def exit_code_of(run: Path) -> int | None:
    try:
        return int((run / run_folder.EXIT_CODE).read_bytes())
    except (OSError, ValueError):
        return None


def last_line(run: Path) -> str:
    try:
        with (run / run_folder.LOG).open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL_BYTES))
            words = log.read().decode(errors="replace").replace("\r", "\n").split("\n")
    except OSError:
        return ""
    return next((word.strip()[:300] for word in reversed(words) if word.strip()), "")
