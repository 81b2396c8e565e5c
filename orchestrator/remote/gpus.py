"""The GPUs of a machine that others use too, looked at from home; `agent.vacancy` says which may be taken."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from trainer import run_folder

from ..errors import GpuError, UsageError
from .agent import occupancy, vacancy
from .agent.vacancy import Gpu
from .ssh import Connection

ANSWER_SECONDS = 90.0


def look(connection: Connection) -> list[Gpu]:
    """Every GPU of the machine; none where it has none, or no driver. GpuError where it answers something else."""
    program = Path(occupancy.__file__).read_bytes()
    python = run_folder.MachineFolder().python
    answer = connection.check(f"exec {python} -", input=program, timeout=ANSWER_SECONDS)
    try:
        return vacancy.read(json.loads(answer.stdout))
    except (ValueError, KeyError, TypeError) as error:
        raise GpuError(
            f"{connection.address.host} does not say who uses its GPUs: {answer.stdout[:80]!r}",
            "A login script there prints something; let it be silent",
        ) from error


def choose(gpus: Sequence[Gpu], host: str, wanted: int | None, *, now: bool = True) -> Gpu | None:
    """The one that is wanted, otherwise the emptiest free one; None where there is no GPU at all.

    Not `now`: the machine will choose, and only a number that it does not have is refused. GpuError names who uses
    what is not free.
    """
    try:
        if now:
            return vacancy.choose(gpus, host, wanted)
        return None if wanted is None else vacancy.named(gpus, host, wanted)
    except vacancy.InUse as error:
        raise GpuError(*error.args) from error
    except vacancy.NoSuchGpu as error:
        raise UsageError(*error.args) from error


def describe(gpus: Sequence[Gpu]) -> str:
    """Each with who uses it."""
    return vacancy.describe(gpus)
