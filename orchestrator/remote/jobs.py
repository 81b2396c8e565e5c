"""Runs on the machine: started in tmux, followed, looked at and ended."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trainer import run_folder

from ..errors import GpuError, ToolMissing
from ..providers.base import Address
from .command import CommandFailed
from .dispatch import ask, listen
from .failures import ConnectionLost
from .job import Job, plain, read_job
from .openssh import ssh_argv
from .ssh import Connection

BUSY_EXIT = 75
OWN_SESSION = "main"
NO_LOCALE = "Make one there: gpu ssh -- sudo localedef -i en_US -f UTF-8 en_US.UTF-8"
FRUITLESS_LINKS = 8
"""So many links one after the other that broke without a byte of progress are the last."""
FRUITFUL_SECONDS = 30.0
"""A link that has held so long was a good one, even if the run had nothing to say meanwhile."""


@dataclass(frozen=True)
class Readiness:
    """What the machine has. `busy`: the run that holds it, if any. `data`: the data sets on it."""

    python: str
    free_bytes: int
    home: str
    busy: str | None
    data: tuple[str, ...]


def ready(connection: Connection) -> Readiness:
    """Whether a run can begin; `ToolMissing` and GpuError say what the machine lacks."""
    facts = ask(connection, ["ready"])
    where = f"on {connection.address.host}"
    if not facts.get("tmux"):
        install = "Install it there with `gpu ssh -- sudo apt-get install -y tmux`, or ask whoever runs the machine"
        raise ToolMissing("tmux", where, install)
    memory, needed = facts.get("memory_mib"), int(facts["needed_mib"])
    if memory is not None and int(memory) < needed:
        raise GpuError(
            f"{int(memory)} MiB of memory are free {where}, and a run needs {needed} MiB",
            "End what else runs there, add swap, or take a larger machine: gpu resize",
        )
    return Readiness(
        python=str(facts["python"]),
        free_bytes=int(facts["free_bytes"]),
        home=str(facts["home"]),
        busy=plain(facts["busy"]) or None,
        data=tuple(plain(name) for name in facts["data"]),
    )


def start_run(connection: Connection, run_id: str, job: Mapping[str, Any]) -> tuple[Job, str]:
    """Start it and return once it holds its lock, with a warning where it may not outlive the login.

    Safe to repeat after a cut connection: one attempt (`job["attempt"]`) begins once.
    """
    run_folder.check_run_id(run_id)
    facts = ask(connection, ["start", run_id], json.dumps(job).encode())
    begun = read_job(facts)
    if begun.exit_code == BUSY_EXIT:
        raise GpuError(
            f"{run_id} did not begin: {begun.last}",
            "Wait for that run, end it with `gpu cancel`, or stand in line with: gpu train --queue",
        )
    if begun.state in ("lost", "absent", "starting"):
        raise GpuError(
            f"{run_id} did not begin on {connection.address.host}: {begun.last or 'its wrapper never took its lock'}",
            NO_LOCALE if "UTF-8 locale" in begun.last else "See what tmux says there: gpu ssh -- tmux -L gpu ls",
        )
    return begun, plain(facts.get("warning"))


def jobs(connection: Connection) -> list[Job]:
    """Every run on the machine, oldest first, in one round trip."""
    return [read_job(facts) for facts in ask(connection, ["jobs"])]


def state(connection: Connection, run_id: str) -> Job:
    return read_job(ask(connection, ["state", run_folder.check_run_id(run_id)]))


def cancel(connection: Connection, run_id: str) -> Job:
    """End it, its checkpoint first, and return how it ended; one that has ended already stays as it is."""
    return read_job(ask(connection, ["cancel", run_folder.check_run_id(run_id)]))


def read_log(connection: Connection, run_id: str, on_bytes: Callable[[bytes], None]) -> None:
    """The log as far as it has been written; nothing where there is none yet."""
    log = run_folder.MachineFolder().run(run_id) / run_folder.LOG
    completed = connection.stream(f"test ! -e {log} || cat {log}", on_bytes)
    if completed.exit_code:
        raise CommandFailed(connection.address.host, completed)


def log_size(connection: Connection, run_id: str) -> int:
    """Bytes of it so far."""
    log = run_folder.MachineFolder().run(run_id) / run_folder.LOG
    return int(connection.check(f"test ! -e {log} && echo 0 || wc -c < {log}").stdout)


def follow(connect: Callable[[], Connection], run_id: str, offset: int, on_bytes: Callable[[bytes], None]) -> Job:
    """Every byte of the log from `offset` on, once and in order, until the run ends; a cut link is made anew.

    A dead link is noticed by the connection's own heartbeat. What `connect` raises, and `ConnectionLost` after link
    upon link without progress, is the caller's.
    """
    position = offset
    fruitless = 0

    def take(data: bytes) -> None:
        nonlocal position
        on_bytes(data)
        position += len(data)

    while True:
        before, began = position, time.monotonic()
        try:
            with connect() as connection:
                return _follow_once(connection, run_id, position, take)
        except ConnectionLost:
            good = position > before or time.monotonic() - began > FRUITFUL_SECONDS
            fruitless = 0 if good else fruitless + 1
            if fruitless >= FRUITLESS_LINKS:
                raise
            time.sleep(min(10.0, 0.25 * 2**fruitless))


def _follow_once(connection: Connection, run_id: str, offset: int, take: Callable[[bytes], None]) -> Job:
    while True:
        words = ("follow", run_folder.check_run_id(run_id), str(offset))
        got = 0

        def count(data: bytes) -> None:
            nonlocal got
            take(data)
            got += len(data)

        completed = listen(connection, words, count)
        # Also after a failure: the session was ended from the other side, or the agent cannot run at all, and the
        # question tells which.
        job = state(connection, run_id)
        if completed.exit_code:
            raise ConnectionLost(connection.address.host)
        offset += got
        if not job.running:
            return job


def attach_argv(address: Address, run_id: str | None = None) -> list[str]:
    """The argv that puts one into a run's tmux, or, without a run, into one's own session, made or joined."""
    if run_id is None:
        return ssh_argv(address, tty=True, command=["tmux", "-u", "new-session", "-A", "-s", OWN_SESSION])
    session = f"={run_folder.tmux_session(run_id)}"
    return ssh_argv(
        address, tty=True, command=["tmux", "-u", "-L", run_folder.TMUX_SOCKET, "attach-session", "-t", session]
    )
