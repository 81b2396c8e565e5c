"""The way to the machine: its address, its id, a shell on it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from ..errors import MachineAbsent, ToolMissing
from ..remote import openssh
from ..sandbox import sshd
from .desk import Desk


def ip(desk: Desk) -> str:
    """The machine's elastic IP, running or stopped."""
    state = desk.provider().state()
    if state.ip is None:
        raise MachineAbsent(desk.kind, desk.profile.name)
    return state.ip


def get(desk: Desk, kind: str) -> str:
    """The instance id of the kind's machine, running or stopped; commands act on that kind from now on."""
    state = desk.provider(kind).state()
    if state.machine_id is None:
        raise MachineAbsent(kind, desk.profile.name)
    desk.state_file.select_kind(kind)
    return state.machine_id


def shell(desk: Desk, words: Sequence[str]) -> int:
    """An interactive shell through the system's `ssh`, or one command; returns its exit code."""
    argv = openssh.ssh_argv(desk.provider().address(), tty=not words, command=words)
    return run_ssh(argv) if words else on_terminal(desk, argv)


def on_terminal(desk: Desk, argv: Sequence[str]) -> int:
    """`argv` with a terminal on the machine; says why the sandbox's sshd may end it at once."""
    if desk.profile.emulated and not sshd.gives_terminals():
        desk.reporter.line(
            "this computer's /dev/pts is mounted without gid=5, so the sandbox's sshd ends sessions with a terminal; "
            "mend it with: sudo mount -o remount,gid=5,mode=620 /dev/pts"
        )
    return run_ssh(argv)


def run_ssh(argv: Sequence[str]) -> int:
    try:
        return subprocess.call(argv)
    except FileNotFoundError as error:
        raise ToolMissing(
            "ssh", "on this computer", "Install OpenSSH's client: apt-get install openssh-client"
        ) from error
