"""What is remembered of a profile between two commands: a cache, which may be deleted at any time."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from .errors import GpuError
from .settings import Home

VERSION = 1
LOCK_SECONDS = 900.0
"""How long one command waits for another; creating a machine takes a few minutes."""


@dataclass(frozen=True)
class Token:
    """A client token and the digest of the request that it belongs to."""

    token: str
    digest: str


@dataclass(frozen=True)
class Belonging:
    """Whose account and which region the profile's things were made in."""

    owner: str
    region: str


@dataclass(frozen=True)
class Door:
    """Where the provider last said that the machine of a kind is. Only an address: by which keys it is known is never
    remembered here. `settings` is the digest of the profile that it was told of."""

    host: str
    port: int
    user: str
    settings: str


@dataclass(frozen=True)
class _Content:
    selected_kind: str | None = None
    belonging: Belonging | None = None
    tokens: dict[str, Token] = field(default_factory=dict)
    doors: dict[str, Door] = field(default_factory=dict)


class StateFile:
    """`state/PROFILE.json`. What cannot be read is set aside as `.broken`, said once, and begun anew."""

    def __init__(self, home: Home, profile: str, say: Callable[[str], None]) -> None:
        self.file = home.state / f"{profile}.json"
        self._say = say

    def selected_kind(self) -> str | None:
        """The kind that was named last; None when none has been."""
        return self._read().selected_kind

    def select_kind(self, kind: str) -> None:
        with self._alone():
            self._write(replace(self._read(), selected_kind=kind))

    def belonging(self) -> Belonging | None:
        """None as long as nothing has been made under this profile from this computer."""
        return self._read().belonging

    def belong(self, belonging: Belonging | None) -> None:
        """Before the first thing is made; None after the last one has been removed."""
        if self._read().belonging == belonging:
            return
        with self._alone():
            self._write(replace(self._read(), belonging=belonging))

    def door(self, kind: str) -> Door | None:
        return self._read().doors.get(kind)

    def remember_door(self, kind: str, door: Door | None) -> None:
        """None: it leads nowhere any more."""
        if self._read().doors.get(kind) == door:
            return
        with self._alone():
            content = self._read()
            others = {k: v for k, v in content.doors.items() if k != kind}
            self._write(replace(content, doors={**others, kind: door} if door else others))

    def token(self, purpose: str, *, digest: str, new: Callable[[], str]) -> str:
        """The token of this very request; a `new` one, written down first, for a request that differs."""
        with self._alone():
            content = self._read()
            known = content.tokens.get(purpose)
            if known and known.digest == digest:
                return known.token
            fresh = Token(new(), digest)
            self._write(replace(content, tokens={**content.tokens, purpose: fresh}))
            return fresh.token

    def kept_token(self, purpose: str) -> str | None:
        """The token that is kept for the purpose, whatever request it belongs to."""
        known = self._read().tokens.get(purpose)
        return known.token if known else None

    def forget_token(self, purpose: str) -> None:
        """After the request's result has been seen: the same request, made again later, is another one."""
        if purpose not in self._read().tokens:
            return
        with self._alone():
            content = self._read()
            self._write(replace(content, tokens={k: v for k, v in content.tokens.items() if k != purpose}))

    def _alone(self) -> AbstractContextManager[None]:
        return _flock(self.file.with_suffix(".json.lock"), seconds=10.0, waiting=lambda _: None)

    def _read(self) -> _Content:
        try:
            text = self.file.read_text()
        except FileNotFoundError:
            return _Content()
        except (OSError, UnicodeDecodeError) as error:
            return self._set_aside(str(error))
        try:
            return _parse(text)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            return self._set_aside(str(error) or type(error).__name__)

    def _set_aside(self, why: str) -> _Content:
        broken = self.file.with_suffix(".json.broken")
        try:
            self.file.replace(broken)
        except OSError as error:
            raise GpuError(
                f"{self.file} can neither be read nor moved aside: {error.strerror}", "Move it away by hand"
            ) from error
        self._say(f"{self.file} could not be read ({why[:120]}); it is now {broken.name} and a new one was begun")
        return _Content()

    def _write(self, content: _Content) -> None:
        document = {"version": VERSION, **asdict(content)}
        write_atomically(self.file, json.dumps(document, indent=1) + "\n", mode=0o600)


def _parse(text: str) -> _Content:
    document = json.loads(text)
    if document["version"] != VERSION:
        raise ValueError(f"version {document['version']!r} is not known here")
    kind = document.get("selected_kind")
    if not isinstance(kind, (str, type(None))):
        raise ValueError("the selected kind is not a name")
    tokens = {str(k): Token(str(v["token"]), str(v["digest"])) for k, v in document.get("tokens", {}).items()}
    whose = document.get("belonging")
    belonging = Belonging(str(whose["owner"]), str(whose["region"])) if whose else None
    doors = {str(k): _door(v) for k, v in document.get("doors", {}).items()}
    return _Content(kind, belonging, tokens, doors)


def _door(entry: dict[str, Any]) -> Door:
    return Door(str(entry["host"]), int(entry["port"]), str(entry["user"]), str(entry["settings"]))


def write_atomically(file: Path, text: str, *, mode: int) -> None:
    """Whole or not at all, whatever happens in between; the folder is made for its owner alone."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = file.with_name(f".{file.name}.{os.getpid()}.new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        new.replace(file)
    except OSError as error:
        raise GpuError(f"{file} cannot be written: {error.strerror}", "Check the disk's space and the owner") from error


@contextmanager
def lock(home: Home, profile: str, say: Callable[[str], None], *, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """One command at a time changes a profile's machines. The kernel gives the lock back however its holder ends."""
    file = home.state / f"{profile}.lock"
    with _flock(
        file, seconds=seconds, waiting=lambda who: say(f"another gpu{who} works on the profile {profile}; waiting")
    ):
        yield


class Unlockable(GpuError):
    """There can be no lock: of a disk that is full or read-only, or somebody else's."""


@contextmanager
def _flock(file: Path, *, seconds: float, waiting: Callable[[str], None]) -> Iterator[None]:
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        stream = file.open("a+")
    except OSError as error:
        raise Unlockable(
            f"{file} cannot be opened: {error.strerror}", "Check the disk's space, and its owner and mode"
        ) from error
    with stream:
        _acquire(stream, file, seconds=seconds, waiting=waiting)
        # Who holds it is only said to those who wait: on a full disk it is held all the same.
        with suppress(OSError):
            os.truncate(stream.fileno(), 0)
            os.write(stream.fileno(), str(os.getpid()).encode())
        yield


def _acquire(stream: IO[str], file: Path, *, seconds: float, waiting: Callable[[str], None]) -> None:
    deadline, said = time.monotonic() + seconds, False
    while True:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            stream.seek(0)
            holder = stream.read(20).strip()
            who = f" (process {holder})" if holder.isdigit() else ""
            if not said:
                waiting(who)
                said = True
            if time.monotonic() >= deadline:
                raise GpuError(
                    f"another gpu{who} has held {file} for over {seconds:.0f} seconds", "Wait for it, or end it"
                ) from None
            time.sleep(0.1)
