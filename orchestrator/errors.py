"""What a user can meet: one sentence each, saying what failed, where, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GpuError(Exception):
    """An expected failure. `str(error)` is the whole message; the command ends with `exit_code`."""

    exit_code = 1

    def __init__(self, what: str, remedy: str = "") -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(f"{what}. {remedy}" if remedy else f"{what}.")


class UsageError(GpuError):
    """The command was asked for something that cannot be: a name that does not exist, an option out of range."""

    exit_code = 2


class RunFailed(GpuError):
    """The machine did its work and the trainer itself failed; the message ends with its last log lines."""

    exit_code = 3


class Declined(GpuError):
    """The plan was shown and not agreed to; nothing has been changed."""


class MachineStopped(GpuError):
    def __init__(self, kind: str, phase: str) -> None:
        self.phase = phase
        super().__init__(f"the {kind} machine is {phase}", "Start it with: gpu start")


class MachineAbsent(GpuError):
    def __init__(self, kind: str, profile: str) -> None:
        super().__init__(
            f"there is no {kind} machine in the profile {profile}", f"Create it with: gpu start --kind {kind}"
        )


class NotOffered(GpuError):
    """The profile's provider does not have what was asked for."""


class ToolMissing(GpuError):
    def __init__(self, tool: str, where: str, remedy: str) -> None:
        self.tool = tool
        super().__init__(f"{tool} is not installed {where}", remedy)


def nearest(name: str, known: Iterable[str]) -> str:
    """«Did you mean a, b or c?» for a mistyped name; empty when nothing is close."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    if not close:
        return ""
    return "Did you mean " + " or ".join([", ".join(close[:-1]), close[-1]] if close[1:] else close) + "?"
