"""One file as frames: what it was when it was seen, its bytes, and at the end its digest, or that it changed.

Standard library only, Python 3.8 or newer: this runs at both ends of a copy.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from collections.abc import Callable
from typing import NamedTuple

from . import wire as frames
from .tree import PIECE, Entry
from .wire import Wire

HEADER = struct.Struct("<qqq")
"""mtime in ns, size, and the offset of the first byte that follows; then comes the name."""
SMALL_HEADER = struct.Struct("<qH32s")
"""mtime in ns, how long the name is, the digest; then come the name and the whole content, in the same frame."""
SMALL = 1 << 18
WHOLE, CHANGED = b"\1", b"\0"
# A shorter beginning is not worth asking for.
RESUME_FROM = 1 << 18


class Part(NamedTuple):
    """What the other end has of a file already: so many bytes, of this digest."""

    size: int = 0
    digest: bytes = b""


def send_file(
    wire: Wire, path: bytes, named: tuple[bytes, Entry], part: Part, told: Callable[[int], None]
) -> tuple[bytes, str]:
    """The digest of what was sent, or none and why: the rest of the stream is whole all the same.

    An entry that has its digest is not hashed again: the other end finds out what is not of that digest.
    `told` hears of bytes as they go out.
    """
    name, entry = named
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return b"", "vanished"
    except OSError as error:
        return b"", f"cannot be read: {error.strerror}"
    try:
        if entry.size <= SMALL:
            return _send_small(wire, descriptor, name, entry, told)
        if not _is_as_seen(os.fstat(descriptor), entry):
            return b"", "changed"
        whole, offset = _prefix(descriptor, part)
        wire.send(frames.FILE, HEADER.pack(entry.mtime_ns, entry.size, offset) + name)
        try:
            rest = entry.size - offset
            sent = _send_content(wire, descriptor, (None if entry.digest else whole, rest), told)
        except OSError as error:
            wire.send(frames.END, CHANGED + bytes(32))
            return b"", f"cannot be read: {error.strerror}"
        same = sent and _is_as_seen(os.fstat(descriptor), entry)
    finally:
        os.close(descriptor)
    digest = entry.digest or whole.digest()
    wire.send(frames.END, (WHOLE if same else CHANGED) + digest)
    return (digest, "") if same else (b"", "changed")


def _send_small(
    wire: Wire, descriptor: int, name: bytes, entry: Entry, told: Callable[[int], None]
) -> tuple[bytes, str]:
    try:
        content = os.read(descriptor, entry.size)
    except OSError as error:
        return b"", f"cannot be read: {error.strerror}"
    if len(content) != entry.size or not _is_as_seen(os.fstat(descriptor), entry):
        return b"", "changed"
    digest = entry.digest or hashlib.sha256(content).digest()
    wire.send(frames.SMALL, SMALL_HEADER.pack(entry.mtime_ns, len(name), digest) + name, content)
    told(entry.size)
    return digest, ""


def _is_as_seen(found: os.stat_result, entry: Entry) -> bool:
    return stat.S_ISREG(found.st_mode) and (found.st_size, found.st_mtime_ns) == (entry.size, entry.mtime_ns)


def _prefix(descriptor: int, part: Part) -> tuple[hashlib._Hash, int]:
    """Where to go on: after the part that is there, if the file still begins with it."""
    whole, left = hashlib.sha256(), part.size
    while left > 0:
        piece = os.read(descriptor, min(PIECE, left))
        if not piece:
            break
        whole.update(piece)
        left -= len(piece)
    if part.size and (left or whole.digest() != part.digest):
        os.lseek(descriptor, 0, os.SEEK_SET)
        return hashlib.sha256(), 0
    return whole, part.size


def _send_content(
    wire: Wire, descriptor: int, content: tuple[hashlib._Hash | None, int], told: Callable[[int], None]
) -> bool:
    """False when the file ends before its time. What is sent goes into the hash, where there is one."""
    whole, left = content
    while left > 0:
        piece = os.read(descriptor, min(PIECE, left))
        if not piece:
            return False
        wire.send(frames.DATA, piece)
        if whole:
            whole.update(piece)
        left -= len(piece)
        told(len(piece))
    return True
