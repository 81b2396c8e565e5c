"""The machine restarted from inside, with its address, its disk and its price as they are."""

from __future__ import annotations

import time

from ..errors import GpuError
from ..remote.failures import ConnectionLost, Unreachable
from ..remote.ssh import Connection, connect
from .desk import BOOT_SECONDS, Desk

LOOK_SECONDS = 15.0
_ANSWER_SECONDS = 20.0
_REFUSED = 1
_RUN_AT_WORK = 99
_BOOT = 'exec sh -c \'cat "${GPU_ROOT:-/proc/sys/kernel/random}/$([ "$GPU_ROOT" ] && echo run/boot || echo boot_id)"\''
_RESTART = (
    f"mkdir -p gpu && exec flock --nonblock --conflict-exit-code {_RUN_AT_WORK} gpu/lock "
    "sh -c 'sudo -n systemctl reboot && exec sleep 30'"
)
"""A run holds that lock. It waits for its own end, so that nobody is let in who would be sent away at once."""


def restart(desk: Desk, connection: Connection) -> None:
    """Return when it answers again; `connection` is of no use then. GpuError while a run is at work there."""
    host = connection.address.host
    before = _boot(connection)
    desk.reporter.line(f"restarting {host}, so that its driver is loaded; it answers again in a minute or two")
    _begin(connection)
    until = time.monotonic() + BOOT_SECONDS
    while time.monotonic() < until:
        if _is_back(desk, connection, before):
            return
        time.sleep(1)
    raise GpuError(f"{host} has not come back after its restart", "See: gpu status; or begin anew with gpu stop")


def _begin(connection: Connection) -> None:
    host = connection.address.host
    try:
        code = connection.run(_RESTART, timeout=_ANSWER_SECONDS + 30).exit_code
    except ConnectionLost:
        return
    if code == _RUN_AT_WORK:
        raise GpuError(f"{host} has to be restarted, and a run is at work on it", "Wait for its end: gpu jobs")
    if code == _REFUSED:
        raise GpuError(f"{host} cannot be restarted from inside", "Do it with `gpu stop`, then: gpu start")


def _is_back(desk: Desk, connection: Connection, before: bytes) -> bool:
    try:
        with connect(connection.address, wait=LOOK_SECONDS) as fresh:
            return _boot(fresh) != before
    except Unreachable:
        # Raises, with the remedy, when it does not run any more.
        desk.provider().address()
    except ConnectionLost:
        # Still on its way down.
        pass
    return False


def _boot(connection: Connection) -> bytes:
    """Another one after every boot."""
    return connection.check(_BOOT, timeout=_ANSWER_SECONDS).stdout
