"""`gpu data fetch` and `push`: a data set from where it is published, and to the machine."""

from __future__ import annotations

from dataclasses import dataclass

from trainer import run_folder

from ..data import catalog, layout
from ..data import fetch as fetching
from ..data.known import Known
from ..data.layout import Counts
from ..remote import errands, sync
from ..remote.copying import Copied
from .arrival import arrive
from .desk import Desk
from .holdings import Memory

LINK_SECONDS = 60.0


@dataclass(frozen=True)
class Wish:
    """`name`: of `datasets.yaml`, or `kaggle:COMPETITION`. `call`: the data set's name here; None: the same."""

    name: str
    call: str | None = None
    seed: int = 0

    @property
    def known(self) -> Known:
        return catalog.entry(self.name)

    @property
    def called(self) -> str:
        return layout.checked_name(self.call or self.known.name)


def fetch(desk: Desk, wish: Wish) -> Counts:
    """Download, checked by its hash, and prepare, at home."""
    place = fetching.Place(desk.data, wish.called, desk.home.cache, wish.seed)
    return fetching.fetch(wish.known, place, desk.reporter)


def fetch_on_machine(desk: Desk, wish: Wish) -> Counts:
    """The same there, started where needed: nothing of it crosses this computer's line."""
    known, name = wish.known, wish.called
    if known.competition is not None:
        desk.reporter.line("your token for Kaggle is never sent: the machine needs the client and a token of its own")
    if (desk.data / name).is_dir():
        desk.reporter.line(f"data/{name} is at home, too: a train sends that one, and makes the machine's the same")
    with arrive(desk):
        pass
    try:
        found = errands.fetch(lambda: desk.connect(wait=LINK_SECONDS), known, (name, wish.seed), desk.reporter)
    except KeyboardInterrupt:
        desk.reporter.line(f"\n{name} goes on there without you; the same command follows it again")
        raise
    Memory(desk).add(name)
    return found


def push(desk: Desk, name: str, *, checksum: bool = False) -> Copied:
    """Make the machine's data set the same as the one at home."""
    folder = layout.find(desk.data, name)
    with arrive(desk) as arrival, desk.reporter.progress(f"sending {name}", unit="B") as bar:
        target = run_folder.MachineFolder().data(name)
        copied = sync.push(arrival.connection.address, folder, target, bar, checksum=checksum)
    Memory(desk).add(name)
    return copied
