"""Living with runs: list, follow, attach, end, bring home."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from trainer import run_folder

from ..errors import GpuError, MachineStopped, RunFailed, UsageError, nearest
from ..remote import jobs, sync
from ..remote.failures import Unreachable
from ..remote.job import Job, plain
from ..remote.ssh import Connection
from . import selection
from .desk import Desk
from .entrance import on_terminal

TAIL_LINES = 15
LINK_SECONDS = 60.0
OFFLINE_SECONDS = 1800.0
"""For how long a follower tries to come back to a machine that does not answer."""


class StoppedUnder(MachineStopped):
    """The machine has stopped under a run that is followed."""

    def __init__(self, run_id: str, stopped: MachineStopped) -> None:
        super().__init__("", stopped.phase)
        GpuError.__init__(
            self,
            f"{stopped.what}, and {run_id} with it",
            f"Go on from its checkpoint with `gpu train --resume {run_id}`, or bring home what there is with "
            f"`gpu start`, then `gpu pull {run_id}`",
        )


@contextlib.contextmanager
def named(run_id: str) -> Iterator[None]:
    """Whoever follows a run is told what becomes of it when its machine stops."""
    try:
        yield
    except StoppedUnder:
        raise
    except MachineStopped as error:
        raise StoppedUnder(run_id, error) from error


class Damaged(GpuError):
    """A finished run whose files do not fit its sums on the machine itself."""

    def __init__(self, folder: Path, wrong: Sequence[str]) -> None:
        super().__init__(
            f"{folder.name} is damaged on the machine itself: its SHA-256 sums do not fit {', '.join(wrong[:5])}",
            f"What there is lies in {folder}. Train anew, and give this run up with "
            f"`gpu ssh -- rm -r gpu/runs/{folder.name}` or, with all of the machine, `gpu destroy --abandon`",
        )


def list_jobs(desk: Desk) -> list[Job]:
    """Every run on the machine, oldest first."""
    with desk.connect() as connection:
        return jobs.jobs(connection)


def choose(desk: Desk, run_id: str | None) -> str:
    """The run that was named, or the newest on the machine."""
    known = list_jobs(desk)
    if not known:
        raise GpuError("there is no run on the machine yet", "Start one with: gpu train --data NAME")
    return known[-1].run_id if run_id is None else find(known, run_id).run_id


def find(known: Sequence[Job], run_id: str) -> Job:
    """The run of this id among those on the machine. UsageError where there is none."""
    for job in known:
        if job.run_id == run_id:
            return job
    names = [job.run_id for job in known]
    newest = f"The newest is {names[-1]}" if names else "There is none at all"
    raise UsageError(f"there is no run {plain(run_id)} on the machine", nearest(run_id, names) or newest)


def refuse_second(busy: str | None, *, queue: bool) -> None:
    """Unless it is to wait for its turn."""
    if busy and not queue:
        raise GpuError(
            f"the machine is training already: {busy}",
            f"Follow it with `gpu logs -f {busy}`, end it with `gpu cancel {busy}`, "
            "or wait for its end with: gpu train --queue",
        )


def follow(desk: Desk, run_id: str, show_log: Callable[[bytes], None]) -> Job:
    """Show the log from the byte where this computer left it, until the run ends; a cut connection is made anew.

    Of several who follow one run, the first alone keeps what it sees.
    """
    log = desk.runs / run_id / run_folder.LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    with named(run_id), log.open("ab") as copy:
        keeps = _is_ours(copy)
        offset = copy.tell()
        if offset and offset > _size_there(desk, run_id):
            # What is here is not the beginning of what is there.
            offset = 0
            if keeps:
                copy.truncate(0)

        def take(data: bytes) -> None:
            # Kept before it is shown: what was seen once is not shown again after a crash.
            if keeps:
                copy.write(data)
                copy.flush()
            show_log(data)

        return jobs.follow(lambda: _reconnect(desk), run_id, offset, take)


def _is_ours(copy: BinaryIO) -> bool:
    try:
        fcntl.flock(copy, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    # Whoever had it until now may have written since it was opened.
    copy.seek(0, os.SEEK_END)
    return True


def _size_there(desk: Desk, run_id: str) -> int:
    with _reconnect(desk) as connection:
        return jobs.log_size(connection, run_id)


def _reconnect(desk: Desk) -> Connection:
    """A machine that runs and is not to be reached is waited for: a train in a tunnel, a laptop that has just woken."""
    began = time.monotonic()
    while True:
        try:
            return desk.connect(wait=LINK_SECONDS)
        except Unreachable as error:
            if time.monotonic() - began > OFFLINE_SECONDS:
                raise
            desk.reporter.line(f"{error.what}; trying again, and the run goes on meanwhile (Ctrl-C leaves it alone)")


def whole_log(desk: Desk, run_id: str, show_log: Callable[[bytes], None]) -> None:
    """The log as far as it has been written."""
    with desk.connect() as connection:
        jobs.read_log(connection, run_id, show_log)


def attach(desk: Desk, run_id: str | None) -> int:
    """Be in the run's tmux, or in one's own session on the machine; returns tmux's exit code."""
    session = choose(desk, run_id) if run_id else None
    with desk.connect() as connection:
        address = connection.address
    return on_terminal(desk, jobs.attach_argv(address, session))


def cancel(desk: Desk, run_id: str) -> Job:
    """End a run; one that has ended already stays as it ended."""
    chosen = choose(desk, run_id)
    with desk.connect() as connection:
        return jobs.cancel(connection, chosen)


@dataclass(frozen=True)
class Pulled:
    folders: list[Path]
    """Of the runs that have come home now."""
    live: list[Job]
    """Those that have not ended, and so are not home."""


def pull(desk: Desk, run_id: str | None) -> Pulled:
    """Bring home the run that was named, or every finished one that is not home."""
    found = {job.run_id: job for job in list_jobs(desk)}
    _forget_unbegun(desk, found)
    if run_id:
        job = find([*found.values()], run_id)
        if job.running:
            raise GpuError(f"{run_id} is still running", f"Follow it with: gpu logs -f {run_id}")
        bring_home(desk, run_id, job)
        return Pulled([desk.runs / run_id], [])
    folders = []
    damaged: Damaged | None = None
    for name, job in found.items():
        if _is_home(desk, job):
            continue
        try:
            bring_home(desk, name, job)
            folders.append(desk.runs / name)
        except Damaged as error:
            # The others come home all the same.
            damaged = error
            desk.reporter.line(error.what)
    if damaged:
        raise damaged
    return Pulled(folders, [job for job in found.values() if job.running])


def _forget_unbegun(desk: Desk, found: Collection[str]) -> None:
    """A client that ended just before its run began left a line in the ledger, and nothing on the machine; a machine
    that is gone took its runs with it."""
    for entry in desk.ledger.unfetched(desk.kind):
        # A damaged entry does not say of which machine it is.
        elsewhere = entry.kind != desk.kind and selection.others(desk, desk.kind)
        if entry.run_id not in found and not elsewhere:
            desk.reporter.line(
                f"{entry.run_id} is not on this machine: it never began, or went with an earlier one; "
                "there is nothing to bring home"
            )
            desk.ledger.remove(entry.run_id)


def _is_home(desk: Desk, job: Job) -> bool:
    return job.running or (desk.runs / job.run_id / run_folder.VERIFIED).exists()


def bring_home(desk: Desk, run_id: str, state: Job) -> None:
    """Copy the run's folder home and check every file's SHA-256; only then does the ledger let it go.

    A run that failed has no `SHA256SUMS`: what it left comes home as it is. GpuError where it was resumed meanwhile.
    """
    folder = desk.runs / run_id
    _copy(desk, run_id)
    if state.succeeded and _wrong(folder):
        # Every byte is read again at both ends: what is wrong after that is wrong on the machine too.
        _copy(desk, run_id, checksum=True)
        if wrong := _wrong(folder):
            _refuse_changed(desk, state)
            raise Damaged(folder, wrong)
    _refuse_changed(desk, state)
    sync.mark_verified(folder)
    desk.ledger.note_home(run_id)


def _copy(desk: Desk, run_id: str, *, checksum: bool = False) -> None:
    with (
        desk.connect(wait=LINK_SECONDS) as connection,
        desk.reporter.progress(f"bringing {run_id} home", unit="B") as bar,
    ):
        source = run_folder.MachineFolder().run(run_id)
        sync.pull(connection.address, source, desk.runs / run_id, bar, checksum=checksum)


def _wrong(folder: Path) -> list[str]:
    """The files that are not as their sums say; the sums themselves where they say nothing."""
    try:
        return sync.verify(folder)
    except sync.NoProof:
        return [run_folder.SUMS]


def _refuse_changed(desk: Desk, before: Job) -> None:
    """The copy took its time, and what has come is not the result of a run that was resumed meanwhile."""
    with desk.connect(wait=LINK_SECONDS) as connection:
        now = jobs.state(connection, before.run_id)
    if (now.state, now.exit_code, now.attempt) != (before.state, before.exit_code, before.attempt):
        raise GpuError(
            f"{now.run_id} was resumed while it was brought home, and {now.describe()}: it is not home",
            f"Follow it with `gpu logs -f {now.run_id}`, and bring it home with: gpu pull {now.run_id}",
        )


def raise_if_failed(desk: Desk, run_id: str, state: Job) -> None:
    """Exit code 3 with the last lines of the log, for a run that did not end with 0."""
    if state.succeeded:
        return
    log = (desk.runs / run_id / run_folder.LOG).read_text(errors="replace").splitlines()
    remedy = (
        f"go on from its checkpoint: gpu train --resume {run_id}\n" if state.state in ("interrupted", "lost") else ""
    )
    lines = "\n".join(f"  {line}" for line in log[-TAIL_LINES:])
    raise RunFailed(
        f"the run {run_id} {state.describe()}; its last lines:\n{lines}\n{remedy}the whole log: gpu logs {run_id}"
    )
