"""The notebooks on this machine: which there are, and the one that the trainer brings."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import places
from .records import read_facts, write_facts

LESSON = "lesson1.ipynb"
PASSING = frozenset({".ipynb_checkpoints", "__pycache__"})
"""Folders of what can be made anew; what begins with `.~` is a file that Jupyter is about to write."""


class Places:
    """`~/gpu/notebook`, which is nobody else's: the token is in there."""

    def __init__(self) -> None:
        self.folder = Path(places.machine().notebook)
        self.lock = self.folder / "lock"
        self.wish = self.folder / "wish.json"
        self.facts = self.folder / "facts.json"
        self.log = self.folder / "log.txt"
        self.configuration = self.folder / "jupyter"
        self.notebooks = Path(places.machine().notebooks)

    def make(self) -> None:
        for folder in (self.folder, self.configuration):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
        self.notebooks.mkdir(exist_ok=True)


def packaged() -> Path:
    """The lesson as it came with the trainer; a trainer may have none."""
    return Path(__file__).resolve().parents[1] / "trainer" / LESSON


def give_lesson(here: Places) -> None:
    """Put the lesson among the notebooks, once: one that was thrown away does not come back."""
    file = here.folder / "given.json"
    given = read_facts(file)
    target = here.notebooks / LESSON
    if not packaged().is_file() or given.get(LESSON):
        return
    new = here.folder / f"{LESSON}.new"
    shutil.copyfile(str(packaged()), str(new))
    # Never over the student's own: link(2) refuses where there is something already.
    with contextlib.suppress(FileExistsError):
        os.link(str(new), str(target))
    new.unlink()
    write_facts(file, {**given, LESSON: True})


def name_disk(here: Places) -> None:
    """Give this home folder a name of its own, once."""
    if not disk(here):
        write_facts(here.folder / "disk.json", {"disk": secrets.token_hex(8)})


def disk(here: Places) -> str:
    """The name, the same whatever machine the disk is in; empty before the first notebook."""
    return str(read_facts(here.folder / "disk.json").get("disk") or "")


def listing(here: Places) -> dict[str, list[int]]:
    """Size in bytes and mtime in nanoseconds of each file, by its name; the lesson counts once it has been changed."""
    found = {}
    for name, status in _walk(str(here.notebooks)):
        if name != LESSON or not _is_packaged(here.notebooks / name, status.st_size):
            found[name] = [status.st_size, status.st_mtime_ns]
    return found


def _walk(root: str) -> Iterator[tuple[str, Any]]:
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in PASSING]
        for name in files:
            path = os.path.join(folder, name)  # noqa: PTH118
            if name.startswith(".~") or os.path.islink(path) or not os.path.isfile(path):  # noqa: PTH113, PTH114
                continue
            with contextlib.suppress(FileNotFoundError):
                yield os.path.relpath(path, root), os.stat(path)  # noqa: PTH116


def _is_packaged(file: Path, size: int) -> bool:
    with contextlib.suppress(OSError):
        return size == packaged().stat().st_size and file.read_bytes() == packaged().read_bytes()
    return False
