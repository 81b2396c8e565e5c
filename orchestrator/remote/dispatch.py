"""The code that a run needs, sent ahead: the trainer and the agent; and questions to the agent."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shlex
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from trainer import run_folder

from ..errors import GpuError
from .command import CommandFailed, Completed
from .ssh import Connection

ANSWER_SECONDS = 60.0
NOT_SENT = 69
"""The exit code of a question to an agent that is not there yet."""


def pack_code() -> tuple[str, bytes]:
    """The trainer package and the agent as one tar, and its digest."""
    return pack(_code_files())


def pack(files: Iterable[tuple[str, Path]]) -> tuple[str, bytes]:
    """Files under their names as one tar, the same bytes on every computer, and its digest."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, file in files:
            content = file.read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return hashlib.sha256(packed.getvalue()).hexdigest()[:32], packed.getvalue()


def _code_files() -> Iterator[tuple[str, Path]]:
    for package in (Path(__file__).parent / "agent", Path(run_folder.__file__).parent):
        for file in sorted(package.rglob("*")):
            name = file.relative_to(package.parent)
            if file.is_file() and not any(part == "__pycache__" or part.startswith(".") for part in name.parts):
                yield name.as_posix(), file


def send_command(digest: str) -> str:
    """The shell line that unpacks the code from its stdin: complete under its name, or not there at all."""
    target = shlex.quote(str(run_folder.MachineFolder().code(digest)))
    return (
        f"mkdir -p {run_folder.MachineFolder().root}/code && part=$(mktemp -d {target}.part-XXXXXX) && "
        f'{{ tar -xzf - -C "$part" && {{ mv -T "$part" {target} 2>/dev/null || test -d {target}; }}; '
        f'code=$?; rm -rf "$part"; exit $code; }}'
    )


def code_digest() -> str:
    """Of this trainer and this agent."""
    return pack_code()[0]


def send_code(connection: Connection) -> str:
    """Make sure that the machine has this trainer and this agent; returns their digest."""
    digest, packed = pack_code()
    send_packed(connection, digest, packed)
    return digest


def send_packed(connection: Connection, digest: str, packed: bytes) -> None:
    """Make sure that the machine has the code of this digest."""
    target = shlex.quote(str(run_folder.MachineFolder().code(digest)))
    if connection.run(f"test -d {target}", timeout=ANSWER_SECONDS).exit_code:
        connection.check(send_command(digest), input=gzip.compress(packed, mtime=0))


def agent_command(digest: str, verb: str, *words: str) -> str:
    """The shell line that asks the agent; it ends with `NOT_SENT` where there is none."""
    return module_command(digest, "agent", verb, *words)


def module_command(digest: str, module: str, *words: str) -> str:
    """The shell line that runs a module of the code that was sent under a digest; `NOT_SENT` where it was not."""
    folder = run_folder.MachineFolder()
    code = folder.code(digest)
    up = [".."] * len(code.relative_to(folder.root).parts)
    python = "/".join([*up, str(folder.python.relative_to(folder.root))])
    asked = shlex.join([python, "-m", module, *words])
    return f"cd {shlex.quote(str(code))} 2>/dev/null || exit {NOT_SENT}; exec {asked}"


def ask(connection: Connection, words: Sequence[str], data: bytes = b"") -> Any:
    """The agent's answer, in one round trip where the code has been sent before."""
    completed = _answered(
        connection, words, lambda command: connection.run(command, input=data, timeout=ANSWER_SECONDS)
    )
    if completed.exit_code:
        raise why_not(connection, completed)
    try:
        return json.loads(completed.stdout)
    except ValueError as error:
        raise GpuError(
            f"{connection.address.host} answered something else than its agent does: {completed.stdout[:200]!r}",
            "A login script there that prints something does this; let it be silent without a terminal",
        ) from error


def listen(connection: Connection, words: Sequence[str], on_bytes: Callable[[bytes], None]) -> Completed:
    """The agent's answer as bytes, each piece as it arrives; the exit code is the caller's to judge."""
    return _answered(connection, words, lambda command: connection.stream(command, on_bytes))


def _answered(connection: Connection, words: Sequence[str], go: Callable[[str], Completed]) -> Completed:
    """What the agent's command ended with; the code is sent first where it is not there yet."""
    command = agent_command(code_digest(), *words)
    completed = go(command)
    if completed.exit_code == NOT_SENT:
        send_code(connection)
        completed = go(command)
    return completed


def why_not(connection: Connection, completed: Completed) -> GpuError:
    """Why code that was sent could not be run."""
    host = connection.address.host
    python = run_folder.MachineFolder().python
    if connection.run(f"test -x {python}", timeout=ANSWER_SECONDS).exit_code:
        return GpuError(
            f"~/{python} is not on {host}, so nothing can be trained there",
            "Make it ready with: gpu doctor --fix",
        )
    return CommandFailed(host, completed)
