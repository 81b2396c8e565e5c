"""`SHA256SUMS`: what came home is what the machine had, or it is named."""

from __future__ import annotations

import hashlib
import json
import os
import re
from datetime import datetime, timezone
from pathlib import Path

from trainer import run_folder

from ..errors import GpuError
from .strangers import shown_name

_LINE = re.compile(rb"(\\?)([0-9a-f]{64}) [ *]([^\n]+)\n")
LARGEST = 64 << 20


class NoProof(GpuError):
    """These sums cannot be read."""


def verify(folder: Path) -> list[str]:
    """The files that are missing or differ from `SHA256SUMS`; empty when all is well.

    GpuError for sums that cannot be read or that name a file outside the folder: they prove nothing.
    """
    file = folder / run_folder.SUMS
    if file.is_symlink() or not file.is_file():
        return [run_folder.SUMS]
    return [shown_name(name) for name, wanted in read_sums(file).items() if _digest(folder, name) != wanted]


def read_sums(file: Path) -> dict[bytes, str]:
    """File names, as the bytes that they are, and their digests, in the format of `sha256sum`."""
    with file.open("rb") as stream:
        content = stream.read(LARGEST + 1)
    sums: dict[bytes, str] = {}
    for number, line in enumerate(content.splitlines(keepends=True), start=1):
        match = _LINE.fullmatch(line)
        if match is None or len(content) > LARGEST:
            raise NoProof(f"{file} line {number} is no SHA-256 sum", "Get it again with: gpu pull")
        escaped, digest, name = match.groups()
        sums[_checked(file, _unescape(name) if escaped else name)] = digest.decode()
    if not sums:
        raise NoProof(f"{file} is empty and proves nothing", "Get it again with: gpu pull")
    return sums


def _unescape(name: bytes) -> bytes:
    return re.sub(rb"\\([n\\r])", lambda found: {b"n": b"\n", b"r": b"\r"}.get(found[1], b"\\"), name)


def _checked(file: Path, name: bytes) -> bytes:
    if name.startswith(b"/") or b".." in name.split(b"/") or b"\0" in name:
        raise GpuError(
            f"{file} names a file outside its folder: {shown_name(name)}", "Do not trust this machine's results"
        )
    return name[2:] if name.startswith(b"./") else name


def _digest(folder: Path, name: bytes) -> str:
    """Empty for what is not there, or is no regular file inside the folder."""
    file = folder / os.fsdecode(name)
    if not file.resolve().is_relative_to(folder.resolve()) or not file.is_file():
        return ""
    found = hashlib.sha256()
    with file.open("rb") as stream:
        while piece := stream.read(1 << 20):
            found.update(piece)
    return found.hexdigest()


def mark_verified(folder: Path) -> None:
    """Write `verified.json`, the last file of a run that is home: all of it or nothing of it."""
    files = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != run_folder.VERIFIED)
    document = {"verified": datetime.now(timezone.utc).isoformat(timespec="seconds"), "files": files}
    new = folder / (run_folder.VERIFIED + ".new")
    with new.open("w") as stream:
        stream.write(json.dumps(document, indent=1) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(folder / run_folder.VERIFIED)
