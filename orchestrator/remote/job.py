"""One run as the machine tells of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainer import run_folder

from ..errors import GpuError

CANCELLED = 143
"""The exit code of a trainer that was told to end, as `gpu cancel` does."""


@dataclass(frozen=True)
class Job:
    """One run as its folder on the machine shows it.

    `state`: absent starting waiting running finished failed interrupted lost.
    """

    run_id: str
    state: str
    exit_code: int | None = None
    data: str = ""
    model: str = ""
    note: str = ""
    started: str = ""
    last: str = ""
    """The log's last line."""
    why: str = ""
    """Why it was interrupted or lost, where that is known."""
    attempt: int = 1
    """Each resumption is another one."""

    @property
    def running(self) -> bool:
        return self.state in ("starting", "waiting", "running")

    @property
    def succeeded(self) -> bool:
        return self.state == "finished"

    @property
    def resumable(self) -> bool:
        """It has ended without being done."""
        return self.state in ("failed", "interrupted", "lost")

    def describe(self) -> str:
        """The end of a sentence that begins with the run's id."""
        if self.state == "failed" and self.exit_code == CANCELLED:
            return "was cancelled (signal 15)"
        if self.state == "failed" and self.exit_code is not None and self.exit_code > 128:
            return f"was ended by signal {self.exit_code - 128}"
        return {
            "failed": f"failed with exit code {self.exit_code}",
            "finished": "finished",
            "waiting": "waits for its turn",
            "interrupted": f"was interrupted: {self.why}" if self.why else "was interrupted",
            "lost": f"is lost: {self.why or 'it ended without an exit code, as when the machine goes down'}",
            "absent": "is not on the machine",
        }.get(self.state, f"is {self.state}")


def read_job(facts: Any) -> Job:
    """What the machine says is not trusted: a run's id is one, and no text of it steers the terminal."""
    try:
        code = facts["exit_code"]
        return Job(
            run_id=run_folder.check_run_id(facts["run_id"]),
            state=plain(facts["state"]),
            exit_code=None if code is None else int(code),
            attempt=int(facts.get("attempt") or 1),
            why=plain(facts.get("why")),
            **{key: plain(facts[key]) for key in ("data", "model", "note", "started", "last")},
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise GpuError(f"the machine's agent answered what cannot be read: {error!r}", "See: gpu doctor") from error


def plain(value: Any) -> str:
    """Without the characters that drive a terminal."""
    return "" if value is None else "".join(letter for letter in str(value) if letter.isprintable())
