"""`gpu submit`: a run's submission is checked, handed to Kaggle, and what came of it is noted."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from .. import handins
from ..errors import Declined
from ..handins import Handin
from ..kaggle import Client
from ..standing import Standing
from . import eligibility, verdict
from .desk import Desk


@dataclass(frozen=True)
class Wish:
    """`competition`: None: the one that the data set is from. `wait`: until Kaggle has scored it."""

    competition: str | None = None
    message: str = ""
    wait: bool = True


@dataclass(frozen=True)
class Handed:
    """What came of it. `expected`: None where the run states nothing."""

    run_id: str
    handin: Handin
    expected: eligibility.Expected | None

    @property
    def standing(self) -> Standing | None:
        place, teams = self.handin.place, self.handin.teams
        return None if place is None or teams is None else Standing(place, teams)


def submit(desk: Desk, run: Path, wish: Wish) -> Handed:
    """Check, ask, hand in, wait. `Declined` where it is not agreed to; nothing has been handed in then.

    What has been handed in and was not scored when last looked at is looked at, and not handed in once more.
    """
    entry = eligibility.read(run)
    name = eligibility.competition(desk, entry.data, wish.competition)
    client = Client.found(name)
    eligibility.check_ids(desk, client, entry)
    file, expected = entry.file, entry.expected
    if (earlier := _unsettled(client, run, file)) is not None:
        desk.reporter.line(f"it was handed in at {earlier.time}; this is what came of it")
        return Handed(
            run.name, verdict.settled(desk.reporter, client, run, earlier) if wish.wait else earlier, expected
        )
    _say_before(desk, client, (run, file), expected)
    if not desk.reporter.confirm(f"Hand it in to {name}? It counts against the day's limit."):
        raise Declined("nothing was handed in", "Agree, or give -y")
    handin = _hand_in(client, run, file, wish.message)
    desk.reporter.line(f"handed in to {name}")
    return Handed(run.name, verdict.settled(desk.reporter, client, run, handin) if wish.wait else handin, expected)


def _unsettled(client: Client, run: Path, file: Path) -> Handin | None:
    """A submission of this file whose score is not known here, and that did arrive."""
    digest = _digest(file)
    for earlier in reversed(handins.read(run)):
        same = (earlier.sha256, earlier.competition) == (digest, client.competition)
        if same and earlier.status in ("begun", "pending"):
            return earlier if verdict.find(client.submissions(), earlier) else None
    return None


def _say_before(desk: Desk, client: Client, what: tuple[Path, Path], expected: eligibility.Expected | None) -> None:
    run, file = what
    if expected is not None:
        desk.reporter.line(f"expected {expected}")
    for other, before in handins.of_file(run.parent, _digest(file), client.competition):
        scored = f"scored {before.score:g}" if before.score is not None else f"is {before.status}"
        desk.reporter.line(f"this very file was handed in before: {before.time}, of {other.name}; it {scored}")


def _hand_in(client: Client, run: Path, file: Path, message: str) -> Handin:
    """Noted before it goes: whatever happens then, it is known that it may have arrived."""
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    words = f"{run.name}: {message}" if message else run.name
    handin = Handin(client.competition, now, _digest(file), words)
    handins.write(run, handin)
    client.submit(file, words)
    handin = replace(handin, status="pending")
    handins.write(run, handin)
    return handin


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
