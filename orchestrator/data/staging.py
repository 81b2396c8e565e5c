"""A data set is built in a hidden folder beside its place and renamed into it: there is never half of one."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import GpuError

MANIFEST = ".gpu-dataset.json"


@contextmanager
def building(root: Path, name: str) -> Iterator[Path]:
    """An empty folder that becomes `root/name` when the block ends well, and is removed when it does not."""
    with disk_errors(root), alone(root):
        for stale in root.glob(f".{name}.part-*"):
            shutil.rmtree(stale)
        part = Path(tempfile.mkdtemp(prefix=f".{name}.part-", dir=root))
        try:
            part.chmod(0o755)
            yield part
            # One call for tens of thousands of small files, where an fsync each would take minutes.
            os.sync()
            part.rename(root / name)
            _sync_folder(root)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def made_from(folder: Path) -> Any:
    """The recipe that made a data set; None for a folder that nobody's recipe made."""
    try:
        return json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return None


def record(folder: Path, recipe: Any) -> None:
    (folder / MANIFEST).write_text(json.dumps(recipe, indent=1, sort_keys=True) + "\n")


def already_made(root: Path, name: str, recipe: Any) -> bool:
    """Whether `root/name` is what this recipe makes; GpuError where it is something else."""
    folder = root / name
    if not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if made_from(folder) == recipe:
        return True
    raise GpuError(
        f"{folder} is there already and was not made from the same archives with the same options",
        "Choose another name, or move that folder away",
    )


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """What the disk refuses, as one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise GpuError(f"the disk that has {folder} is full", "Free some space and run it again") from error
        where = error.filename if error.filename is not None else folder
        raise GpuError(f"{where} cannot be written or read: {error.strerror}", "Mend that and run it again") from error


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """The kernel's lock on the folder of all data sets: what lies there half made is then nobody's."""
    root.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise GpuError(f"another gpu is making a data set in {root}", "Wait until it is done") from error
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
