"""The runs on a machine, as it tells of them itself: those of other computers too, and those that the ledger lost."""

from __future__ import annotations

from trainer import run_folder

from ..errors import Declined, GpuError
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


def before_stop(desk: Desk) -> None:
    """Say which runs the machine's stop ends and what is not home, and ask, where somebody can be asked, whether they
    may be ended; raises `Declined`. A machine that does not answer is stopped all the same: it costs."""
    if say_what_ends(desk) and not _agreed(desk):
        raise Declined("the machine goes on running", "Give -y to stop it all the same; `gpu logs -f` follows the run")


def say_what_ends(desk: Desk) -> bool:
    """Whether there are runs that end when the machine stops: each is said, and so is what is not home."""
    unfetched = [entry.run_id for entry in desk.ledger.unfetched(desk.kind)]
    ending: list[Job] = []
    try:
        found = runs(desk)
        ending = [job for job in found if job.running]
        unfetched += [job.run_id for job in found if not is_home(desk, job)]
    except (GpuError, OSError) as error:
        desk.reporter.line(f"it could not be asked what runs on it: {error}")
    for job in ending:
        desk.reporter.line(
            f"{job.run_id} {job.describe()} and is ended, its checkpoint first; "
            f"go on with: gpu train --resume {job.run_id}"
        )
    kept = sorted({*unfetched} - {job.run_id for job in ending})
    if kept:
        desk.reporter.line(f"not home yet, and kept on its disk: {', '.join(kept)}; `gpu pull` once it runs again")
    return bool(ending)


def _agreed(desk: Desk) -> bool:
    if desk.profile.emulated:
        return True
    try:
        return desk.reporter.confirm("Stop it all the same?")
    except Declined:
        # Nobody is there, and a machine that nobody stops costs.
        return True
