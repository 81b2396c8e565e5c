"""The way to a machine that cannot be dialled: a program whose stdin and stdout lead there, as a ProxyCommand does."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
from collections.abc import Sequence

WORDS_SECONDS = 2.0


class Way:
    """`near` is this end of it: a socket, since paramiko's own ProxyCommand takes the end of a program for silence."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.near, far = socket.socketpair()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        with far:
            # In a session of its own it finds no terminal to ask questions on, and Ctrl-C ends it through us.
            self._process = subprocess.Popen(
                argv, stdin=far.fileno(), stdout=far.fileno(), stderr=self._stderr.fileno(), start_new_session=True
            )

    def words(self) -> str:
        """What it said at its end; empty while it works."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(WORDS_SECONDS)
        if self._process.poll() is None or self._stderr.closed:
            return ""
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return " | ".join(line.strip() for line in lines[-2:]) or f"its program ended with {self._process.poll()}"

    def close(self) -> None:
        """Safe to repeat; leaves no process."""
        self.near.close()
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait()
        self._stderr.close()
