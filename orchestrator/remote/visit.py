"""One run of the system's `ssh` that knows whether it has arrived: only one that has not may be tried again."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import GpuError, ToolMissing
from ..providers.base import Address
from .openssh import CONNECT_SECONDS, ssh_argv

CANNOT_CONNECT = 255
"""ssh's own exit code; a command on the machine may end with the same."""


@dataclass(frozen=True)
class Visit:
    exit_code: int
    arrived: bool
    """False: ssh never got as far as asking the machine for anything."""
    words: str
    """What ssh itself had to say, to be passed on."""


class NotReached(GpuError):
    def __init__(self, address: Address, words: str) -> None:
        reason = (words.strip().splitlines() or ["ssh does not say why"])[-1].strip().rstrip(".")
        super().__init__(
            f"{address.host} port {address.port} cannot be entered: {reason}", "See whether it runs with: gpu status"
        )


def visit(
    address: Address, command: Sequence[str] = (), *, tty: bool = False, seconds: float = CONNECT_SECONDS
) -> Visit:
    """Run ssh to its end with this process's streams. ToolMissing where there is none.

    ssh runs `LocalCommand` once it is logged in and before it asks for the command (`ssh_session2` in OpenSSH's
    ssh.c). Here that removes a file: whatever else may remove it, the doubt is then on the side of having arrived.
    """
    with tempfile.TemporaryDirectory(prefix="gpu-ssh-") as folder:
        waiting, log = Path(folder, "waiting"), Path(folder, "log")
        waiting.touch()
        log.touch()
        argv = ssh_argv(address, tty=tty, command=command, seconds=seconds)
        leave = "rm -f " + shlex.quote(str(waiting)).replace("%", "%%")
        # Through somebody's shared connection no LocalCommand is run.
        noticing = [
            "-E",
            str(log),
            "-o",
            "PermitLocalCommand=yes",
            "-o",
            f"LocalCommand={leave}",
            "-o",
            "ControlPath=none",
        ]
        with log.open(errors="replace") as words:
            code = _call([argv[0], *noticing, *argv[1:]])
            return Visit(code, arrived=code != CANNOT_CONNECT or not waiting.exists(), words=words.read().strip())


def _call(argv: Sequence[str]) -> int:
    try:
        # LocalCommand goes through $SHELL, and not every shell that people like is a POSIX one.
        return subprocess.call(argv, env={**os.environ, "SHELL": "/bin/sh"})
    except FileNotFoundError as error:
        raise ToolMissing(
            "ssh", "on this computer", "Install OpenSSH's client: apt-get install openssh-client"
        ) from error
