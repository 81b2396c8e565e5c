"""One copy to a target at a time: the hidden folder beside it, held by the kernel's lock on the folder itself.

Standard library only, Python 3.8 or newer: this runs at both ends of a copy.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from typing import NamedTuple

PATIENCE_SECONDS = 30.0
LOOK_SECONDS = 0.05


class Occupied(Exception):
    """Another copy to the same target is under way."""


def folder_beside(target: bytes) -> bytes:
    """Hidden, and on the same disk wherever the target's own links lead."""
    parent, name = os.path.split(os.path.realpath(target))
    return os.path.join(parent, b"." + name + b".part")


class Hold(NamedTuple):
    folder: bytes
    descriptor: int

    def share(self) -> None:
        """From now on those who join may hold it too. Occupied when another copy has slipped in meanwhile."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Occupied from error


@contextlib.contextmanager
def held(target: bytes, seconds: float = PATIENCE_SECONDS, *, joining: bool = False) -> Iterator[Hold]:
    """The folder beside the target, for one at a time; Occupied after so many seconds. Not empty, it stays.

    `joining`: with others, as soon as the one who has it shares it. A copy that comes anew waits for all of them.
    """
    folder = folder_beside(target)
    until = time.monotonic() + seconds
    while True:
        os.makedirs(folder, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        if _take(descriptor, folder, fcntl.LOCK_SH if joining else fcntl.LOCK_EX):
            break
        os.close(descriptor)
        if time.monotonic() > until:
            raise Occupied
        time.sleep(LOOK_SECONDS)
    try:
        yield Hold(folder, descriptor)
    finally:
        # Not from under those who hold it still.
        if _take(descriptor, folder, fcntl.LOCK_EX):
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        os.close(descriptor)


def _take(descriptor: int, folder: bytes, how: int) -> bool:
    """The folder itself is locked, and may have been taken away by who had it before."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        mine, there = os.fstat(descriptor), os.lstat(folder)
    except (BlockingIOError, FileNotFoundError):
        return False
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)
