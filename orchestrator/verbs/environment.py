"""The environment that training needs, on a rented machine: made at the first start, changed with the hardware."""

from __future__ import annotations

import shlex
from pathlib import Path

from ..errors import GpuError
from ..providers.base import LeftAlone
from ..remote.ssh import Connection, connect
from . import provision, restart, torchcheck
from .desk import BOOT_SECONDS, Desk
from .doctor import vital_signs

DIAL_SECONDS = 10.0
ANSWER_SECONDS = 20.0
_LOOK = """cd gpu 2>/dev/null && test -x env/bin/python || exit 1
case $(readlink env) in "$HOME"/gpu/envs/*) ;; *) exit 0 ;; esac
{
  readlink env
  cat "$GPU_ROOT"/sys/bus/pci/devices/*/modalias 2>/dev/null | grep '^pci:v000010DE.*bc03'
  cat requirements.txt 2>/dev/null
} | cmp -s - provision/ready"""
"""Whether it is what `provision.sh` noted (its `made_for`): this environment, these GPUs, these wishes. One that is
somebody's own is theirs."""


def expect_change(desk: Desk) -> None:
    """The kind's machine is about to become another type: to be looked at when it next runs."""
    desk.state_file.token(_changed(desk), digest="", new=lambda: "changed")


def make_fit(desk: Desk, connection: Connection) -> bool:
    """Put there what training needs, where it is missing, unfinished, or made for other hardware. Where all is well it
    is one question. A machine of one's own is left as it is. Safe to interrupt, and to repeat.

    True when the machine was restarted for it, so that `connection` is of no use any more. NotReady when something
    could not be mended.
    """
    if _is_ready(connection) and _fits(desk, connection):
        return False
    provider = desk.provider()
    if isinstance(provider, LeftAlone):
        return False
    desk.reporter.line(
        "the machine is made ready for training, which takes some minutes; interrupted, it goes on at the next "
        "`gpu start` or `gpu train`"
    )
    restarted = _complete(desk, connection)
    desk.state_file.forget_token(_changed(desk))
    return restarted


def fix(desk: Desk, requirements: Path | None = None) -> None:
    """All of it on the running machine, one's own too, whatever was noted; `requirements` is installed as well.
    NotReady names what could not be mended. Safe to interrupt, and to repeat: what is well is left alone."""
    with connect(desk.address(), wait=DIAL_SECONDS, say=desk.reporter.line) as connection:
        _complete(desk, connection, requirements)


def _complete(desk: Desk, connection: Connection, requirements: Path | None = None) -> bool:
    """Provision, with a restart in the middle where a driver wants one; returns whether there was one."""
    provider = desk.provider()
    try:
        provision.provision(desk, connection, provider, requirements)
    except provision.WantsRestart:
        restart.restart(desk, connection)
    else:
        return False
    with desk.connect(wait=BOOT_SECONDS) as again:
        provision.provision(desk, again, provider, requirements)
    return True


def _is_ready(connection: Connection) -> bool:
    return connection.run(f"exec sh -c {shlex.quote(_LOOK)}", timeout=ANSWER_SECONDS).exit_code == 0


def _fits(desk: Desk, connection: Connection) -> bool:
    """Looked at once after a change of hardware, since an environment that is somebody's own follows nothing by
    itself: torch that cannot use the GPU would silently train on the CPU."""
    if desk.state_file.kept_token(_changed(desk)) is None:
        return True
    try:
        facts = vital_signs(connection, only_with_gpu=True)
    except GpuError as error:
        desk.reporter.line(f"whether the environment fits the new hardware could not be looked at: {error}")
        return True
    found = [one for one in torchcheck.findings(facts) if one.good is False] if facts.get("gpus") else []
    for finding in found:
        desk.reporter.line(f"the environment does not fit the new hardware: {finding.what}")
    if not found:
        desk.state_file.forget_token(_changed(desk))
    return not found


def _changed(desk: Desk) -> str:
    return f"hardware {desk.kind}"
