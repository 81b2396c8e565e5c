"""On the machine, started where it does not run, while the provider is asked what it is and costs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass

from ..ahead import ahead
from ..errors import MachineAbsent, MachineStopped
from ..providers.base import State, Wish
from ..remote.ssh import Connection
from . import environment
from .desk import Desk

LINK_SECONDS = 60.0
"""How long a machine that runs may take to answer."""


@dataclass(frozen=True)
class Arrival:
    connection: Connection
    asked: Future[State]

    def state(self) -> State:
        """What the provider says. MachineStopped where it says that this machine is on its way down."""
        state = self.asked.result()
        if state.phase != "running":
            raise MachineStopped(state.kind, state.phase)
        return state


@contextlib.contextmanager
def arrive(desk: Desk) -> Iterator[Arrival]:
    """At the known address at once: nothing waits for the provider that the machine itself can tell."""
    asked = ahead(lambda: desk.provider().state())
    try:
        connection = desk.connect(wait=LINK_SECONDS)
    except (MachineAbsent, MachineStopped):
        # Who arrives at a running machine has no use for all that starting one takes.
        from . import machine

        started = machine.start(desk, Wish(desk.kind))
        asked = ahead(lambda: started)
        connection = desk.connect(wait=LINK_SECONDS)
    with contextlib.ExitStack() as open_ones:
        open_ones.enter_context(connection)
        # One that was interrupted while it was made ready, or has changed since.
        if environment.make_fit(desk, connection):
            connection = open_ones.enter_context(desk.connect(wait=LINK_SECONDS))
        yield Arrival(connection, asked)
