"""A folder as names and SHA-256 digests: walked, compared, written down.

Standard library only, Python 3.8 or newer: this runs at both ends of a copy. Names are bytes, relative to the
folder, with `/` between their parts.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import re
import stat
import struct
import time
from collections.abc import Callable, Iterator
from typing import Dict, NamedTuple  # noqa: UP035

from .statcache import Identity, StatCache, identity

FILE, FOLDER, LINK = 0, 1, 2
# What a cut link can cost of a large file, and what a signal of life waits for.
PIECE = 1 << 18
NAME_BYTES = 255
_RECORD = struct.Struct("<Bqq32s")
_COUNT = struct.Struct("<Q")
_UNKNOWN = bytes(32)
_CLIMBS = re.compile(rb"(?:\A|/)\.{0,2}(?:/|\Z)|\0")


class Entry(NamedTuple):
    """`size` in bytes. `digest`: SHA-256 of a file's content or a link's text; empty for a folder or while unknown."""

    kind: int
    size: int
    mtime_ns: int
    digest: bytes


# Python 3.8 takes no `dict[...]` outside annotations.
Manifest = Dict[bytes, Entry]  # noqa: UP006


def walk(root: bytes, skip: frozenset[bytes] = frozenset()) -> Iterator[tuple[bytes, os.stat_result]]:
    """Everything in the folder but `skip`, links not followed; what vanishes meanwhile is left out.

    OSError, with its `filename`, for a folder that cannot be read.
    """
    waiting = [b""]
    while waiting:
        here = waiting.pop()
        try:
            entries = os.scandir(os.path.join(root, here))
        except FileNotFoundError:
            continue
        with entries:
            for entry in entries:
                name = here + entry.name
                if name in skip:
                    continue
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                yield name, found
                if stat.S_ISDIR(found.st_mode):
                    waiting.append(name + b"/")


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Python looks for cycles among many new objects; here are none, and it takes a third of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


class Tree:
    """One folder as it is now. What has not changed since it was last read is not read again."""

    def __init__(self, root: bytes, cache: StatCache, skip: frozenset[bytes] = frozenset()) -> None:
        self.root, self._skip, self._cache = root, skip, cache
        self.entries: Manifest = {}
        self.left: list[bytes] = []
        """Devices, FIFOs and sockets: never part of a copy."""
        self._identities: dict[bytes, Identity] = {}

    def look(self, beat: Callable[[], None] = lambda: None) -> None:
        """Walk it; an absent folder is an empty one."""
        self.entries, self._identities, self.left = {}, {}, []
        for name, found in walk(self.root, self._skip):
            self._note(name, found)
            beat()

    def _note(self, name: bytes, found: os.stat_result) -> None:
        mode = found.st_mode
        if stat.S_ISREG(mode):
            known = self._identities[name] = identity(found)
            self.entries[name] = Entry(FILE, found.st_size, found.st_mtime_ns, self._cache.get(name, known))
        elif stat.S_ISDIR(mode):
            self.entries[name] = Entry(FOLDER, 0, 0, b"")
        elif stat.S_ISLNK(mode):
            text = os.readlink(self.path(name))
            self.entries[name] = Entry(LINK, len(text), 0, hashlib.sha256(text).digest())
        else:
            self.left.append(name)

    def path(self, name: bytes) -> bytes:
        return self.root + b"/" + name

    def link_text(self, name: bytes) -> bytes:
        return os.readlink(self.path(name))

    def refresh(self, name: bytes) -> None:
        """Look at one file again; it is no longer an entry when it is gone."""
        self.entries.pop(name, None)
        try:
            self._note(name, os.lstat(self.path(name)))
        except FileNotFoundError:
            return

    def digest(self, name: bytes, beat: Callable[[], None]) -> bytes:
        """Of a file, read where it is not known yet; empty when it cannot be read as it was seen."""
        entry = self.entries[name]
        if entry.kind == FILE and not entry.digest:
            try:
                found, seen = hash_file(self.path(name), beat)
            except OSError:
                return b""
            if seen == self._identities[name]:
                self.learn(name, found)
        return self.entries[name].digest

    def learn(self, name: bytes, digest: bytes) -> None:
        """`digest` is the content that the file had when it was last looked at."""
        kind, size, mtime_ns, _unknown = self.entries[name]
        self.entries[name] = Entry(kind, size, mtime_ns, digest)
        self._cache.put(name, self._identities[name], digest)

    def complete(self, beat: Callable[[], None]) -> None:
        """Make every digest known that can be."""
        for name in list(self.entries):
            self.digest(name, beat)

    def received(self, name: bytes, digest: bytes, known: Identity | None) -> None:
        """A file of just this content has been put in place; `known` where its identity is."""
        if known is None:
            known = identity(os.lstat(self.path(name)))
        self._identities[name] = known
        self.entries[name] = Entry(FILE, known[0], known[1], digest)
        self._cache.put(name, known, digest, settled=True)

    def save(self) -> None:
        self._cache.save(name for name, entry in self.entries.items() if entry.kind == FILE)


def hash_file(path: bytes, beat: Callable[[], None]) -> tuple[bytes, Identity | None]:
    """A regular file's digest and what it was meanwhile: None when it changed, or may have, while it was read."""
    found = hashlib.sha256()
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        before = os.fstat(descriptor)
        while True:
            piece = os.read(descriptor, PIECE)
            if not piece:
                break
            found.update(piece)
            beat()
        same = identity(before) == identity(os.fstat(descriptor)) and stat.S_ISREG(before.st_mode)
    finally:
        os.close(descriptor)
    return found.digest(), identity(before) if same else None


def fingerprint(entries: Manifest) -> bytes:
    """One digest of names, kinds and contents; empty while a file's content is unknown. Times do not count."""
    whole = hashlib.sha256()
    for name in sorted(entries):
        kind, _size, _mtime, digest = entries[name]
        if kind == FILE and not digest:
            return b""
        whole.update(b"%d %s %s\0" % (kind, digest, name))
    return whole.digest()


def encode(entries: Manifest) -> bytes:
    """As it goes over the wire: a count, fixed records, then the names, each ended by a NUL."""
    records = b"".join([_RECORD.pack(e.kind, e.size, e.mtime_ns, e.digest or _UNKNOWN) for e in entries.values()])
    return _COUNT.pack(len(entries)) + records + b"".join([name + b"\0" for name in entries])


def decode(content: bytes) -> Manifest:
    """The reverse of `encode`; ValueError for anything else, and for a name that leads out of its folder."""
    if len(content) < _COUNT.size:
        raise ValueError("a manifest without a beginning")
    (count,) = _COUNT.unpack_from(content)
    end = _COUNT.size + count * _RECORD.size
    names = content[end:].split(b"\0")
    if end > len(content) or len(names) != count + 1 or names.pop() != b"":
        raise ValueError("a manifest that was cut")
    entries: Manifest = {}
    for name, (kind, size, mtime, digest) in zip(names, _RECORD.iter_unpack(content[_COUNT.size : end])):  # noqa: B905
        if kind not in (FILE, FOLDER, LINK) or size < 0 or name in entries:
            raise ValueError(f"a manifest with an impossible entry: {name!r}")
        check_name(name)
        entries[name] = Entry(kind, size, mtime, b"" if digest == _UNKNOWN else digest)
    return entries


def check_name(name: bytes) -> bytes:
    """The name itself; ValueError unless it is relative and stays in its folder."""
    if _CLIMBS.search(name) or (len(name) > NAME_BYTES and len(max(name.split(b"/"), key=len)) > NAME_BYTES):
        raise ValueError(f"a name that leads out of its folder: {name!r}")
    return name


class Heart:
    """Calls `pump` when `seconds` have passed since it was last called: a sign of life amid long work."""

    def __init__(self, pump: Callable[[], None], seconds: float) -> None:
        self._pump, self._seconds, self._last = pump, seconds, time.monotonic()

    def __call__(self) -> None:
        now = time.monotonic()
        if now - self._last > self._seconds:
            self._last = now
            self._pump()
