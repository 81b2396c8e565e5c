"""What has been started on a machine and is not home yet, kept where a stopped machine cannot hide it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from trainer import run_folder

from .state import write_atomically

HOME = ".home"
UNKNOWN = "?"
"""What a damaged entry says."""


@dataclass(frozen=True)
class Unfetched:
    """A run whose results are, as far as this computer knows, on the machine alone."""

    run_id: str
    kind: str
    folder: str
    """The `runs` folder at home that it belongs to."""


class Ledger:
    """One small file a run, so that two commands at once never lose each other's entries."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, run_id: str, *, kind: str, runs: Path) -> None:
        """Written before the run starts: a run that nobody knows of could be destroyed with its machine."""
        write_atomically(self._file(run_id), json.dumps(asdict(Unfetched(run_id, kind, str(runs)))), mode=0o600)

    def remove(self, run_id: str) -> None:
        """There is nothing to bring home."""
        self._file(run_id).unlink(missing_ok=True)

    def note_home(self, run_id: str) -> None:
        """It is home, in whatever folder: that is remembered, since its machine goes on telling of it."""
        write_atomically(self._file(run_id).with_suffix(HOME), "", mode=0o600)
        self.remove(run_id)

    def came_home(self, run_id: str) -> bool:
        file = self._file(run_id)
        return file.with_suffix(HOME).exists() and not file.exists()

    def unfetched(self, kind: str | None = None) -> list[Unfetched]:
        """Oldest first. A damaged entry still counts, for every kind: its name alone says which run it is."""
        entries = [self._read(file) for file in sorted(self._folder.glob("*.json")) if run_folder.is_run_id(file.stem)]
        return [entry for entry in entries if kind is None or entry.kind in (kind, UNKNOWN)]

    def forget(self, run_ids: Iterable[str]) -> None:
        """They have been given up, and their machine is gone."""
        for run_id in run_ids:
            self._file(run_id).unlink(missing_ok=True)

    def forget_homecomings(self) -> None:
        """No machine is left that could tell of a run."""
        for file in self._folder.glob(f"*{HOME}"):
            file.unlink(missing_ok=True)

    def _file(self, run_id: str) -> Path:
        return self._folder / f"{run_folder.check_run_id(run_id)}.json"

    @staticmethod
    def _read(file: Path) -> Unfetched:
        try:
            document = json.loads(file.read_text())
            return Unfetched(file.stem, str(document["kind"]), str(document["folder"]))
        except (OSError, ValueError, KeyError, TypeError):
            return Unfetched(file.stem, UNKNOWN, UNKNOWN)
