"""What is done with data sets on the machine itself, by the code of `orchestrator.data`, sent there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from trainer import run_folder

from .. import data as package
from ..data.errand import DONE, ERROR, LINE, PROGRESS, counts_of
from ..data.known import Known
from ..data.layout import Counts
from ..errors import GpuError
from ..reporter import Progress, Reporter
from . import dispatch
from .command import Completed
from .failures import ConnectionLost
from .job import plain
from .ssh import Connection

MODULE = "orchestrator.data.errand"
ALONGSIDE = ("__init__", "errors", "kaggle", "kaggletoken", "reporter")
"""Modules of `orchestrator` that those of `orchestrator.data` import; and of `trainer`, `run_folder` alone."""
FRUITLESS_LINKS = 6


def code_files() -> Iterator[tuple[str, Path]]:
    """What is sent: the standard library and Pillow are all that it needs."""
    data = Path(next(iter(package.__path__)))
    top = data.parent
    yield from ((f"orchestrator/{name}.py", top / f"{name}.py") for name in ALONGSIDE)
    yield from ((f"orchestrator/data/{file.name}", file) for file in sorted(data.glob("*.py")))
    trainer = Path(run_folder.__file__).parent
    yield from ((f"trainer/{name}.py", trainer / f"{name}.py") for name in ("__init__", "run_folder"))


def counts(connection: Connection) -> dict[str, Counts]:
    """The data sets on the machine, in one round trip where the code has been sent before."""
    said: list[bytes] = []
    completed = _asked(connection, "list", b"", said.append)
    if completed.exit_code:
        raise dispatch.why_not(connection, completed)
    try:
        return {plain(name): counts_of(each) for name, each in json.loads(b"".join(said)).items()}
    except (ValueError, AttributeError) as error:
        raise GpuError(f"{connection.address.host} answered what cannot be read: {error}", "See: gpu doctor") from error


def fetch(connect: Callable[[], Connection], known: Known, wish: tuple[str, int], reporter: Reporter) -> Counts:
    """Fetch and prepare there, under the name and with the seed of `wish`.

    It goes on there when the connection is lost, and is found again: by itself here, or by doing it once more.
    """
    name, seed = wish
    data = json.dumps({"name": name, "seed": seed, "known": known.document()}).encode()
    fruitless = 0
    while True:
        with ExitStack() as bars:
            listener = _Listener(reporter, bars)
            try:
                with connect() as connection:
                    completed = _asked(connection, "fetch", data, listener.hear)
                    return listener.outcome(connection, completed)
            except ConnectionLost:
                fruitless = 0 if listener.heard else fruitless + 1
                if fruitless >= FRUITLESS_LINKS:
                    raise
        reporter.line("the connection was lost; the machine goes on, and is asked again")
        time.sleep(1 + fruitless)


def _asked(connection: Connection, verb: str, data: bytes, on_bytes: Callable[[bytes], None]) -> Completed:
    digest, packed = dispatch.pack(code_files())
    command = dispatch.module_command(digest, MODULE, verb)
    completed = connection.stream(command, on_bytes, data)
    if completed.exit_code == dispatch.NOT_SENT:
        dispatch.send_packed(connection, digest, packed)
        completed = connection.stream(command, on_bytes, data)
    return completed


class _Listener:
    """Passes on what the machine tells, line by line; `heard`: whether it told anything at all."""

    def __init__(self, reporter: Reporter, bars: ExitStack) -> None:
        self._reporter, self._bars = reporter, bars
        self._rest = b""
        self._bar: tuple[str, Progress] | None = None
        self._last: dict[str, Any] = {}
        self.heard = False

    def hear(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            try:
                told = json.loads(line)
                self._take(told)
                self.heard = True
            except (ValueError, KeyError, TypeError, AttributeError):
                # A login script there that prints something.
                continue

    def _take(self, told: dict[str, Any]) -> None:
        if LINE in told:
            self._end_bar()
            self._reporter.line(plain(told[LINE]))
        elif PROGRESS in told:
            self._show(told[PROGRESS])
        elif DONE in told or ERROR in told:
            self._last = told

    def _show(self, facts: dict[str, Any]) -> None:
        title, total = plain(facts["title"]), facts["total"]
        if self._bar is None or self._bar[0] != title:
            self._end_bar()
            bar = self._bars.enter_context(self._reporter.progress(title, total, plain(facts["unit"])))
            self._bar = (title, bar)
        self._bar[1].update(float(facts["done"]), None if total is None else float(total), plain(facts["note"]))

    def _end_bar(self) -> None:
        self._bars.close()
        self._bar = None

    def outcome(self, connection: Connection, completed: Completed) -> Counts:
        self._end_bar()
        host = connection.address.host
        if ERROR in self._last:
            error = self._last[ERROR]
            raise GpuError(f"on {host}: {plain(error.get('what'))}", plain(error.get("remedy")))
        if completed.exit_code or DONE not in self._last:
            raise dispatch.why_not(connection, completed)
        try:
            return counts_of(self._last[DONE])
        except ValueError as error:
            raise GpuError(f"{host} answered what cannot be read: {error}", "See: gpu doctor") from error
