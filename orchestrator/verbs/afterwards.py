"""What becomes of the machine after a run, where it was to be stopped then."""

from __future__ import annotations

import json

from trainer import run_folder

from ..errors import GpuError
from ..remote.job import Job
from . import machine, runs
from .desk import Desk


def stop(desk: Desk, run_id: str | None) -> None:
    """Stop it when the run is home and no other one is on it; otherwise say that it goes on, and costs. None: no run
    has begun, and who started the machine may go on with it.

    A spent budget is its own run's alone: who has begun another wants its result, and when that is there the machine
    stops by itself.
    """
    if run_id is None:
        if _runs(desk):
            _say_on(desk, None, "no run has begun", "`gpu stop`")
    elif run_id in {entry.run_id for entry in desk.ledger.unfetched()}:
        _say_on(desk, run_id, f"{run_id} is not home", f"`gpu pull {run_id}`, then `gpu stop`")
    elif others := _live(desk):
        named = ", ".join(f"{job.run_id} {job.describe()}" for job in others)
        _say_on(desk, run_id, named, "`gpu stop`, which ends what is on it")
    else:
        machine.stop(desk)


def _runs(desk: Desk) -> bool:
    try:
        return desk.provider().state().phase in ("pending", "running")
    except GpuError:
        return False  # what kept the run from beginning has been said


def _live(desk: Desk) -> list[Job]:
    if desk.profile.host:
        return []  # it is not stopped anyway
    try:
        return [job for job in runs.list_jobs(desk) if job.running]
    except GpuError:
        # What does not answer must not go on costing for that.
        return []


def _say_on(desk: Desk, run_id: str | None, why: str, remedy: str) -> None:
    if desk.profile.host:
        return
    price = _price(desk, run_id) if run_id else None
    costs = "" if price is None or desk.profile.emulated else f" and costs ${price:.4g} an hour"
    desk.reporter.line(f"the machine is NOT stopped{costs}, since {why}; stop it with: {remedy}")


def _price(desk: Desk, run_id: str) -> float | None:
    """As the run has it at home: who has just been interrupted asks nobody."""
    try:
        price = json.loads((desk.runs / run_id / run_folder.JOB).read_text()).get("price_per_hour")
    except (OSError, ValueError, AttributeError):
        return None
    return float(price) if isinstance(price, (int, float)) else None
