"""Which GPU of a machine that others use too a run may take: one that nobody computes on, or none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer import run_folder

from ..errors import GpuError, UsageError
from . import occupancy
from .ssh import Connection

ANSWER_SECONDS = 90.0
IDLE_MB = 1024
"""A driver keeps some hundred MiB of an idle GPU; more than this is a program, be it one that cannot be seen."""
UNSEEN = "somebody whose programs cannot be seen from there"


@dataclass(frozen=True)
class Gpu:
    """One GPU as `nvidia-smi` shows it. Memory in MiB; None where it does not say."""

    index: int
    uuid: str
    name: str
    used: int | None
    mine: bool
    """Programs of our own compute on it."""
    others: tuple[str, ...]
    """Who else does."""

    @property
    def free(self) -> bool:
        return not self.others


def look(connection: Connection) -> list[Gpu]:
    """Every GPU of the machine; none where it has none, or no driver. GpuError where it answers something else."""
    program = Path(occupancy.__file__).read_bytes()
    python = run_folder.MachineFolder().python
    answer = connection.check(f"exec {python} -", input=program, timeout=ANSWER_SECONDS)
    try:
        facts = json.loads(answer.stdout)
        me = str(facts["me"])
        return [_gpu(entry, me) for entry in facts["gpus"]]
    except (ValueError, KeyError, TypeError) as error:
        raise GpuError(
            f"{connection.address.host} does not say who uses its GPUs: {answer.stdout[:80]!r}",
            "A login script there prints something; let it be silent",
        ) from error


def _gpu(entry: dict[str, object], me: str) -> Gpu:
    """What the machine says is not trusted: no text of it steers the terminal, or is more than a name."""
    used, listed = entry["used"], entry["users"]
    memory = used if isinstance(used, int) else None
    users = {_plain(name) for name in listed} if isinstance(listed, list) else set()
    others = {name or UNSEEN for name in users - {me}}
    if not users and (memory or 0) > IDLE_MB:
        others = {UNSEEN}
    return Gpu(int(str(entry["index"])), _plain(entry["uuid"]), _plain(entry["name"]), memory, me in users, (*others,))


def choose(gpus: Sequence[Gpu], host: str, wanted: int | None) -> Gpu | None:
    """The one that is wanted, otherwise the emptiest free one; None where there is no GPU at all.

    GpuError names who uses what is not free.
    """
    if wanted is not None:
        return _wanted(gpus, host, wanted)
    free = [gpu for gpu in gpus if gpu.free]
    if gpus and not free:
        taken = "; ".join(f"GPU {gpu.index} by {_names(gpu)}" for gpu in gpus)
        raise GpuError(f"every GPU of {host} is in use: {taken}", "Wait for one, or ask them; see: gpu doctor")
    return min(free, key=lambda gpu: (gpu.mine, gpu.used or 0, gpu.index), default=None)


def describe(gpus: Sequence[Gpu]) -> str:
    """Each with who uses it."""
    return "; ".join(f"{gpu.index} {gpu.name}: {_names(gpu) or 'free'}" for gpu in gpus) or "none with a driver"


def _wanted(gpus: Sequence[Gpu], host: str, wanted: int) -> Gpu:
    free = ", ".join(str(gpu.index) for gpu in gpus if gpu.free)
    for gpu in gpus:
        if gpu.index == wanted and gpu.free:
            return gpu
        if gpu.index == wanted:
            raise GpuError(
                f"GPU {wanted} of {host} is in use by {_names(gpu)}", f"Free are: {free}" if free else "None is free"
            )
    if not gpus:
        raise UsageError(f"{host} has no GPU with a driver that answers", "Leave --gpu out to train on the CPU")
    raise UsageError(f"{host} has no GPU {wanted}", f"It has: {', '.join(str(gpu.index) for gpu in gpus)}")


def environment(gpu: Gpu) -> dict[str, str]:
    """What a program sees no other GPU by. By UUID: CUDA counts in another order than `nvidia-smi` does."""
    return {"CUDA_VISIBLE_DEVICES": gpu.uuid}


def _names(gpu: Gpu) -> str:
    return " and ".join(sorted(gpu.others))


def _plain(value: object) -> str:
    return "".join(letter for letter in str(value) if letter.isprintable())[:100]
