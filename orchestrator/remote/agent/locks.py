"""Locks: the kernel's, never a file's presence. What is written in one only says who, while it is held."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

from . import places
from .records import read_facts

LOOK_SECONDS = 0.5


def take(file: Path) -> int | None:
    """The descriptor that holds it, or None while somebody else does. Children inherit it and hold it too."""
    descriptor = os.open(str(file), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    until = time.monotonic() + LOOK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            # Whoever only looks whether it is held has it for a moment too.
            if time.monotonic() > until:
                os.close(descriptor)
                return None
            time.sleep(0.01)


def is_held(file: Path) -> bool:
    try:
        descriptor = os.open(str(file), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # A shared lock: two who only look never take one another for a holder.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def sign(descriptor: int, facts: dict[str, Any]) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(facts).encode(), 0)


def holder() -> str | None:
    """The run that has the machine; None while it is free."""
    lock = Path(places.machine().lock)
    return str(read_facts(lock).get("run_id") or "another program") if is_held(lock) else None
