"""Two copies of a notebook, one at home and one from the machine: neither is ever lost."""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path, PurePosixPath

from .errors import GpuError


class Fate(Enum):
    """What becomes of the machine's copy."""

    SAME = "it is at home already"
    TAKE = "it comes home"
    KEEP = "the one at home is newer"
    BOTH = "it comes home beside the other one"


def decide(theirs: str, ours: str | None, last: str | None) -> Fate:
    """Digests of the machine's copy, the one at home, and what both were when it last came home; None: there is none.

    What was changed at one end alone goes on; what was changed at both ends is kept twice.
    """
    if theirs == ours:
        return Fate.SAME
    if ours is None or ours == last:
        return Fate.TAKE
    return Fate.KEEP if theirs == last else Fate.BOTH


@dataclass
class Outcome:
    """Names of notebooks: which have come home, which are newer at home, and which have come beside another one."""

    taken: list[str] = field(default_factory=list)
    newer_here: list[str] = field(default_factory=list)
    beside: dict[str, str] = field(default_factory=dict)
    """The machine's copy's name at home, by the notebook's."""
    left: tuple[str, ...] = ()
    """Links, devices and the like, which stay on the machine."""


class HomeFolder:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def digest(self, name: str) -> str | None:
        """Of what is at home under this name; None where nothing is. A link or a folder has one that no file has."""
        path = self.folder / name
        if not os.path.lexists(path):
            return None
        if path.is_symlink() or not path.is_file():
            return "no file"
        with path.open("rb") as stream:
            found = hashlib.sha256()
            while piece := stream.read(1 << 20):
                found.update(piece)
        return found.hexdigest()

    def beside(self, name: str, digest: str) -> str:
        """Where the machine's copy goes when both are kept: of one content always under one name."""
        path = PurePosixPath(name)
        return str(path.with_name(f"{path.stem}.machine-{digest[:8]}{path.suffix}"))

    def fate(self, name: str, theirs: str, last: str | None) -> Fate:
        fate = decide(theirs, self.digest(name), last)
        if fate is Fate.BOTH and self.digest(self.beside(name, theirs)) == theirs:
            return Fate.SAME
        return fate

    def receive(self, name: str, arrived: Path, last: str | None, outcome: Outcome) -> None:
        """Put a verified file in its place, or beside what has been changed here."""
        theirs = HomeFolder(arrived.parent).digest(arrived.name)
        assert theirs is not None
        fate = self.fate(name, theirs, last)
        if fate is Fate.TAKE:
            if self._put(name, arrived, fresh=self.digest(name) is None):
                outcome.taken.append(name)
                return
            # Somebody has just made one here.
            fate = Fate.BOTH
        if fate is Fate.KEEP:
            outcome.newer_here.append(name)
        if fate is Fate.BOTH:
            other = self.beside(name, theirs)
            self._put(other, arrived, fresh=False)
            outcome.beside[name] = other

    def _put(self, name: str, arrived: Path, *, fresh: bool) -> bool:
        """False where it was to be fresh and something is there."""
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.parent.resolve().is_relative_to(self.folder.resolve()):
            raise GpuError(
                f"{target.parent} is a link out of {self.folder}, and what comes home would go elsewhere",
                "Move it away",
            )
        if not fresh:
            arrived.replace(target)
            return True
        with contextlib.suppress(FileExistsError):
            os.link(arrived, target)
            arrived.unlink()
            return True
        return False
