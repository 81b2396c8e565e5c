"""A machine of one's own: entered and worked on, and otherwise left alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ..errors import NotOffered
from ..providers.base import LeftAlone, Provider, State, Wish
from .desk import Desk

if TYPE_CHECKING:
    from ..remote.ssh import Connection

ANSWER_SECONDS = 10.0


def refuse(provider: Provider, lack: str, instead: str) -> None:
    """NotOffered where the machine is one's own: `lack` goes on with «box is a machine of your own and ...»."""
    if isinstance(provider, LeftAlone):
        raise NotOffered(f"{provider.whose()} and {lack}", instead)


def greet(desk: Desk, wish: Wish) -> State:
    """What `gpu start` is there: nothing but a look at whether it answers, with its own host key."""
    # paramiko takes a while to load, and most of what asks here only refuses.
    from ..remote.ssh import connect

    provider = desk.provider()
    provider.plan(wish)
    with connect(provider.address(), wait=ANSWER_SECONDS, say=desk.reporter.line) as connection:
        connection.check("true", timeout=ANSWER_SECONDS)
    _say(desk, "it answers; gpu neither starts nor stops it")
    return provider.state()


def leave(desk: Desk) -> State:
    """What `gpu stop` is there."""
    _say(desk, "it is left alone, and goes on running")
    return desk.provider().state()


def take_gpu(
    desk: Desk, connection: Connection, wanted: int | None, words: Sequence[str], *, queue: bool
) -> dict[str, Any]:
    """What `job.json` has of the GPU: the one that is wanted, otherwise, where others may be at work too, one that
    nobody uses; the run's environment shows it no other. `words`: what the trainer is told. `queue`: the machine
    chooses when its turn comes. GpuError names who uses what is not free."""
    wanted = desk.profile.gpu if wanted is None else wanted
    asked: dict[str, Any] = {"gpu": wanted, "gpu_at_its_turn": False, "environment": {}}
    on_cpu = "--device=cpu" in words or ("--device", "cpu") in pairwise(words)
    if on_cpu or (wanted is None and not desk.profile.host):
        return asked
    from ..remote import gpus
    from ..remote.agent.vacancy import environment

    chosen = gpus.choose(gpus.look(connection), connection.address.host, wanted, now=not queue)
    if queue:
        return {**asked, "gpu_at_its_turn": True}
    if chosen is None:
        return asked
    desk.reporter.line(f"on GPU {chosen.index} of {connection.address.host}: {chosen.name}")
    return {**asked, "environment": environment(chosen)}


def _say(desk: Desk, words: str) -> None:
    provider = desk.provider()
    if isinstance(provider, LeftAlone):
        desk.reporter.line(f"{provider.whose()}: {words}")
