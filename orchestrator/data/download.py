"""Bringing one archive into the cache: over HTTP, through npm, or through Kaggle's client; checked by its hash."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import kaggle
from ..errors import GpuError, ToolMissing
from ..reporter import Reporter
from . import transfer
from .integrity import Mismatch, check, is_proven, note
from .known import Source

_NPM_SECONDS = 900


def cached(source: Source, cache: Path) -> Path:
    """Where the archive is, or will be."""
    return cache / "datasets" / source.file_name


def _notes(cache: Path) -> Path:
    return cache / "datasets" / "first"


def trust(source: Source, digest: str, cache: Path, reporter: Reporter) -> None:
    """A data set has been made from it: a later one of the same address must be the same file."""
    note(source, digest, _notes(cache), reporter)


def distrust(source: Source, cache: Path) -> None:
    """Nothing could be made from it: unless it is proven to be the published file, it is not kept."""
    if not is_proven(source):
        cached(source, cache).unlink(missing_ok=True)


def obtain(source: Source, cache: Path, reporter: Reporter) -> tuple[Path, str]:
    """The archive in the cache and its SHA-256, downloaded where it is not there yet; GpuError says why it cannot be
    had. What is not what was published is not kept."""
    file = cached(source, cache)
    notes = _notes(cache)
    file.parent.mkdir(parents=True, exist_ok=True)
    with _alone(file):
        if file.exists():
            try:
                return file, check(file, source, notes)
            except Mismatch:
                reporter.line(f"{file} is damaged; it is fetched again")
                file.unlink()
        part = file.with_name(file.name + ".part")
        digest = _arrived(source, part, notes, reporter)
        part.replace(file)
        transfer.forget(part)
    return file, digest


def _arrived(source: Source, part: Path, notes: Path, reporter: Reporter) -> str:
    unsure = _bring(source, part, reporter)
    try:
        return check(part, source, notes)
    except Mismatch as error:
        transfer.forget(part)
        if not unsure:
            raise
        reporter.line(f"{error.what}; it may have changed while it came, so it is fetched anew")
    _bring(source, part, reporter)
    try:
        return check(part, source, notes)
    except Mismatch:
        transfer.forget(part)
        raise


def _bring(source: Source, part: Path, reporter: Reporter) -> bool:
    """Whether its beginning may be of another version than its end."""
    if source.url is not None:
        return transfer.download(source.url, part, size=source.size, reporter=reporter)
    if source.kaggle is not None:
        kaggle.Client.found(source.kaggle).download(source.kaggle, part, reporter)
    else:
        _npm_pack(source.npm or "", part, reporter)
    return False


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """The kernel's lock: two downloads of one file would write into one another."""
    lock = os.open(file.with_name(f".{file.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise GpuError(f"another gpu is downloading {file.name}", "Wait until it is done") from error
    finally:
        os.close(lock)


def _npm_pack(package: str, part: Path, reporter: Reporter) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise ToolMissing("npm", "here", f"Install it to get {package} from the npm registry")
    reporter.line(f"getting {package} through npm")
    with tempfile.TemporaryDirectory(dir=part.parent) as folder:
        argv = [npm, "pack", package, "--ignore-scripts", "--fetch-retries", "1", "--pack-destination", folder]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=_NPM_SECONDS, cwd=folder, check=False)
        except subprocess.TimeoutExpired as error:
            raise GpuError(f"npm pack {package} took more than 15 minutes", "Check the network") from error
        packed = list(Path(folder).glob("*.tgz"))
        if done.returncode or not packed:
            raise GpuError(f"npm pack {package} failed: {done.stderr.strip()[-200:]}", "Check npm's registry")
        packed[0].replace(part)
