"""Where data sets are: at home, on the machine, or both."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..data import layout
from ..data.layout import Counts, DataSet
from ..errors import GpuError, UsageError, nearest
from ..state import write_atomically
from .desk import DOOR_SECONDS, Desk

if TYPE_CHECKING:
    from ..remote.ssh import Connection


@dataclass(frozen=True)
class Holding:
    """A data set with its images; None where it is not."""

    name: str
    home: Counts | None
    machine: Counts | None

    @property
    def where(self) -> str:
        if self.home is None:
            return "machine"
        return "home" if self.machine is None else "both"

    @property
    def counts(self) -> Counts:
        """Those at home where it is there: a train sends these."""
        found = self.home or self.machine
        assert found is not None
        return found


class Memory:
    """The names of the data sets that were last seen on the machine: a cache, which may be deleted at any time."""

    def __init__(self, desk: Desk) -> None:
        self._file = desk.home.state / "data" / desk.profile.name / f"{desk.kind}.json"

    def names(self) -> set[str]:
        try:
            return {str(name) for name in json.loads(self._file.read_text())}
        except (OSError, ValueError, TypeError):
            return set()

    def replace(self, names: Iterable[str]) -> None:
        wanted = sorted(names)
        if wanted != sorted(self.names()):
            write_atomically(self._file, json.dumps(wanted) + "\n", mode=0o600)

    def add(self, name: str) -> None:
        self.replace({*self.names(), name})


def everywhere(desk: Desk) -> list[Holding]:
    """Every data set at home, and, where the machine is known to run, on it; that it is not asked is said."""
    home = {name: DataSet(desk.data, name).counts() for name in layout.names(desk.data)}
    there: dict[str, Counts] = {}
    try:
        with at_the_door(desk) as connection:
            if connection is None:
                desk.reporter.line("the machine is not known to run: these are at home")
            else:
                from ..remote import errands

                there = errands.counts(connection)
                Memory(desk).replace(there)
    except GpuError as error:
        desk.reporter.line(f"what is on the machine could not be asked: {error}")
    return [Holding(name, home.get(name), there.get(name)) for name in sorted({*home, *there})]


@contextlib.contextmanager
def at_the_door(desk: Desk) -> Iterator[Connection | None]:
    """A connection where the machine was running when last heard of; None where it was not. Nobody else is asked."""
    address = desk.known_address()
    if address is None and desk.profile.host:
        address = desk.provider().address()
    if address is None:
        yield None
        return
    # paramiko takes a tenth of a second to load.
    from ..remote import ssh

    with ssh.connect(address, seconds=DOOR_SECONDS) as connection:
        yield connection


def find(desk: Desk, name: str) -> Path | None:
    """The folder of a data set at home; None for one that is on the machine alone.

    Nothing is started for a mistyped name. At home it is checked whole. A machine that is known to run is asked. One
    that is not is believed to have what was last seen on it, and nothing else.
    """
    if (desk.data / layout.checked_name(name)).is_dir():
        return layout.find(desk.data, name)
    asked = _on_a_running_machine(desk)
    known = Memory(desk).names() if asked is None else asked
    if name not in known:
        why = "nor was it seen on the machine" if asked is None else "nor is it on the machine"
        raise _nowhere(desk, name, known, why)
    if asked is None and desk.provider().state().phase in ("absent", "terminated", "shutting-down"):
        # What was seen on it went with it.
        Memory(desk).replace(())
        raise _nowhere(desk, name, (), "and the machine that had it is gone")
    return None


def check_there(desk: Desk, name: str, there: Iterable[str]) -> None:
    """Once more, of the names that the machine itself has just told."""
    found = set(there)
    Memory(desk).replace(found)
    if name not in found:
        raise _nowhere(desk, name, found, "nor is it on the machine any more")


def _on_a_running_machine(desk: Desk) -> set[str] | None:
    """None where none answers at the known address."""
    with contextlib.suppress(GpuError), at_the_door(desk) as connection:
        return None if connection is None else _listed(desk, connection)
    return None


def _listed(desk: Desk, connection: Connection) -> set[str]:
    from ..remote import errands

    found = set(errands.counts(connection))
    Memory(desk).replace(found)
    return found


def _nowhere(desk: Desk, name: str, known: Iterable[str], more: str) -> GpuError:
    """As for a name that is not at home, with what is known of the machine."""
    try:
        layout.find(desk.data, name)
    except UsageError as error:
        close = nearest(name, known)
        return UsageError(f"{error.what}, {more}", f"{close} (on the machine)" if close else error.remedy)
    return GpuError(f"{name} has just come to {desk.data}", "Do it again")
