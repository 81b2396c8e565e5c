"""How a command on a machine ended."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import GpuError

STDERR_LINES = 5


@dataclass(frozen=True)
class Completed:
    exit_code: int
    stdout: bytes
    stderr: bytes


class CommandFailed(GpuError):
    """A command on the machine ended with another code than 0; the message has its last words."""

    def __init__(self, host: str, completed: Completed) -> None:
        self.completed = completed
        words = " | ".join(completed.stderr.decode(errors="replace").strip().splitlines()[-STDERR_LINES:])
        super().__init__(
            f"a command on {host} ended with exit code {completed.exit_code}" + (f": {words[:2000]}" if words else "")
        )
