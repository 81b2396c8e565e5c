"""Which GPU of a machine that others use too a run may take: one that nobody computes on, or none.

One rule at both ends: at home for a run that begins now, on the machine for one that has waited for its turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

IDLE_MB = 1024
"""A driver keeps some hundred MiB of an idle GPU; more than this is a program, be it one that cannot be seen."""
UNSEEN = "somebody whose programs cannot be seen from there"


class InUse(Exception):
    """Somebody computes on what is wanted, and may be done later. What is wrong, and what to do."""


class NoSuchGpu(Exception):
    """What is wanted is not there, and will not be. What is wrong, and what to do."""


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


def read(facts: Any) -> list[Gpu]:
    """What `occupancy` prints. It is not trusted: KeyError, TypeError or ValueError where it is something else."""
    me = str(facts["me"])
    return [_gpu(entry, me) for entry in facts["gpus"]]


def _gpu(entry: dict[str, object], me: str) -> Gpu:
    """No text of it steers the terminal, or is more than a name."""
    used, listed = entry["used"], entry["users"]
    memory = used if isinstance(used, int) else None
    users = {_plain(name) for name in listed} if isinstance(listed, list) else set()
    others = {name or UNSEEN for name in users - {me}}
    if not users and (memory or 0) > IDLE_MB:
        others = {UNSEEN}
    return Gpu(int(str(entry["index"])), _plain(entry["uuid"]), _plain(entry["name"]), memory, me in users, (*others,))


def choose(gpus: Sequence[Gpu], host: str, wanted: int | None) -> Gpu | None:
    """The one that is wanted, otherwise the emptiest free one; None where there is no GPU at all.

    InUse names who uses what is not free; NoSuchGpu.
    """
    if wanted is not None:
        return _free(named(gpus, host, wanted), gpus, host)
    free = [gpu for gpu in gpus if gpu.free]
    if gpus and not free:
        taken = "; ".join(f"GPU {gpu.index} by {_names(gpu)}" for gpu in gpus)
        raise InUse(f"every GPU of {host} is in use: {taken}", "Wait for one, or ask them; see: gpu doctor")
    return min(free, key=lambda gpu: (gpu.mine, gpu.used or 0, gpu.index), default=None)


def named(gpus: Sequence[Gpu], host: str, wanted: int) -> Gpu:
    """The one of this number, free or not; NoSuchGpu."""
    for gpu in gpus:
        if gpu.index == wanted:
            return gpu
    if not gpus:
        raise NoSuchGpu(f"{host} has no GPU with a driver that answers", "Leave --gpu out to train on the CPU")
    raise NoSuchGpu(f"{host} has no GPU {wanted}", f"It has: {', '.join(str(gpu.index) for gpu in gpus)}")


def _free(gpu: Gpu, gpus: Sequence[Gpu], host: str) -> Gpu:
    if gpu.free:
        return gpu
    free = ", ".join(str(other.index) for other in gpus if other.free)
    raise InUse(
        f"GPU {gpu.index} of {host} is in use by {_names(gpu)}", f"Free are: {free}" if free else "None is free"
    )


def describe(gpus: Sequence[Gpu]) -> str:
    """Each with who uses it."""
    return "; ".join(f"{gpu.index} {gpu.name}: {_names(gpu) or 'free'}" for gpu in gpus) or "none with a driver"


def environment(gpu: Gpu) -> dict[str, str]:
    """What a program sees no other GPU by. By UUID: CUDA counts in another order than `nvidia-smi` does."""
    return {"CUDA_VISIBLE_DEVICES": gpu.uuid}


def _names(gpu: Gpu) -> str:
    return " and ".join(sorted(gpu.others))


def _plain(value: object) -> str:
    return "".join(letter for letter in str(value) if letter.isprintable())[:100]
