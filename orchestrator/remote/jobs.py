"""Runs on the machine: the code is sent, a run is started in tmux, followed, looked at and ended."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shlex
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer import run_folder

from ..errors import GpuError, ToolMissing
from ..providers.base import Address
from .openssh import ssh_argv
from .ssh import CommandFailed, Completed, Connection, ConnectionLost

BUSY_EXIT = 75
ANSWER_SECONDS = 60.0
OWN_SESSION = "main"
# A link that breaks again and again without a byte of progress is given up after this many.
FRUITLESS_LINKS = 8


@dataclass(frozen=True)
class Job:
    """One run as its folder on the machine shows it. `state`: absent starting running finished failed lost."""

    run_id: str
    state: str
    exit_code: int | None = None
    data: str = ""
    model: str = ""
    note: str = ""
    started: str = ""
    last: str = ""
    """The log's last line."""

    @property
    def running(self) -> bool:
        return self.state in ("starting", "running")

    @property
    def succeeded(self) -> bool:
        return self.state == "finished"

    def describe(self) -> str:
        """The end of a sentence that begins with the run's id."""
        if self.state == "failed" and self.exit_code is not None and self.exit_code > 128:
            return f"was ended by signal {self.exit_code - 128}"
        return {
            "failed": f"failed with exit code {self.exit_code}",
            "finished": "finished",
            "lost": "is lost: it ended without an exit code, as when the machine goes down",
            "absent": "is not on the machine",
        }.get(self.state, f"is {self.state}")


@dataclass(frozen=True)
class Readiness:
    """What the machine has. `busy`: the run that holds it, if any. `data`: the data sets on it."""

    python: str
    free_bytes: int
    home: str
    busy: str | None
    data: tuple[str, ...]


def pack_code() -> tuple[str, bytes]:
    """The trainer package and the agent as one tar, the same bytes on every computer, and its digest."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, file in _code_files():
            content = file.read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return hashlib.sha256(packed.getvalue()).hexdigest()[:32], packed.getvalue()


def _code_files() -> Iterator[tuple[str, Path]]:
    package = Path(run_folder.__file__).parent
    yield "agent.py", Path(__file__).with_name("agent.py")
    for file in sorted(package.rglob("*")):
        name = file.relative_to(package)
        if file.is_file() and not any(part == "__pycache__" or part.startswith(".") for part in name.parts):
            yield f"trainer/{name.as_posix()}", file


def send_command(digest: str) -> str:
    """The shell line that unpacks the code from its stdin: complete under its name, or not there at all."""
    target = shlex.quote(str(run_folder.MachineFolder().code(digest)))
    return (
        f"mkdir -p {run_folder.MachineFolder().root}/code && part=$(mktemp -d {target}.part-XXXXXX) && "
        f'{{ tar -xzf - -C "$part" && {{ mv -T "$part" {target} 2>/dev/null || test -d {target}; }}; '
        f'code=$?; rm -rf "$part"; exit $code; }}'
    )


def send_code(connection: Connection) -> str:
    """Make sure that the machine has this trainer and this agent; returns their digest."""
    digest, packed = pack_code()
    target = shlex.quote(str(run_folder.MachineFolder().code(digest)))
    if connection.run(f"test -d {target}", timeout=ANSWER_SECONDS).exit_code:
        connection.check(send_command(digest), input=gzip.compress(packed, mtime=0))
    return digest


def agent_command(digest: str, verb: str, *words: str) -> str:
    """The shell line that asks the agent."""
    folder = run_folder.MachineFolder()
    return shlex.join([str(folder.python), str(folder.code(digest) / "agent.py"), verb, *words])


def _ask(connection: Connection, digest: str, words: Sequence[str], data: bytes = b"") -> Any:
    completed = connection.run(agent_command(digest, *words), input=data, timeout=ANSWER_SECONDS)
    if completed.exit_code:
        raise _why_not(connection, completed)
    try:
        return json.loads(completed.stdout)
    except ValueError as error:
        raise GpuError(
            f"{connection.address.host} answered something else than its agent does: {completed.stdout[:200]!r}",
            "A login script there that prints something does this; let it be silent without a terminal",
        ) from error


def _why_not(connection: Connection, completed: Completed) -> GpuError:
    host = connection.address.host
    python = run_folder.MachineFolder().python
    if connection.run(f"test -x {python}", timeout=ANSWER_SECONDS).exit_code:
        return GpuError(
            f"~/{python} is not on {host}, so nothing can be trained there",
            "The machine is still being set up, or was never: run ami/provision.sh on it",
        )
    return CommandFailed(host, completed)


def ready(connection: Connection, digest: str) -> Readiness:
    """Whether a run can begin; `ToolMissing` and GpuError say what the machine lacks."""
    facts = _ask(connection, digest, ["ready"])
    where = f"on {connection.address.host}"
    for tool in ("tmux", "rsync"):
        if not facts.get(tool):
            raise ToolMissing(tool, where, f"Install it there: gpu ssh -- sudo apt-get install -y {tool}")
    return Readiness(
        python=str(facts["python"]),
        free_bytes=int(facts["free_bytes"]),
        home=str(facts["home"]),
        busy=_plain(facts["busy"]) or None,
        data=tuple(_plain(name) for name in facts["data"]),
    )


def start_run(connection: Connection, digest: str, run_id: str, job: Mapping[str, Any]) -> None:
    """Start it and return once it holds its lock; safe to repeat after a cut connection."""
    run_folder.check_run_id(run_id)
    begun = _job(_ask(connection, digest, ["start", run_id], json.dumps(job).encode()))
    if begun.exit_code == BUSY_EXIT:
        raise GpuError(f"{run_id} did not begin: {begun.last}", "Wait for that run, or end it with: gpu cancel")
    if begun.state in ("lost", "absent", "starting"):
        raise GpuError(
            f"{run_id} did not begin on {connection.address.host}: {begun.last or 'its wrapper never took its lock'}",
            "See what tmux says there: gpu ssh -- tmux -L gpu ls",
        )


def jobs(connection: Connection) -> list[Job]:
    """Every run on the machine, oldest first."""
    return [_job(facts) for facts in _ask(connection, send_code(connection), ["jobs"])]


def state(connection: Connection, run_id: str) -> Job:
    return _job(_ask(connection, send_code(connection), ["state", run_folder.check_run_id(run_id)]))


def cancel(connection: Connection, run_id: str) -> Job:
    """End it and return how it ended; one that has ended already stays as it is."""
    return _job(_ask(connection, send_code(connection), ["cancel", run_folder.check_run_id(run_id)]))


def read_log(connection: Connection, run_id: str, on_bytes: Callable[[bytes], None]) -> None:
    """The log as far as it has been written; nothing where there is none yet."""
    log = run_folder.MachineFolder().run(run_id) / run_folder.LOG
    completed = connection.stream(f"test ! -e {log} || cat {log}", on_bytes)
    if completed.exit_code:
        raise CommandFailed(connection.address.host, completed)


def follow(connect: Callable[[], Connection], run_id: str, offset: int, on_bytes: Callable[[bytes], None]) -> Job:
    """Every byte of the log from `offset` on, once and in order, until the run ends; a cut link is made anew.

    What `connect` raises, and `ConnectionLost` after link upon link without progress, is the caller's.
    """
    position = offset
    fruitless = 0

    def take(data: bytes) -> None:
        nonlocal position
        on_bytes(data)
        position += len(data)

    while True:
        before = position
        try:
            with connect() as connection:
                return _follow_once(connection, run_id, position, take)
        except ConnectionLost:
            fruitless = 0 if position > before else fruitless + 1
            if fruitless >= FRUITLESS_LINKS:
                raise
            time.sleep(min(10.0, 0.25 * 2**fruitless))


def _follow_once(connection: Connection, run_id: str, offset: int, take: Callable[[bytes], None]) -> Job:
    digest = send_code(connection)
    while True:
        words = ("follow", run_folder.check_run_id(run_id), str(offset))
        got = 0

        def count(data: bytes) -> None:
            nonlocal got
            take(data)
            got += len(data)

        completed = connection.stream(agent_command(digest, *words), count)
        if completed.exit_code:
            # The session was ended from the other side, or the agent cannot run at all: the next link tells which.
            _ask(connection, digest, ["state", run_id])
            raise ConnectionLost(connection.address.host)
        offset += got
        job = _job(_ask(connection, digest, ["state", run_id]))
        if not job.running:
            return job


def attach_argv(address: Address, run_id: str | None = None) -> list[str]:
    """The argv that puts one into a run's tmux, or, without a run, into one's own session, made or joined."""
    if run_id is None:
        return ssh_argv(address, tty=True, command=["tmux", "-u", "new-session", "-A", "-s", OWN_SESSION])
    session = f"={run_folder.tmux_session(run_id)}"
    return ssh_argv(
        address, tty=True, command=["tmux", "-u", "-L", run_folder.TMUX_SOCKET, "attach-session", "-t", session]
    )


def _job(facts: Any) -> Job:
    """What the machine says is not trusted: a run's id is one, and no text of it steers the terminal."""
    try:
        code = facts["exit_code"]
        return Job(
            run_id=run_folder.check_run_id(facts["run_id"]),
            state=_plain(facts["state"]),
            exit_code=None if code is None else int(code),
            **{key: _plain(facts[key]) for key in ("data", "model", "note", "started", "last")},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise GpuError(f"the machine's agent answered what cannot be read: {error!r}", "See: gpu doctor") from error


def _plain(value: Any) -> str:
    return "" if value is None else "".join(letter for letter in str(value) if letter.isprintable())
