"""Whose turn it is: the order in which runs were submitted to this machine."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from trainer import run_folder

from . import places
from .phases import exit_code_of, phase_of
from .records import read_facts


def next_ticket() -> int:
    """Larger than every one before; two who submit at once get two."""
    descriptor = os.open(str(places.machine().queue), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        number = 0
        with contextlib.suppress(ValueError):
            number = int(os.pread(descriptor, 32, 0) or b"0")
        # Over the old digits and never shorter than they are: cut off in between it is still a number.
        os.pwrite(descriptor, b"%020d\n" % (number + 1), 0)
        return number + 1
    finally:
        os.close(descriptor)


def ticket_of(run: Path) -> int:
    number = read_facts(run / run_folder.BEGUN).get("ticket")
    return number if isinstance(number, int) else 0


def ahead(run: Path, *, phases: tuple[str, ...] = ("waiting", "starting")) -> list[str]:
    """The runs that were submitted before this one and have not had their turn, the first one first."""
    own = ticket_of(run)
    earlier = [
        (ticket, other.name)
        for other in places.run_folders()
        if other != run
        and exit_code_of(other) is None
        and 0 < (ticket := ticket_of(other)) < own
        and phase_of(other)[0] in phases
    ]
    return [name for _, name in sorted(earlier)]


def waiting() -> list[str]:
    """Every run that waits, in the order of their turns."""
    found = [run for run in places.run_folders() if exit_code_of(run) is None and phase_of(run)[0] == "waiting"]
    return [run.name for run in sorted(found, key=ticket_of)]
