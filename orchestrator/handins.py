"""What has been handed in of a run, noted in its folder at home."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from trainer import run_folder

from .errors import GpuError
from .state import write_atomically

FILE = "submissions.json"


@dataclass(frozen=True)
class Handin:
    """One submission. `score`: on the public leaderboard; None: not known yet, or not to be had."""

    competition: str
    time: str
    """When it was handed in, ISO 8601, UTC, to the millisecond: with the competition it names the submission."""
    sha256: str
    """Of the file."""
    message: str
    status: str = "begun"
    """begun, pending, complete or error; begun: whether it arrived is not known."""
    ref: str = ""
    """Kaggle's number for it."""
    score: float | None = None
    place: int | None = None
    teams: int | None = None
    """On the leaderboard when it was looked at."""


def read(run: Path) -> list[Handin]:
    """The oldest first; what cannot be read is none."""
    try:
        return [Handin(**entry) for entry in json.loads((run / FILE).read_text())]
    except (OSError, ValueError, TypeError):
        return []


def write(run: Path, handin: Handin) -> None:
    """Add it, or put it in the place of what was noted of the same submission before."""
    rest = [each for each in read(run) if (each.competition, each.time) != (handin.competition, handin.time)]
    found = sorted([*rest, handin], key=lambda each: each.time)
    write_atomically(run / FILE, json.dumps([asdict(each) for each in found], indent=1) + "\n", mode=0o644)


def of_file(runs: Path, sha256: str, competition: str) -> Iterator[tuple[Path, Handin]]:
    """Every time that this very file has been handed in to the competition, by whichever run."""
    try:
        folders = sorted(run for run in runs.iterdir() if run_folder.is_run(run))
    except OSError as error:
        raise GpuError(f"{runs} cannot be read: {error.strerror}", "Check its mode and owner") from error
    for run in folders:
        for handin in read(run):
            if (handin.sha256, handin.competition) == (sha256, competition):
                yield run, handin
