"""What this computer knows of the notebooks on a machine, kept where a stopped machine cannot hide it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

FOLDER = "nbs"
"""Under the current folder at home."""


@dataclass(frozen=True)
class Home:
    """A file of the machine when it last came home: size in bytes, mtime in nanoseconds, SHA-256."""

    size: int
    mtime_ns: int
    digest: str


@dataclass(frozen=True)
class Record:
    """Of one machine's notebooks, since `gpu notebook` was first used there from this computer."""

    kind: str
    folder: str
    """The folder at home that they belong to."""
    disk: str = ""
    """Whose they were: the machine's own name for its home folder."""
    used: bool = True
    """A notebook ran there, or may have, after they last came home."""
    port: int = 0
    """Of this computer, at which the browser last found them."""
    files: Mapping[str, Home] = field(default_factory=dict)

    def newer(self, seen: Mapping[str, tuple[int, int]], disk: str) -> list[str]:
        """Of what is on the machine, by size and time: what has not come home as it is now."""
        known = self.of(disk).files
        return sorted(
            name
            for name, (size, mtime_ns) in seen.items()
            if name not in known or (known[name].size, known[name].mtime_ns) != (size, mtime_ns)
        )

    def of(self, disk: str) -> Record:
        """The same for this disk; nothing is known of another one's files."""
        return self if disk == self.disk else replace(self, disk=disk, files={})


class Notebooks:
    """One small file a kind of machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, kind: str) -> Record | None:
        """None where no notebook was ever used. A damaged record still counts: they may be newer than home."""
        file = self._file(kind)
        if not file.exists():
            return None
        try:
            return _understand(kind, json.loads(file.read_text()))
        except (OSError, ValueError, KeyError, TypeError):
            return Record(kind, "")

    def all(self) -> list[Record]:
        found = (self.find(file.stem) for file in sorted(self._folder.glob("*.json")))
        return [record for record in found if record is not None]

    def keep(self, record: Record) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self._file(record.kind)
        new = file.with_suffix(".new")
        new.write_text(json.dumps(asdict(record)))
        new.replace(file)

    def move(self, kind: str, to: str) -> None:
        """The same disk has become another kind of machine."""
        if record := self.find(kind):
            self.keep(replace(record, kind=to))
            self._file(kind).unlink()

    def forget(self, kind: str | None = None) -> None:
        """After the machines, or the one of the kind, have been removed."""
        for record in self.all() if kind is None else [Record(kind, "")]:
            self._file(record.kind).unlink(missing_ok=True)

    def _file(self, kind: str) -> Path:
        return self._folder / f"{kind}.json"


def _understand(kind: str, document: Any) -> Record:
    files = {
        str(name): Home(int(one["size"]), int(one["mtime_ns"]), str(one["digest"]))
        for name, one in document["files"].items()
    }
    return Record(
        kind,
        str(document["folder"]),
        str(document["disk"]),
        bool(document["used"]),
        int(document["port"]),
        files,
    )
