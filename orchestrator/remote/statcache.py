"""What was read once is not read again while its size, times and inode stay the same. Only a cache.

Standard library only, Python 3.8 or newer: this runs at both ends of a copy.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import tempfile
import time
from collections.abc import Iterable
from typing import Tuple  # noqa: UP035

Identity = Tuple[int, int, int, int]  # noqa: UP006
"""Size in bytes, mtime and ctime in nanoseconds, inode."""

_MAGIC = b"gpu statcache 1\n"
_RECORD = struct.Struct("<qqqQ32s")
# A file that is written to twice within one tick of the disk's clock shows the same times both times.
TICK_NS = 20_000_000
COARSE_TICK_NS = 2_000_000_000


def identity(found: os.stat_result) -> Identity:
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


class StatCache:
    """Digests by name and identity. A file that is missing, damaged or another's is an empty cache."""

    def __init__(self, file: bytes, *, trust: bool = True) -> None:
        """`trust=False`: everything is to be read again, and then remembered."""
        self._file = file
        self._known: dict[bytes, tuple[Identity, bytes]] = _load(file) if trust else {}
        self._changed = not trust

    def get(self, name: bytes, found: Identity) -> bytes:
        """Empty where it has to be read."""
        known = self._known.get(name)
        return known[1] if known is not None and known[0] == found else b""

    def put(self, name: bytes, found: Identity, digest: bytes, *, settled: bool = False) -> None:
        """Remember it, unless it changed so lately that a second change would not show (`settled`: it cannot)."""
        if settled or _is_settled(found[2]):
            self._known[name] = (found, digest)
            self._changed = True

    def save(self, names: Iterable[bytes]) -> None:
        """Keep what is known of `names`; a disk that does not take it is no error."""
        kept = {name: self._known[name] for name in names if name in self._known}
        if not self._changed and len(kept) == len(self._known):
            return
        with contextlib.suppress(OSError):
            _write(self._file, _dump(kept))


def _is_settled(ctime_ns: int) -> bool:
    tick = TICK_NS if ctime_ns % 1_000_000_000 else COARSE_TICK_NS
    return ctime_ns < time.time_ns() - tick


def _dump(known: dict[bytes, tuple[Identity, bytes]]) -> bytes:
    records = b"".join([_RECORD.pack(*found, digest) for found, digest in known.values()])
    content = b"%d\n" % len(known) + records + b"\0".join(known)
    return _MAGIC + hashlib.sha256(content).digest() + content


def _load(file: bytes) -> dict[bytes, tuple[Identity, bytes]]:
    try:
        with open(file, "rb") as stream:
            content = stream.read()
    except OSError:
        return {}
    start = len(_MAGIC) + 32
    whole = content[start:]
    if not content.startswith(_MAGIC) or hashlib.sha256(whole).digest() != content[len(_MAGIC) : start]:
        return {}
    count, _, rest = whole.partition(b"\n")
    end = int(count) * _RECORD.size
    records = _RECORD.iter_unpack(rest[:end])
    return {
        name: ((size, mtime, ctime, inode), digest)
        for name, (size, mtime, ctime, inode, digest) in zip(rest[end:].split(b"\0"), records)  # noqa: B905
    }


def _write(file: bytes, content: bytes) -> None:
    """All of it or nothing of it."""
    os.makedirs(os.path.dirname(file), exist_ok=True)
    descriptor, new = tempfile.mkstemp(prefix=b".new-", dir=os.path.dirname(file))
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        os.replace(new, file)
    except OSError:
        os.unlink(new)
        raise
