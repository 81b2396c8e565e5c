"""The runs on a machine, as it tells of them itself: those of other computers too, and those that the ledger lost."""

from __future__ import annotations

from trainer import run_folder

from ..remote import jobs, ssh
from ..remote.job import Job
from .desk import DOOR_SECONDS, Desk


def runs(desk: Desk) -> list[Job]:
    """Oldest first. GpuError, soon, where the machine does not run or does not answer."""
    with ssh.connect(desk.provider().address(), seconds=DOOR_SECONDS) as connection:
        return jobs.jobs(connection)


def is_home(desk: Desk, job: Job) -> bool:
    """A run that goes on is not, whatever has come home of it."""
    verified = desk.runs / job.run_id / run_folder.VERIFIED
    return not job.running and (desk.ledger.came_home(job.run_id) or verified.exists())
