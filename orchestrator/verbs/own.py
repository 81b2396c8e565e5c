"""A machine of one's own: entered and worked on, and otherwise left alone."""

from __future__ import annotations

from ..errors import NotOffered
from ..providers.base import LeftAlone, Provider, State, Wish
from .desk import Desk

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


def _say(desk: Desk, words: str) -> None:
    provider = desk.provider()
    if isinstance(provider, LeftAlone):
        desk.reporter.line(f"{provider.whose()}: {words}")
