"""Whether an archive is the one that was published: by its hashes, or by what was noted when it first came."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..errors import GpuError
from ..reporter import Reporter
from .known import Source

_MIB = 1 << 20


class Mismatch(GpuError):
    """It is another file than the published one."""


def is_proven(source: Source) -> bool:
    """Whether somebody has published a hash of the whole archive."""
    return source.sha256 is not None or source.md5 is not None


def check(file: Path, source: Source, notes: Path) -> str:
    """Its SHA-256; Mismatch where it is not what is published of it, or not what it was the first time.

    `notes`: the folder where `note` has put the SHA-256 of what is not proven.
    """
    found = _Digests.of(file)
    published = (
        ("SHA-256", source.sha256, found.sha256),
        ("MD5", source.md5, found.md5),
        ("size", source.size, found.size),
        ("MD5 of the first mebibyte", source.md5_of_mib, found.md5_of_mib),
    )
    for what, wanted, is_ in published:
        if wanted is not None and wanted != is_:
            raise Mismatch(f"{source.where} has not the expected {what}: {is_} instead of {wanted}", "It was not kept")
    first = _note(source, notes)
    if not is_proven(source) and first.exists() and first.read_text().strip() != found.sha256:
        raise Mismatch(
            f"{source.where} is another file than the first time: its SHA-256 is {found.sha256}",
            f"It was not kept. If its publisher has changed it, remove {first} and fetch it again",
        )
    return found.sha256


def note(source: Source, digest: str, notes: Path, reporter: Reporter) -> None:
    """Trust what is not proven from now on; called when a data set has been made from it."""
    first = _note(source, notes)
    if is_proven(source) or first.exists():
        return
    notes.mkdir(parents=True, exist_ok=True)
    new = first.with_name(f".{first.name}.new")
    new.write_text(digest + "\n")
    new.replace(first)
    reporter.line(
        f"nobody has published a hash of the whole of {source.where}: this first copy is trusted, its SHA-256 "
        f"{digest} is noted in {first}, and a later one must have the same"
    )


def _note(source: Source, notes: Path) -> Path:
    return notes / f"{source.file_name}.sha256"


class _Digests:
    """All that can be published of a file, in one reading."""

    def __init__(self) -> None:
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        self.size = 0
        self.md5_of_mib = ""

    @classmethod
    def of(cls, file: Path) -> _Digests:
        digests = cls()
        with file.open("rb") as stream:
            while chunk := stream.read(_MIB):
                digests._sha256.update(chunk)
                digests._md5.update(chunk)
                digests.md5_of_mib = digests.md5_of_mib or digests.md5
                digests.size += len(chunk)
        return digests

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def md5(self) -> str:
        return self._md5.hexdigest()
