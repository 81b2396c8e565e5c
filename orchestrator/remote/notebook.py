"""The one Jupyter on the machine, as its agent starts it, tells of it and ends it."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainer import run_folder

from ..errors import GpuError, ToolMissing
from .dispatch import ask
from .job import plain
from .ssh import Connection

ANSWER_SECONDS = 5.0
LOCAL = "127.0.0.1"
ABSENT, STARTING, RUNNING = "absent", "starting", "running"
_TOKEN = re.compile(r"[0-9a-f]{32,}")
_PATH = re.compile(r"/[A-Za-z0-9/._-]+")
_NO_JUPYTER = re.compile(r"No module named '?(notebook|jupyter)")
Seen = tuple[int, int]
"""Size in bytes and mtime in nanoseconds."""


@dataclass(frozen=True)
class Notebook:
    """Whether it runs, what reaches it, and which files are in `~/gpu/nbs`."""

    state: str
    kernels: tuple[str, ...]
    """The state of each."""
    socket: str
    token: str
    data: str
    code: str
    since: str
    disk: str
    """The home folder's own name; another one on every machine that was made anew."""
    files: Mapping[str, Seen]
    last: str
    """The last lines of its log, unless it runs."""
    warning: str = ""

    @property
    def running(self) -> bool:
        return self.state == RUNNING


def start(connection: Connection, data: str | None, environment: Mapping[str, str]) -> Notebook:
    """Begin it, or join the one that runs. It may be `starting` still: ask again."""
    wish = {"data": data, "environment": dict(environment)}
    return _alive(connection, _read(ask(connection, ["notebook", "start"], json.dumps(wish).encode())))


def wait(connection: Connection) -> Notebook:
    """How it stands now that it has been begun."""
    return _alive(connection, state(connection))


def _alive(connection: Connection, found: Notebook) -> Notebook:
    if found.state == ABSENT:
        raise _why(connection.address.host, found.last)
    return found


def state(connection: Connection) -> Notebook:
    return _read(ask(connection, ["notebook", "state"]))


def stop(connection: Connection) -> Notebook:
    """End it, its kernels with it; nothing where it does not run."""
    found = _read(ask(connection, ["notebook", "stop"]))
    if found.state != ABSENT:
        raise GpuError(
            f"the notebook on {connection.address.host} does not end", "See what it does there: gpu ssh -- ps aux"
        )
    return found


def answers(dialled: socket.socket, token: str, seconds: float = ANSWER_SECONDS) -> int | None:
    """The HTTP status of a question for which one needs the token; 0 where the way ends, None for no answer in time.

    Jupyter does not take this question for work, so that it keeps no machine awake.
    """
    question = f"GET /api/status HTTP/1.0\r\nHost: {LOCAL}\r\nAuthorization: token {token}\r\n\r\n"
    dialled.settimeout(seconds)
    try:
        dialled.sendall(question.encode())
        said = dialled.recv(64)
    except TimeoutError:
        return None
    except OSError:
        return 0
    found = re.match(rb"HTTP/1\.[01] (\d{3})", said)
    return int(found[1]) if found else 0


def _why(host: str, last: str) -> GpuError:
    if _NO_JUPYTER.search(last):
        return ToolMissing(
            "Jupyter",
            f"in ~/{run_folder.MachineFolder().env} on {host}",
            "Put it there with: gpu doctor --fix",
        )
    words = "".join(f"\n  {line}" for line in last.splitlines()) or " it does not say why"
    log = run_folder.MachineFolder().notebook / "log.txt"
    return GpuError(f"the notebook does not start on {host}; its last words:{words}\nall of them: ~/{log} there")


def _read(facts: Any) -> Notebook:
    """What the machine says is not trusted: what goes into a URL or to ssh has its form."""
    try:
        token, place = str(facts["token"] or ""), plain(facts["socket"])
        if (token and not _TOKEN.fullmatch(token)) or (place and not _PATH.fullmatch(place)):
            raise ValueError("the way to the notebook")
        return Notebook(
            state=plain(facts["state"]),
            kernels=tuple(plain(one) for one in facts["kernels"]),
            socket=place,
            token=token,
            files={str(name): (int(size), int(mtime)) for name, (size, mtime) in facts["files"].items()},
            last="\n".join(plain(line) for line in str(facts["last"] or "").splitlines()),
            warning=plain(facts.get("warning")),
            **{key: plain(facts[key]) for key in ("data", "code", "since", "disk")},
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise GpuError(f"the machine's agent answered what cannot be read: {error!r}", "See: gpu doctor") from error
