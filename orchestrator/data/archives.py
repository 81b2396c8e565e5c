"""Reading archives that somebody else made: every entry is checked before a byte of it is used."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from ..errors import GpuError

_CHUNK = 1 << 16
_HEADER_LIMIT = 1 << 20
_RATIO_FROM = 1 << 20
"""Bytes. Below it a ratio says nothing: a small blank picture compresses a thousandfold."""
_DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError),
    *(NotImplementedError, RuntimeError, ValueError, OSError),
)


class ArchiveRefused(GpuError):
    """The archive is damaged, or an entry of it would do harm; nothing of it has been kept."""

    def __init__(self, archive: Path, why: str, entry: str | None = None) -> None:
        where = f": the entry {entry!r}" if entry is not None else ""
        super().__init__(f"{archive} is refused{where} {why}", "Get the archive again from where it is published")


@dataclass(frozen=True)
class Limits:
    """What an archive of images can need; sizes in bytes, `ratio` is unpacked to packed."""

    entries: int = 2_000_000
    entry_size: int = 1 << 30
    total_size: int = 1 << 39
    ratio: float = 200


@dataclass(frozen=True)
class Entry:
    """A file of an archive or a folder. `parts` is its path, safe to join to a folder."""

    parts: tuple[str, ...]
    is_folder: bool
    chunks: Callable[[], Iterator[bytes]]
    """Its bytes; to be read before the next entry is asked for."""


def entries(archive: Path, limits: Limits | None = None) -> Iterator[Entry]:
    """The files and folders of a zip or tar archive in its own order. ArchiveRefused names the first bad one."""
    guard = _Guard(archive, limits or Limits())
    try:
        is_zip = zipfile.is_zipfile(archive)
        with archive.open("rb") as file:
            magic = file.read(6)
    except OSError as error:
        raise GpuError(f"{archive} cannot be read: {error.strerror}", "Check its path and its mode") from error
    # A zip that was cut has lost its directory, which is at the end; its beginning still says what it was.
    return _zip_entries(guard) if is_zip or magic[:4] == b"PK\x03\x04" else _tar_entries(guard, magic)


class _Guard:
    """The limits, and what has been counted against them."""

    def __init__(self, archive: Path, limits: Limits) -> None:
        self.archive = archive
        self.limits = limits
        self.packed = max(archive.stat().st_size, 1) if archive.exists() else 1
        self.total = 0
        self.seen: set[tuple[str, ...]] = set()

    def admit(self, name: str, size: int, is_folder: bool) -> tuple[str, ...]:
        """The safe path of an entry."""
        # Archives made on Windows have backslashes; there is no honest use for one in an image's name.
        path = name.replace("\\", "/")
        parts = tuple(part for part in path.split("/") if part not in ("", "."))
        if path.startswith("/") or re.match(r"[A-Za-z]:", path):
            raise self.refusal("has an absolute path", name)
        if ".." in parts:
            raise self.refusal("climbs out of its folder", name)
        if "\0" in path or any(len(part.encode("utf-8", "surrogateescape")) > 255 for part in parts):
            raise self.refusal("has a name that no disk takes", name)
        if parts in self.seen and not is_folder:
            raise self.refusal("is there twice", name)
        self.seen.add(parts)
        self._weigh(name, size)
        return parts

    def _weigh(self, name: str, size: int) -> None:
        self.total += size
        if len(self.seen) > self.limits.entries:
            raise self.refusal(f"is one too many: more than {self.limits.entries} entries", name)
        if size > self.limits.entry_size:
            raise self.refusal(f"is {size} bytes unpacked, more than an image can be", name)
        if self.total > self.limits.total_size:
            raise self.refusal(f"brings it to more than {self.limits.total_size} bytes unpacked", name)
        if self.total > _RATIO_FROM and self.total > self.limits.ratio * self.packed:
            raise self.refusal(f"is a bomb: it unpacks to more than {self.limits.ratio:g} times its size", name)

    def refusal(self, why: str, entry: str | None = None) -> ArchiveRefused:
        return ArchiveRefused(self.archive, why, entry)

    @contextmanager
    def damage(self, entry: str | None = None) -> Iterator[None]:
        """Whatever the archive libraries raise over a damaged file, as one sentence."""
        try:
            yield
        except _DAMAGE as error:
            why = "is damaged or cut short" if entry is not None else "as damaged, cut short or no zip or tar archive"
            raise self.refusal(f"{why} ({str(error)[:120] or type(error).__name__})", entry) from error

    def read(self, name: str, size: int, opened: Callable[[], IO[bytes]]) -> Iterator[bytes]:
        """The bytes of an entry; one that has more of them than it said is refused."""
        left = size
        with self.damage(name), opened() as stream:
            while chunk := stream.read(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise EOFError("it is longer than it says")
                yield chunk
            if left:
                raise EOFError("it is shorter than it says")


def _zip_entries(guard: _Guard) -> Iterator[Entry]:
    with guard.damage():
        archive = zipfile.ZipFile(guard.archive)
    with archive:
        infos = archive.infolist()
        # The directory of a zip is all there at once: everything is checked before anything is read.
        admitted = [(info, _admit_zip(guard, info)) for info in infos]
        for info, parts in admitted:

            def opened(info: zipfile.ZipInfo = info) -> IO[bytes]:
                return archive.open(info)

            def chunks(info: zipfile.ZipInfo = info, opened: Callable[[], IO[bytes]] = opened) -> Iterator[bytes]:
                return guard.read(info.filename, info.file_size, opened)

            yield Entry(parts, info.is_dir(), chunks)


def _admit_zip(guard: _Guard, info: zipfile.ZipInfo) -> tuple[str, ...]:
    name = info.filename
    if info.flag_bits & 0x1:
        raise guard.refusal("is encrypted", name)
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise guard.refusal("is a link or a device", name)
    is_folder = info.is_dir() or name.endswith("\\")
    return guard.admit(name, info.file_size, is_folder)


def _tar_entries(guard: _Guard, magic: bytes) -> Iterator[Entry]:
    with guard.damage():
        raw = _Watched(_decompressed(guard.archive, magic))
    with raw:
        with guard.damage():
            archive = tarfile.open(fileobj=raw, mode="r:")  # noqa: SIM115
        while (member := _next_member(guard, archive)) is not None:
            yield _admit_tar(guard, archive, member)
        # tarfile takes a file that was cut between two entries for a whole one.
        if not raw.ended_in_zeros:
            raise guard.refusal("as cut short: the mark of its end is missing")


def _next_member(guard: _Guard, archive: tarfile.TarFile) -> tarfile.TarInfo | None:
    with guard.damage():
        return archive.next()


def _admit_tar(guard: _Guard, archive: tarfile.TarFile, member: tarfile.TarInfo) -> Entry:
    if not (member.isreg() or member.isdir()) or member.issparse():
        raise guard.refusal("is a link, a device or a sparse file", member.name)
    parts = guard.admit(member.name, member.size, member.isdir())

    def opened() -> IO[bytes]:
        return archive.extractfile(member) or io.BytesIO()

    return Entry(parts, member.isdir(), lambda: guard.read(member.name, member.size, opened))


def _decompressed(archive: Path, magic: bytes) -> IO[bytes]:
    openers: dict[bytes, Callable[[Path], IO[bytes]]] = {
        b"\x1f\x8b": lambda path: cast(IO[bytes], gzip.open(path, "rb")),  # noqa: SIM115
        b"BZh": lambda path: bz2.open(path, "rb"),  # noqa: SIM115
        b"\xfd7zXZ": lambda path: lzma.open(path, "rb"),  # noqa: SIM115
    }
    for start, opener in openers.items():
        if magic.startswith(start):
            return opener(archive)
    return archive.open("rb")


class _Watched(io.RawIOBase):
    """A tar's bytes, remembering how the last block began, and refusing headers of gigabytes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.ended_in_zeros = False

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _HEADER_LIMIT:
            raise tarfile.ReadError("it has a header that is too large")
        data = self._file.read(size)
        self.ended_in_zeros = len(data) == tarfile.BLOCKSIZE and not any(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()
