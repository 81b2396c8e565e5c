"""The machine that stops by itself: hold it off, and tell it this profile's times."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

from ..errors import GpuError, UsageError
from ..remote import awake
from ..remote.awake import Wakefulness
from ..remote.ssh import Connection
from . import own
from .desk import Desk


def keep(desk: Desk, seconds: float | None) -> datetime | None:
    """Awake for so long from now, whatever the idle timer thinks; None takes that back. Returns until when, in UTC."""
    span = None if seconds is None else timedelta(seconds=seconds)
    if span is not None and span > awake.LONGEST_KEEP:
        raise UsageError(
            f"a machine is kept awake for at most {awake.LONGEST_KEEP.days} days at a time",
            "Set `autostop: 0` in its profile to have it never stop when idle",
        )
    if desk.known_address() is None:
        own.refuse(desk.provider(), "never stops by itself", "There is nothing to hold off")
    until = None if span is None else datetime.now(timezone.utc) + span
    with desk.connect() as connection:
        awake.keep(connection, until)
    return until


def arm(desk: Desk, connection: Connection, deadline: datetime | None) -> None:
    """Tell the machine when to stop by itself. That it cannot be told is said, and is no reason not to start."""
    try:
        awake.arm(connection, desk.profile.autostop, desk.profile.max_hours, deadline)
    except GpuError as error:
        desk.reporter.line(f"the machine may not stop by itself: {error}")


def sentences(found: Wakefulness | None, now: datetime | None = None) -> Iterator[str]:
    """What `gpu status` says of it, times in the local zone."""
    if found is None:
        yield "nothing would stop it by itself: it has no gpu-selfstop; `gpu start` installs it"
        return
    if found.reasons:
        yield f"awake because of: {', '.join(found.reasons)}"
    elif found.idle_since:
        yield f"idle since {shown(found.idle_since, now)}"
    if found.kept_until:
        yield f"kept awake until {shown(found.kept_until, now)}; `gpu keep off` ends that"
    yield f"stops by itself at {shown(found.stop_at, now)}: {found.why}" if found.stop_at else "never stops by itself"
    for trouble in found.troubles:
        yield f"not seen, so idleness has to last twice as long: {trouble}"
    if not found.watching:
        yield "its self-stop timer does not run; `gpu start` installs it again"


def shown(moment: datetime, now: datetime | None = None) -> str:
    """«18:30», with the day when that is another one."""
    local, today = moment.astimezone(), (now or datetime.now(timezone.utc)).astimezone().date()
    return f"{local:%H:%M}" if local.date() == today else f"{local:%a %d %b %H:%M}"
