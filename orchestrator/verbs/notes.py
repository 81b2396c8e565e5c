"""The notebooks on the machine: brought home, and remembered while they are not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from trainer import run_folder

from ..errors import GpuError, MachineAbsent, MachineStopped
from ..notebooks import FOLDER, Home, Record
from ..reunion import Fate, HomeFolder, Outcome
from .desk import DOOR_SECONDS, Desk

if TYPE_CHECKING:
    from ..remote.notebook import Notebook
    from ..remote.ssh import Connection
    from ..remote.tree import Manifest

ARRIVING = ".coming-home"
MOST_BYTES = 64 << 20
"""Notebooks are small; what is not goes another way."""
PASSING = frozenset({".ipynb_checkpoints", "__pycache__"})


def record_of(desk: Desk) -> Record:
    """What is known of this machine's notebooks; they belong to the current folder where nothing is."""
    found = desk.notebooks.find(desk.kind)
    return found if found and found.folder else Record(desk.kind, str(desk.folder / FOLDER))


def bring_home(desk: Desk, connection: Connection, found: Notebook, folder: Path) -> Outcome:
    """Copy what is newer on the machine into `folder`, each file checked by its SHA-256. Only then it is remembered.

    Nothing at home is written over that has been changed there: then both are kept.
    """
    from ..remote import sync

    record = record_of(desk).of(found.disk)
    if record.folder != str(folder):
        # What had come home to another folder says nothing of this one.
        record = replace(record, folder=str(folder), files={})
    home, arriving = HomeFolder(folder), folder / ARRIVING
    seen: Manifest = {}
    coming: set[str] = set()
    outcome = Outcome()

    def choose(manifest: Manifest) -> Manifest:
        seen.clear()
        seen.update((name, entry) for name, entry in manifest.items() if entry.digest and _counts(name))
        outcome.newer_here = [name for name, fate in _fates(home, record, seen) if fate is Fate.KEEP]
        coming.clear()
        coming.update(name for name, fate in _fates(home, record, seen) if fate in (Fate.TAKE, Fate.BOTH))
        return {name: entry for name, entry in seen.items() if os.fsdecode(name) in coming}

    folder.mkdir(parents=True, exist_ok=True)
    with desk.reporter.progress("bringing notebooks home", unit="B") as bar:
        copied = sync.pull(connection.address, run_folder.MachineFolder().notebooks, arriving, bar, choose=choose)
    digests = {os.fsdecode(name): entry.digest.hex() for name, entry in seen.items()}
    # Nothing else: an interrupted copy may have left what the machine has no longer.
    for name in sorted(coming):
        digests[name] = HomeFolder(arriving).digest(name) or digests[name]
        home.receive(name, arriving / name, _last(record, name), outcome)
    shutil.rmtree(arriving, ignore_errors=True)
    files = {name: Home(*found.files[name], digest) for name, digest in digests.items() if name in found.files}
    desk.notebooks.keep(replace(record, used=found.state != "absent", files=files))
    outcome.left = copied.left
    return outcome


def send(desk: Desk, connection: Connection, found: Notebook) -> list[str]:
    """Give a machine that never had them the notebooks that are at home; what was thrown away there stays away.

    Nothing on the machine is written over. Returns the names.
    """
    record = record_of(desk).of(found.disk)
    folder, left = Path(record.folder), MOST_BYTES
    names = []
    for name, size in sorted(_at_home(folder)):
        if name in found.files or name in record.files:
            continue
        left -= size
        if left < 0:
            desk.reporter.line(f"{folder / name} is too large to go along: upload it in the browser")
            continue
        names.append(name)
    if names:
        from ..remote.delivery import deliver

        deliver(connection, folder, names, run_folder.MachineFolder().notebooks)
        desk.reporter.line(f"from {folder} to the machine: {', '.join(names)}")
    return names


def note_sent(desk: Desk, found: Notebook, names: Sequence[str]) -> None:
    """They are at home, as they are there."""
    record = record_of(desk).of(found.disk)
    home, files = HomeFolder(Path(record.folder)), dict(record.files)
    for name in names:
        digest, seen = home.digest(name), found.files.get(name)
        if digest and seen and seen[0] == (home.folder / name).stat().st_size:
            files[name] = Home(*seen, digest)
    desk.notebooks.keep(replace(record, files=files))


def _at_home(folder: Path) -> Iterator[tuple[str, int]]:
    for path in folder.rglob("*") if folder.is_dir() else ():
        name = str(path.relative_to(folder))
        if path.is_file() and not path.is_symlink() and _counts(os.fsencode(name)) and not name.startswith("."):
            yield name, path.stat().st_size


def _counts(name: bytes) -> bool:
    parts = PurePosixPath(os.fsdecode(name)).parts
    return not PASSING & set(parts) and not parts[-1].startswith(".~")


def _fates(home: HomeFolder, record: Record, manifest: Manifest) -> Iterator[tuple[str, Fate]]:
    for raw, entry in manifest.items():
        name = os.fsdecode(raw)
        yield name, home.fate(name, entry.digest.hex(), _last(record, name))


def _last(record: Record, name: str) -> str | None:
    known = record.files.get(name)
    return known.digest if known else None


def sentences(outcome: Outcome, folder: Path) -> Iterator[str]:
    """What has become of each notebook."""
    for name in outcome.taken:
        yield f"{folder / name}"
    for name in outcome.newer_here:
        yield f"{folder / name} has been changed here and not on the machine: it stays as it is"
    for name, other in outcome.beside.items():
        yield f"{folder / name} has been changed here and on the machine: the machine's is {other}, beside it"
    for name in outcome.left:
        yield f"{name} is no file, and stays on the machine"


def describe(found: Notebook | None, newer: Sequence[str]) -> Iterator[str]:
    """What `gpu status` says of it."""
    if found and found.state != "absent":
        count, busy = len(found.kernels), sum(kernel != "idle" for kernel in found.kernels)
        kernels = f"{count} kernels, {busy} at work" if count != 1 else f"1 kernel, {'at work' if busy else 'idle'}"
        with_data = f" with {found.data}" if found.data else ""
        yield f"a notebook{with_data} is {found.state}: {kernels} (gpu notebook)"
    for name in newer:
        what = f"{FOLDER}/{name}" if name != "*" else f"what the notebook wrote last in {FOLDER}/"
        yield f"not home yet: {what} (gpu notebook pull)"


def waiting(desk: Desk, kind: str | None = None) -> list[str]:
    """Which notebooks of the profile's machines, or of the kind's, are not home; asked of each where it answers."""
    records = [record for record in desk.notebooks.all() if kind in (None, record.kind)]
    return [words for record in records if (words := _not_home(replace(desk, kind=record.kind), record))]


def _not_home(desk: Desk, record: Record) -> str:
    from ..remote import notebook, ssh
    from ..remote.strangers import shown_name

    try:
        address = desk.provider().address()
        with ssh.connect(address, seconds=DOOR_SECONDS) as connection:
            found = notebook.state(connection)
    except GpuError:
        # It is stopped, or does not answer: what was brought home last is all of it unless it was used after that.
        return f"what the notebook on the {desk.kind} machine wrote last" if record.used else ""
    return ", ".join(shown_name(os.fsencode(name)) for name in record.newer(found.files, found.disk))


def newer(desk: Desk, found: Notebook) -> tuple[str, ...]:
    """What is not home as it is on the machine. Notebooks that this computer never had to do with are not its own."""
    record = desk.notebooks.find(desk.kind)
    return tuple(record.newer(found.files, found.disk)) if record else ()


def unseen(desk: Desk) -> tuple[str, ...]:
    """The same, of a machine that cannot be asked: all of them, perhaps, when they were used since."""
    record = desk.notebooks.find(desk.kind)
    return ("*",) if record and record.used else ()


def before_stop(desk: Desk, *, ending: bool = True) -> None:
    """End the notebook and bring what it wrote home; that it cannot be brought is said, and holds up no stop."""
    record = desk.notebooks.find(desk.kind)
    if record is None:
        return
    from ..remote import notebook, ssh

    try:
        with ssh.connect(desk.provider().address(), seconds=DOOR_SECONDS) as connection:
            found = notebook.state(connection)
            if ending and found.state != notebook.ABSENT:
                desk.reporter.line("the notebook is ended, and its kernels with it")
                found = notebook.stop(connection)
            bring(desk, connection, found)
    except (MachineAbsent, MachineStopped):
        return
    except (GpuError, OSError) as error:
        desk.reporter.line(f"notebooks could not be brought home and stay on its disk: {error}")


def bring(desk: Desk, connection: Connection, found: Notebook) -> None:
    """To the folder that they belong to, unless all of it is there already."""
    record = record_of(desk)
    if record.newer(found.files, found.disk):
        folder = Path(record.folder)
        for line in sentences(bring_home(desk, connection, found, folder), folder):
            desk.reporter.line(line)
    elif found.state == "absent":
        desk.notebooks.keep(replace(record, used=False))
