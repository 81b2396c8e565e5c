"""What has run and what has been kept, for the bill: one small file each, so that damage and races lose nothing else.

A file holds what EC2 was seen to say, never a conclusion: notes may come late, twice, or in any order. What they mean
together (when a session ended, when a disk was gone) is worked out when they are read.
"""

from __future__ import annotations

import fcntl
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timezone
from itertools import groupby
from pathlib import Path
from typing import IO, Any, TypeVar

from .errors import GpuError
from .state import write_atomically

LOCK_SECONDS = 10.0
_NAME = re.compile(r"[A-Za-z0-9-]{1,80}")


@dataclass(frozen=True)
class Session:
    """One time that a machine ran: from a launch to the stop after it. UTC; US dollars an hour."""

    machine: str
    kind: str
    machine_type: str
    spot: bool
    began: datetime
    """Whole seconds, as EC2 tells it: the session's name."""
    per_hour: float | None
    """None: not known when it was noted."""
    seen: datetime | None = None
    """When it was last seen to run."""
    stopped: datetime | None = None
    """When EC2 says that it was told to stop."""
    over: datetime | None = None
    """When it was first seen not to run any more, where EC2 did not say since when."""

    @property
    def name(self) -> str:
        return f"{self.began:%Y%m%dT%H%M%SZ}-{self.machine}"

    def joined(self, other: Session) -> Session:
        """Both notes of the same session in one; what the first knew of its price and kind stays."""
        price = other.per_hour if self.per_hour is None else self.per_hour
        return replace(
            self,
            per_hour=price,
            seen=_last(self.seen, other.seen),
            stopped=_first(self.stopped, other.stopped),
            over=_first(_after(self.over, other.seen), _after(other.over, self.seen)),
        )


@dataclass(frozen=True)
class Holding:
    """A machine's disk and address, which cost as long as they exist. US dollars an hour."""

    machine: str
    kind: str
    since: datetime
    disk_gb: int
    disk_hour: float
    address_hour: float
    seen: datetime | None = None
    """When the machine was last seen to exist, running or stopped."""
    gone: datetime | None = None
    """When it was first seen to be gone, and its disk with it."""
    address_seen: datetime | None = None
    released: datetime | None = None
    """When its address was first seen to be released."""

    @property
    def name(self) -> str:
        return self.machine

    def joined(self, other: Holding) -> Holding:
        """Both notes of the same machine in one. Its kind is that of the later one: a machine can be resized."""
        later = other if _last(self.seen, other.seen) == other.seen is not None else self
        return replace(
            self,
            kind=later.kind,
            since=min(self.since, other.since),
            seen=_last(self.seen, other.seen),
            gone=_first(_after(self.gone, other.seen), _after(other.gone, self.seen)),
            address_seen=_last(self.address_seen, other.address_seen),
            released=_first(_after(self.released, other.address_seen), _after(other.released, self.address_seen)),
        )


def _first(*moments: datetime | None) -> datetime | None:
    return min((one for one in moments if one), default=None)


def _last(*moments: datetime | None) -> datetime | None:
    return max((one for one in moments if one), default=None)


def _after(moment: datetime | None, seen: datetime | None) -> datetime | None:
    """An absence that was followed by a presence was none: EC2 had not heard of it yet."""
    return moment if moment and (seen is None or moment >= seen) else None


@dataclass(frozen=True)
class Span:
    """A session as it really was. `ended` is None while it runs."""

    session: Session
    ended: datetime | None
    at_most: bool
    """EC2 did not say when it stopped: it was then at the latest."""


def spans(sessions: Iterable[Session]) -> list[Span]:
    """In order of their beginning; those of one machine never overlap: a launch ends what was before it."""
    found = []
    for _, group in groupby(sorted(sessions, key=lambda s: (s.machine, s.began)), key=lambda s: s.machine):
        mine = list(group)
        for one, after in zip(mine, [*mine[1:], None], strict=True):
            ended = _first(one.stopped or one.over, after.began if after else None)
            found.append(Span(one, ended, at_most=ended is not None and one.stopped is None))
    return sorted(found, key=lambda span: (span.session.began, span.session.machine))


N = TypeVar("N", Session, Holding)


class Sessions:
    """A profile's folder: `ran/` has the sessions, `kept/` the disks and addresses."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def note(self, *notes: Session | Holding) -> None:
        """Add what was seen; seen twice it is there once."""
        with self._alone():
            for one in notes:
                self._join(one)

    def sessions(self) -> list[Session]:
        """Those that can be read; `damaged` names the others."""
        return [one for file in self._files("ran") if (one := _read(file, Session))]

    def holdings(self) -> list[Holding]:
        return [one for file in self._files("kept") if (one := _read(file, Holding))]

    def damaged(self) -> list[Path]:
        """Entries whose figures are lost; an entry that EC2 still tells of is written anew by the next note."""
        bad = [file for file in self._files("ran") if _read(file, Session) is None]
        return [*bad, *(file for file in self._files("kept") if _read(file, Holding) is None)]

    def absent(self, kind: str | None, *, at: datetime, but: str | None = None, released: bool) -> None:
        """No machine of `kind` (None: of any) is there at `at` except `but`; nor its address, where `released`."""

        def mine(one: Session | Holding) -> bool:
            return kind in (None, one.kind) and one.machine != but

        with self._alone():
            for session in filter(mine, self.sessions()):
                if not session.stopped and not session.over:
                    self._join(replace(session, seen=None, over=max(at, session.began)))
            for holding in filter(mine, self.holdings()):
                address = at if released and not holding.released else holding.released
                self._join(replace(holding, gone=holding.gone or at, released=address, seen=None, address_seen=None))

    def _join(self, one: Session | Holding) -> None:
        if isinstance(one, Session):
            self._write("ran", one)
        else:
            self._write("kept", one)

    def _write(self, folder: str, one: N) -> None:
        if not _NAME.fullmatch(one.name):
            raise GpuError(f"{one.name!r} is not the id of a machine", "Look for a proxy between here and AWS")
        file = self._folder / folder / f"{one.name}.json"
        known = _read(file, type(one))
        if known is None:
            _set_aside(file)
        joined = known.joined(one) if known else one
        if joined != known:
            text = json.dumps(asdict(joined), default=lambda moment: moment.isoformat())
            write_atomically(file, text + "\n", mode=0o600)

    def _files(self, folder: str) -> list[Path]:
        return sorted((self._folder / folder).glob("*.json"))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Held for as long as it takes to write a few small files."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            stream = (self._folder / "lock").open("ab")
        except OSError as error:
            raise GpuError(f"{self._folder} cannot be written: {error.strerror}", "Check its owner and mode") from error
        with stream:
            _acquire(stream, self._folder)
            yield


def _acquire(stream: IO[bytes], folder: Path) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise GpuError(
                    f"another gpu has held {folder / 'lock'} for over {LOCK_SECONDS:.0f} seconds",
                    "Wait for it, or end it",
                ) from None
        time.sleep(0.02)


def _read(file: Path, shape: type[N]) -> N | None:
    """None for what is damaged: its figures are not to be guessed."""
    try:
        document = json.loads(file.read_text("utf-8"))
        one = shape(**{f.name: _VALUES[str(f.type)](document[f.name]) for f in fields(shape)})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return None
    return one if one.name == file.stem else None


def _set_aside(damaged: Path) -> None:
    """A note of what EC2 still tells takes its place."""
    try:
        damaged.replace(damaged.with_suffix(".broken"))
    except FileNotFoundError:
        return
    except OSError as error:
        raise GpuError(f"{damaged} cannot be replaced: {error.strerror}", "Move it away by hand") from error


def _moment(value: Any) -> datetime:
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("a time without its zone")
    return moment.astimezone(timezone.utc)


def _exactly(kind: type) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"{value!r} is no {kind.__name__}")
        return value

    return check


def _dollars(value: Any) -> float:
    usd = float(value)
    if not 0 <= usd < float("inf"):
        raise ValueError(f"{value!r} is no price")
    return usd


_VALUES: dict[str, Callable[[Any], Any]] = {
    "str": _exactly(str),
    "bool": _exactly(bool),
    "int": _exactly(int),
    "float": _dollars,
    "float | None": lambda value: None if value is None else _dollars(value),
    "datetime": _moment,
    "datetime | None": lambda value: None if value is None else _moment(value),
}
