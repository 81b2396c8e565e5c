"""The emulated region as seen from outside: start it, find it, end it. Imports neither moto nor boto3."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .. import __name__ as package
from ..errors import GpuError, NotOffered, ToolMissing
from . import sshd
from .machine import end_of, environment

START_LIMIT = 60.0
"""Seconds that a loaded computer may take to import moto."""
DOWN_LIMIT = 25.0


@dataclass(frozen=True)
class Region:
    """A region that answers: its endpoint, its process, and when it began (ISO 8601, UTC)."""

    endpoint_url: str
    pid: int
    started: str


def find(folder: Path) -> Region | None:
    """The region that is alive, or None. One that is just starting is not there yet."""
    return _read(folder) if _alive(folder) else None


def crashed(folder: Path) -> bool:
    """Its state file says that it runs, and it does not: killed, or the computer was switched off."""
    return (folder / "region.json").exists() and not _alive(folder)


def up(folder: Path, say: Callable[[str], None]) -> Region:
    """The region, started when it is not there; two callers at once get the same one.

    ToolMissing without sshd or moto; GpuError when it does not start, with the end of its log.
    """
    if found := find(folder):
        return found
    _check_tools()
    _make(folder)
    with _only_one(folder):
        if found := find(folder):
            return found
        if crashed(folder):
            _sweep(folder)
            say(
                "The sandbox's region ended without warning: it starts again empty. "
                "The disks of its machines are kept until: gpu sandbox down --purge"
            )
        elif any((folder / "instances").glob("i-*")):
            say("The sandbox's region starts empty; disks of earlier machines are kept until: gpu sandbox down --purge")
        return _start(folder)


def down(folder: Path, *, purge: bool = False) -> bool:
    """End the region and every process of its machines. True when there was one; `purge` removes the disks too."""
    if not folder.exists():
        return False
    with _only_one(folder):
        was_up = _alive(folder)
        if was_up:
            _end(folder)
        _sweep(folder)
        (folder / "region.json").unlink(missing_ok=True)
    if purge:
        shutil.rmtree(folder, ignore_errors=True)
    return was_up


def _check_tools() -> None:
    if not sys.platform.startswith("linux"):
        raise NotOffered(
            f"the sandbox needs Linux, this is {sys.platform}", "Use a profile of your own: gpu --profile aws"
        )
    if sshd.program() is None:
        raise ToolMissing("sshd", "on this computer", "Install it: sudo apt-get install openssh-server")
    for module in ("moto", "flask"):
        if importlib.util.find_spec(module) is None:
            raise ToolMissing("moto's server", "in this Python", "Install it: pip install 'moto[ec2,server]'")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise GpuError(f"the sandbox's folder {folder} cannot be made: {error.strerror}", "Check GPU_HOME") from error


def _start(folder: Path) -> Region:
    parent = str(Path(sys.modules[package].__path__[0]).parent)
    search = os.pathsep.join(part for part in (parent, os.environ.get("PYTHONPATH", "")) if part)
    with (folder / "region.log").open("ab") as log:
        began = log.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.server", str(folder.absolute())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            start_new_session=True,
            env=environment({"PYTHONPATH": search}),
        )
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline:
        if (region := find(folder)) and region.pid == process.pid:
            return region
        if process.poll() is not None:
            break
        time.sleep(0.05)
    process.kill()
    process.wait()
    tail = (folder / "region.log").read_bytes()[began:].decode(errors="replace").strip().splitlines()[-1:]
    raise GpuError(
        f"the sandbox's region did not start: {' '.join(tail) or 'it said nothing'}", f"Its log is {folder}/region.log"
    )


def _end(folder: Path) -> None:
    deadline = time.monotonic() + DOWN_LIMIT
    asked = False
    region = None
    while _alive(folder) or (region and _runs(region.pid)):
        region = _read(folder) or region
        if region and not asked:
            asked = True
            _signal(region.pid, signal.SIGTERM)
        if region and time.monotonic() > deadline:
            _signal(region.pid, signal.SIGKILL)
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    """Also true of one that has let go of its lock and is on its last instructions."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return _is_server(pid)


def _is_server(pid: int) -> bool:
    try:
        return b"sandbox.server" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _signal(pid: int, number: signal.Signals) -> None:
    # The lock says that the region lives, the command line that this pid is it.
    if _is_server(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _sweep(folder: Path) -> None:
    """End what a region that was killed may have left; only disks are kept."""
    instances = folder.absolute() / "instances"
    for root in instances.glob("i-*"):
        end_of(root)


def _alive(folder: Path) -> bool:
    try:
        with (folder / "lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _read(folder: Path) -> Region | None:
    try:
        document = json.loads((folder / "region.json").read_text())
        return Region(str(document["endpoint_url"]), int(document["pid"]), str(document["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    with (folder / "up.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
