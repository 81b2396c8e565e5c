"""What `push` and `pull` have in common: the request, another attempt after a broken link, the answer."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from trainer import run_folder

from ..errors import GpuError
from ..settings import Home
from .link import CannotConnect, LinkLost
from .statcache import StatCache
from .strangers import shown_name
from .tree import Tree, uncollected

FRUITLESS_LINKS = 3
SKIP = (run_folder.QUARANTINE,)
# No room, no quota, and a limit on a file's size, which is met in the same way.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Copied:
    """What a copy moved. All zero: both ends were the same already."""

    files: int = 0
    bytes: int = 0
    removed: int = 0
    left: tuple[str, ...] = ()
    """Links, devices and the like on the machine, which do not come home."""


class Remaining:
    """How much was left to send when an attempt began: less than before is progress."""

    def __init__(self) -> None:
        self.now: float = float("inf")


def request(verb: str, folder: PurePosixPath, *, checksum: bool) -> Mapping[str, Any]:
    return {"verb": verb, "folder": os.fsdecode(os.fsencode(str(folder))), "skip": SKIP, "checksum": checksum}


def open_tree(folder: Path, *, checksum: bool) -> Tree:
    """A folder at home, with what is remembered of it. Its digests are in our cache folder, under its real path."""
    real = os.path.realpath(os.fsencode(folder))
    cache = Home.from_environment().cache / "trees" / hashlib.sha256(real).hexdigest()[:32]
    return Tree(real, StatCache(os.fsencode(cache), trust=not checksum), frozenset(map(os.fsencode, SKIP)))


def persistently(attempt: Callable[[Remaining], Copied]) -> Copied:
    """Try again after a broken link for as long as that gets on, and a few times when it does not."""
    remaining, fruitless, lost = Remaining(), 0, False
    while True:
        before = remaining.now
        try:
            with uncollected():
                return attempt(remaining)
        except (LinkLost, CannotConnect) as error:
            lost = lost or isinstance(error, LinkLost)
            fruitless = 0 if remaining.now < before < float("inf") else fruitless + 1
            if not lost or fruitless >= FRUITLESS_LINKS:
                raise
        time.sleep(fruitless)


def complaint(failed: Mapping[bytes, str], what: str) -> GpuError:
    """About files that changed under our hands."""
    named = [f"{shown_name(name)} ({why})" for name, why in failed.items()]
    more = f", and {len(named) - 5} more" if len(named) > 5 else ""
    files = "1 file" if len(named) == 1 else f"{len(named)} files"
    return GpuError(f"{files} could not be {what}: {', '.join(named[:5])}{more}", "The rest is there; do it again")


def size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
