"""The way to the machine: its address, its id, a shell on it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import MachineAbsent, ToolMissing
from ..remote.openssh import config_block
from ..remote.visit import NotReached, Visit, visit
from ..state import lock
from . import own, selection
from .desk import DOOR_SECONDS, Desk

if TYPE_CHECKING:
    from ..remote.ssh import Connection


def ip(desk: Desk) -> str:
    """The machine's elastic IP, running or stopped."""
    provider = desk.provider()
    own.refuse(provider, "has no elastic IP", "Where it is, your SSH configuration says; see it with: gpu status")
    state = provider.state()
    if state.ip is None:
        raise MachineAbsent(desk.kind, desk.profile.name)
    return state.ip


def get(desk: Desk, kind: str | None = None) -> str:
    """The instance id of the kind's machine, running or stopped; commands act on that kind from now on.

    None: of the machine that they act on already.
    """
    provider = desk.provider(kind)
    own.refuse(provider, "has no kinds and no instance id", "Leave it out: every command acts on that one machine")
    state = provider.state()
    # First: `gpu get t2; gpu start` makes the machine that is not there yet.
    if kind is not None:
        desk.state_file.select_kind(kind)
    if state.machine_id is None:
        if kind is not None:
            desk.reporter.line(f"commands act on {kind} from now on")
        for sentence in selection.others(desk, kind or desk.kind):
            desk.reporter.line(sentence)
        raise MachineAbsent(kind or desk.kind, desk.profile.name)
    return state.machine_id


def shell(desk: Desk, words: Sequence[str]) -> int:
    """An interactive shell through the system's `ssh`, or one command; returns its exit code.

    The known address is tried first. The provider is asked, and the machine's door opened to today's address, only
    when ssh did not arrive there: what has been asked of a machine is never asked twice.
    """
    if not words:
        _warn_of_terminals(desk)
    known = desk.known_address()
    if known and (code := _result(desk, visit(known, words, tty=not words, seconds=DOOR_SECONDS))) is not None:
        return code
    address = desk.address()
    visited = visit(address, words, tty=not words)
    code = _result(desk, visited)
    if code is None:
        raise NotReached(address, visited.words)
    return code


def _result(desk: Desk, visited: Visit) -> int | None:
    """The exit code with which the visit ended, after what ssh said of it; None when it never arrived."""
    if visited.arrived and visited.words:
        desk.reporter.line(visited.words)
    return visited.exit_code if visited.arrived else None


def ssh_config(desk: Desk) -> str:
    """A block for `~/.ssh/config` that makes the running machine `gpu-PROFILE-KIND` to every SSH client."""
    return config_block(desk.address(), f"gpu-{desk.profile.name}-{desk.kind}")


def settle_host_key(desk: Desk, connection: Connection) -> None:
    """Let the machine of the first checked connection have a host key of its own; one that cannot keeps what it has.

    `connection` goes on as it is. Safe to interrupt, and to repeat on every connection: it asks nothing when it is
    done.
    """
    if not desk.trust.first.exists():
        return
    from ..remote import hostkeys

    with lock(desk.home, desk.profile.name, desk.reporter.line):
        try:
            hostkeys.settle(connection, desk.trust, desk.reporter.line)
        except hostkeys.Unusual as error:
            desk.reporter.line(str(error))


def on_terminal(desk: Desk, argv: Sequence[str]) -> int:
    """`argv` with a terminal on the machine; says why the sandbox's sshd may end it at once."""
    _warn_of_terminals(desk)
    try:
        return subprocess.call(argv)
    except FileNotFoundError as error:
        raise ToolMissing(
            "ssh", "on this computer", "Install OpenSSH's client: apt-get install openssh-client"
        ) from error


def _warn_of_terminals(desk: Desk) -> None:
    from ..sandbox import sshd

    if desk.profile.emulated and not sshd.gives_terminals():
        desk.reporter.line(
            "this computer's /dev/pts is mounted without gid=5, so the sandbox's sshd ends sessions with a terminal; "
            "mend it with: sudo mount -o remount,gid=5,mode=620 /dev/pts"
        )
