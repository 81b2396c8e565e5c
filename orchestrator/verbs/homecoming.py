"""Results that are not home: the next command on a terminal offers to bring them."""

from __future__ import annotations

import contextlib

from ..errors import GpuError
from ..providers.base import Address
from .desk import DOOR_SECONDS, Desk


def offer(desk: Desk) -> None:
    """Ask once for the runs that have ended and are not home; nothing where there are none, or no machine answers.

    Costs a look at a folder when everything is home. A machine whose address is not known is not looked for.
    """
    waiting = {entry.run_id for entry in desk.ledger.unfetched(desk.kind)}
    address = _door(desk) if waiting else None
    if address is None:
        return
    from ..remote import jobs, ssh
    from . import runs

    try:
        with ssh.connect(address, seconds=DOOR_SECONDS) as connection:
            found = [job for job in jobs.jobs(connection) if job.run_id in waiting and not job.running]
        for job in found:
            if desk.reporter.confirm(f"{job.run_id} {job.describe()} and is not home; bring it home now?"):
                runs.bring_home(desk, job.run_id, job)
    except GpuError as error:
        # An offer, not what was asked for.
        desk.reporter.line(f"what is not home could not be brought: {error}")


def _door(desk: Desk) -> Address | None:
    """Where it is known to be, or, with a host of one's own, always is; nobody is asked."""
    if desk.profile.host:
        with contextlib.suppress(GpuError):
            return desk.provider().address()
    return desk.known_address()
