"""Following a run over a link that falls silent: the black hole, in which TCP alone waits for a quarter of an hour."""

from __future__ import annotations

import dataclasses
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from orchestrator.providers.base import Address
from orchestrator.remote import jobs
from orchestrator.remote.failures import ConnectionLost
from orchestrator.remote.ssh import Connection, connect
from trainer import run_folder

from .conftest import Machine, eventually
from .test_jobs import PYTHON, begin, folder

NOTICED_SECONDS = 15.0


class Hole:
    """A TCP proxy whose links fall silent in both directions when told, without a word to either end."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self._silent: list[threading.Event] = []
        self._ends: list[socket.socket] = []
        self.place: tuple[str, int] = self._server.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def swallow(self) -> None:
        """From now on, what is on its way on the links that there are; later ones are good."""
        for event in self._silent:
            event.set()

    def close(self) -> None:
        for end in (self._server, *self._ends):
            # Whoever reads from it is to wake up.
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                machine = socket.create_connection(self._target)
                silent = threading.Event()
                self._silent.append(silent)
                self._ends += [client, machine]
                for source, target in ((client, machine), (machine, client)):
                    threading.Thread(target=self._pass_on, args=(source, target, silent), daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, target: socket.socket, silent: threading.Event) -> None:
        with suppress(OSError):
            while piece := source.recv(1 << 16):
                if not silent.is_set():
                    target.sendall(piece)
            if not silent.is_set():
                target.shutdown(socket.SHUT_WR)


@contextmanager
def through_a_hole(machine: Machine) -> Iterator[tuple[Hole, Address]]:
    hole = Hole((machine.address.host, machine.address.port))
    known = machine.address.known_hosts
    assert known is not None
    key = known.read_text().split(maxsplit=1)[1]
    here = known.with_name("known_hosts_of_the_proxy")
    here.write_text(f"[{hole.place[0]}]:{hole.place[1]} {key}")
    try:
        yield hole, dataclasses.replace(machine.address, host=hole.place[0], port=hole.place[1], known_hosts=here)
    finally:
        hole.close()


def test_follow_comes_out_of_a_black_hole_at_the_byte(machine: Machine) -> None:
    script = "import time\nfor i in range(150): print(i, flush=True); time.sleep(0.1)"
    with connect(machine.address) as connection:
        run_id = begin(connection, PYTHON, "-c", script)
    seen: list[bytes] = []
    dialled: list[float] = []
    with through_a_hole(machine) as (hole, address):

        def dial() -> Connection:
            dialled.append(time.monotonic())
            return connect(address, wait=20)

        swallowed: list[float] = []

        def strike() -> None:
            eventually(lambda: len(seen) > 3)
            swallowed.append(time.monotonic())
            hole.swallow()

        threading.Thread(target=strike, daemon=True).start()
        job = jobs.follow(dial, run_id, 0, seen.append)
    assert job.succeeded
    assert b"".join(seen) == (folder(machine, run_id) / run_folder.LOG).read_bytes()
    assert len(dialled) == 2
    assert dialled[1] - swallowed[0] < NOTICED_SECONDS


@pytest.mark.slow
def test_a_question_into_a_black_hole_ends(machine: Machine) -> None:
    """The machine's own end of it goes away too, and takes no lock along."""
    with through_a_hole(machine) as (hole, address), connect(address) as connection:
        jobs.jobs(connection)
        hole.swallow()
        began = time.monotonic()
        with pytest.raises(ConnectionLost):
            jobs.jobs(connection)
        assert time.monotonic() - began < NOTICED_SECONDS
