"""`gpu train --resume RUN`: a run that ended before it was done goes on in its folder, from its checkpoint."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer import run_folder

from ..errors import GpuError, MachineAbsent, MachineStopped, UsageError, nearest
from ..remote import dispatch, jobs, sync
from ..remote.job import Job, plain
from ..remote.ssh import Connection
from . import own, runs, spending
from .arrival import arrive
from .desk import BOOT_SECONDS, Desk
from .predict import LAST

LOOK_SECONDS = 3.0
NOTICE_SECONDS = 240.0
"""EC2 takes a spot machine two minutes after its notice; one that is still there so late has been left alone."""
SAY_SECONDS = 300.0
RESUME = "--resume"


@dataclass(frozen=True)
class Again:
    """How it shall go on; the rest is as it was asked for the first time."""

    budget: float | None = None
    queue: bool = False
    checksum: bool = False
    gpu: int | None = None
    """Another than it had: None: the one that was named then, or one that nobody uses now."""


def launch(desk: Desk, run_id: str, again: Again, begins: Callable[[str], None]) -> str:
    """Start the machine where needed and begin another attempt of the run; returns its id. `run_id` may be `last`."""
    spending.check(again.budget)
    _check(desk, run_id)
    with arrive(desk) as arrival:
        connection = arrival.connection
        known = jobs.jobs(connection)
        found = _last(known) if run_id == LAST else runs.find(known, run_id)
        run_id = found.run_id
        _refuse(found)
        runs.refuse_second(jobs.ready(connection).busy, queue=again.queue)
        job = _job(connection, run_id)
        _send_data(desk, connection, job, checksum=again.checksum)
        changed = {"attempt": found.attempt + 1, "code": dispatch.code_digest(), "queue": again.queue}
        wanted = job.get("gpu") if again.gpu is None else again.gpu
        job |= own.take_gpu(desk, connection, wanted, job["command"], queue=again.queue)
        job |= {**changed, **spending.terms(arrival.state(), again.budget), "command": _command(job)}
        _prepare_home(desk, run_id, job)
        begins(run_id)
        _, warning = jobs.start_run(connection, run_id, job)
        # Again: a `gpu pull` at this very moment has taken the end of the earlier attempt for the result.
        _prepare_home(desk, run_id, job)
    for line in filter(None, (warning, f"run {run_id} goes on")):
        desk.reporter.line(line)
    return run_id


def go_on(desk: Desk, run_id: str) -> None:
    """By itself, after the machine has come back: as it was, unless somebody has resumed it already."""
    with desk.connect(wait=BOOT_SECONDS) as connection:
        found = jobs.state(connection, run_id)
        job = _job(connection, run_id)
        spent = spending.spent(job, _interruption(connection, run_id))
    if found.resumable:
        budget = spending.rest(job, spent)
        if budget is not None and budget <= 0:
            raise spending.BudgetSpent(run_id, spent)
        launch(desk, run_id, Again(budget, queue=job.get("queue") is True), lambda _: None)


def _interruption(connection: Connection, run_id: str) -> object:
    """What the machine noted when it interrupted the run; None where it did not, or it cannot be read."""
    file = run_folder.MachineFolder().run(run_id) / run_folder.INTERRUPTED
    try:
        return json.loads(connection.run(f"cat {file}").stdout)
    except ValueError:
        return None


def _check(desk: Desk, run_id: str) -> None:
    """No machine is started, or paid for, to look for a run that cannot be."""
    try:
        _ = run_id == LAST or run_folder.check_run_id(run_id)
    except ValueError as error:
        here = [run.name for run in desk.runs.iterdir() if run_folder.is_run(run)] if desk.runs.is_dir() else []
        known = sorted({LAST, *here, *(entry.run_id for entry in desk.ledger.unfetched())})
        hint = nearest(run_id, known) or "See: gpu jobs"
        raise UsageError(f"{plain(run_id)} is not the id of a run", hint) from error


def _last(known: Sequence[Job]) -> Job:
    """The newest that can go on."""
    found = [job for job in known if job.resumable]
    if not found:
        raise GpuError("no run on the machine has ended before it was done", "See: gpu jobs")
    return found[-1]


def _refuse(found: Job) -> None:
    if found.running:
        raise GpuError(f"{found.run_id} {found.describe()}", f"Follow it with: gpu logs -f {found.run_id}")
    if found.succeeded:
        raise GpuError(f"{found.run_id} has finished", f"Bring it home with: gpu pull {found.run_id}")
    if not found.resumable:
        raise GpuError(f"{found.run_id} {found.describe()}, so there is nothing to go on from", "Train anew")


def _job(connection: Connection, run_id: str) -> dict[str, Any]:
    """`job.json`: the machine's, which is there whoever began the run, from whatever computer."""
    file = run_folder.MachineFolder().run(run_id) / run_folder.JOB
    try:
        job = json.loads(connection.check(f"cat {file}").stdout)
        command = job["command"]
    except (ValueError, KeyError, TypeError) as error:
        raise GpuError(f"{file} on {connection.address.host} says not what was asked for", "Train anew") from error
    if not isinstance(command, list) or not all(isinstance(word, str) for word in command):
        raise GpuError(f"{file} on {connection.address.host} holds no command", "Train anew")
    return dict(job)


def _command(job: dict[str, Any]) -> list[str]:
    """The same, from the checkpoint."""
    command: list[str] = job["command"]
    return command if RESUME in command else [*command, RESUME]


def _send_data(desk: Desk, connection: Connection, job: dict[str, Any], *, checksum: bool) -> None:
    """As at first; a data set that is on the machine alone stays as it is."""
    name = run_folder.check_data_name(str(job.get("data")))
    if (desk.data / name).is_dir():
        with desk.reporter.progress(f"sending {name}", unit="B") as bar:
            target = run_folder.MachineFolder().data(name)
            sync.push(connection.address, desk.data / name, target, bar, checksum=checksum)


def _prepare_home(desk: Desk, run_id: str, job: dict[str, Any]) -> None:
    """What came home of an earlier attempt is not the result any more."""
    home = desk.runs / run_id
    home.mkdir(parents=True, exist_ok=True)
    (home / run_folder.VERIFIED).unlink(missing_ok=True)
    (home / run_folder.JOB).write_text(json.dumps(job, indent=1) + "\n")
    desk.ledger.add(run_id, kind=desk.kind, runs=desk.runs)


def is_taken(desk: Desk, job: Job | None) -> bool:
    """Whether EC2 takes, or has taken, the spot machine that the run is on: by itself it will not go on."""
    taken = job is None or (job.state, job.why) == ("interrupted", "spot notice") or (job.state == "lost" and job.why)
    if not taken:
        return False
    return desk.provider().state().spot


def launched(folder: Path) -> str | None:
    """When the machine began to run on which the run in this folder at home is; None where that is not known."""
    noted = json.loads((folder / run_folder.JOB).read_text()).get(spending.LAUNCHED)
    return None if noted is None else str(noted)


def wait_until_back(desk: Desk, launched: str | None) -> None:
    """Until EC2, which starts a spot machine again by itself, has done so. `launched`: when it began to run before.

    GpuError when it is gone for good, or somebody else has stopped it.
    """
    desk.reporter.line("EC2 takes the spot machine back; the run goes on when it is there again (Ctrl-C: later)")
    provider = desk.provider()
    began = said = time.monotonic()
    gone = False
    while True:
        state = provider.state()
        gone = gone or state.phase != "running" or (launched is not None and spending.since(state) != launched)
        if state.phase in ("absent", "terminated", "shutting-down"):
            raise MachineAbsent(desk.kind, desk.profile.name)
        if state.phase == "stopped" and state.stop_reason and "pot" not in state.stop_reason:
            raise MachineStopped(desk.kind, state.phase)
        if state.phase == "running" and (gone or time.monotonic() - began > NOTICE_SECONDS):
            return
        if time.monotonic() - said > SAY_SECONDS:
            said = time.monotonic()
            desk.reporter.line(f"the spot machine is {state.phase}; still waiting for EC2")
        time.sleep(LOOK_SECONDS)
