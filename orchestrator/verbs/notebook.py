"""`gpu notebook`: Jupyter on the machine, and a tunnel to it that is held open."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from trainer import run_folder

from ..data import layout
from ..errors import GpuError, MachineAbsent, MachineStopped
from ..notebooks import FOLDER
from ..remote import dispatch, jobs, notebook, sync
from ..remote.failures import AuthRefused, HostKeyChanged, HostKeyUnknown, WayRefused
from ..remote.notebook import Notebook
from ..remote.ssh import Connection
from ..remote.tunnel import ForwardingRefused, Link, PortTaken, Tunnel
from ..reunion import Outcome
from . import notes, own
from .arrival import arrive
from .desk import Desk

START_SECONDS = 180.0
"""The first start of a machine reads Jupyter from a cold disk."""
WATCH_SECONDS = 5.0
LINK_SECONDS = 20.0
LATE_SECONDS = 2.0
"""After ssh has refused a connection its words may come a moment later."""
FINAL = (MachineAbsent, MachineStopped, HostKeyChanged, HostKeyUnknown, WayRefused, AuthRefused)
"""What no waiting mends."""


@dataclass(frozen=True)
class Way:
    """A notebook and the tunnel to it."""

    notebook: Notebook
    tunnel: Tunnel
    link: Link

    @property
    def url(self) -> str:
        return f"http://{notebook.LOCAL}:{self.tunnel.port}/tree?token={self.notebook.token}"


class Ended(GpuError):
    def __init__(self, host: str) -> None:
        super().__init__(f"the notebook on {host} has ended", "Begin another one with: gpu notebook")


@contextlib.contextmanager
def opened(desk: Desk, data: str | None, port: int | None = None) -> Iterator[Way]:
    """Start the machine where needed, send the data set, begin Jupyter or join the one that runs, and reach it.

    `port`: of this computer; None: the one of last time where it is free.
    """
    if data is not None:
        layout.checked_name(data)
    with _port(desk, port) as tunnel:
        with arrive(desk) as arrival:
            connection = arrival.connection
            if data is not None:
                _send_data(desk, connection, data)
            found = _begin(desk, connection, data)
            _remember(desk, found, tunnel.port)
            address = connection.address
        link = tunnel.link(address, found.socket)
        _see_that_it_answers(link, found)
        yield Way(found, tunnel, link)


def _port(desk: Desk, port: int | None) -> Tunnel:
    if port is not None:
        return Tunnel(port)
    with contextlib.suppress(PortTaken):
        return Tunnel(notes.record_of(desk).port)
    # Another terminal's tunnel has it.
    return Tunnel()


def _send_data(desk: Desk, connection: Connection, name: str) -> None:
    if not (desk.data / name).is_dir() and name in jobs.ready(connection).data:
        return
    layout.find(desk.data, name)
    with desk.reporter.progress(f"sending {name}", unit="B") as bar:
        sync.push(connection.address, desk.data / name, run_folder.MachineFolder().data(name), bar)


def _begin(desk: Desk, connection: Connection, data: str | None) -> Notebook:
    before = notebook.state(connection)
    environment = _gpu(desk, connection) if before.state == notebook.ABSENT else {}
    # Before it begins: a notebook that nobody knows of could be destroyed with its machine.
    desk.notebooks.keep(replace(notes.record_of(desk), used=True))
    sent = notes.send(desk, connection, before)
    until = time.monotonic() + START_SECONDS
    found = notebook.start(connection, data, environment)
    while not found.running:
        if time.monotonic() > until:
            raise GpuError(
                f"the notebook on {connection.address.host} runs and does not answer",
                "End it with `gpu notebook stop`, then begin it again",
            )
        desk.reporter.line("Jupyter is starting")
        time.sleep(3)
        found = notebook.wait(connection)
    notes.note_sent(desk, found, sent)
    if found.warning:
        desk.reporter.line(found.warning)
    if before.running:
        _say_what_differs(desk, found, data)
    return found


def _gpu(desk: Desk, connection: Connection) -> dict[str, str]:
    """What keeps it off the GPUs of others; where all are in use that is said, and it has them all."""
    try:
        return dict(own.take_gpu(desk, connection, None, (), queue=False)["environment"])
    except GpuError as error:
        desk.reporter.line(str(error))
        return {}


def _say_what_differs(desk: Desk, found: Notebook, data: str | None) -> None:
    again = "begin it anew with `gpu notebook stop`, then `gpu notebook`"
    if data is not None and found.data != data:
        desk.reporter.line(f"the notebook that runs was begun with {found.data or 'no data set'} as GPU_DATA; {again}")
    if found.code != dispatch.code_digest():
        desk.reporter.line(f"the notebook that runs has another version of the trainer; {again}")


def _remember(desk: Desk, found: Notebook, port: int) -> None:
    record = notes.record_of(desk).of(found.disk)
    desk.notebooks.keep(replace(record, used=True, port=record.port or port))


def _see_that_it_answers(link: Link, found: Notebook) -> None:
    host = link.address.host
    with _dialled(link) as dialled:
        status = notebook.answers(dialled, found.token, notebook.ANSWER_SECONDS * 4) if dialled else 0
    if status == 0:
        link.broken(LATE_SECONDS)
        if link.refused:
            raise ForwardingRefused(host)
    if status != 200:
        raise GpuError(
            f"the notebook on {host} does not answer through the tunnel: "
            f"{link.words() or (f'HTTP status {status}' if status else 'nothing came back')}",
            "See whether it runs: gpu notebook status",
        )


@contextlib.contextmanager
def _dialled(link: Link) -> Iterator[socket.socket | None]:
    try:
        dialled = link.dial()
    except OSError:
        yield None
        return
    with dialled:
        yield dialled


def hold(desk: Desk, way: Way) -> None:
    """Keep the tunnel until interrupted. `Ended`, MachineStopped and their like when there is nothing left to reach."""
    link = way.link
    while True:
        _watch(link, way.notebook)
        link = _again(desk, way)


def _watch(link: Link, found: Notebook) -> None:
    """Return when there is no way through it any more. A notebook that is busy is given all the time it takes: a link
    that has died is ssh's own to notice."""
    while not link.broken(WATCH_SECONDS):
        with _dialled(link) as dialled:
            if dialled is None or notebook.answers(dialled, found.token) not in (200, None):
                return


def _again(desk: Desk, way: Way) -> Link:
    """Another link to the same notebook, wherever the machine is now."""
    began, told = time.monotonic(), False
    while True:
        try:
            link = _relinked(desk, way)
        except (Ended, *FINAL):
            raise
        except GpuError as error:
            if not told:
                desk.reporter.line(f"{error.what}; the tunnel is made again as soon as it can be (Ctrl-C leaves it)")
            told = True
            time.sleep(min(5.0, 0.5 + (time.monotonic() - began) / 10))
            continue
        if told:
            desk.reporter.line("the tunnel is there again")
        return link


def _relinked(desk: Desk, way: Way) -> Link:
    with desk.connect(wait=LINK_SECONDS) as connection:
        found, address = notebook.state(connection), connection.address
    if found.state == notebook.ABSENT or found.token != way.notebook.token:
        raise Ended(address.host)
    if not found.running:
        # It is about to end, or too busy to answer; the next look tells.
        raise GpuError(f"the notebook on {address.host} does not answer")
    link = way.tunnel.link(address, found.socket)
    _see_that_it_answers(link, found)
    return link


def stop(desk: Desk) -> bool:
    """End Jupyter and its kernels; False where none ran. What was saved stays on the machine's disk."""
    try:
        with desk.connect() as connection:
            before = notebook.state(connection)
            if before.state == notebook.ABSENT:
                return False
            notebook.stop(connection)
    except (MachineAbsent, MachineStopped):
        # With the machine it has ended, too.
        return False
    return True


def pull(desk: Desk) -> tuple[Path, Outcome]:
    """Bring the machine's notebooks into `./nbs`."""
    folder = desk.folder / FOLDER
    with desk.connect() as connection:
        found = notebook.state(connection)
        if not found.disk:
            raise GpuError("there is no notebook on the machine yet", "Begin one with: gpu notebook")
        return folder, notes.bring_home(desk, connection, found, folder)


def status(desk: Desk) -> tuple[Notebook, list[str]]:
    """How it stands, and which files are not home as they are on the machine."""
    with desk.connect() as connection:
        found = notebook.state(connection)
    return found, notes.record_of(desk).newer(found.files, found.disk)
