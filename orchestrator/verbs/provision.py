"""Making a machine ready for training: `ami/provision.sh`, sent to it and run there, its words shown as they come."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import ami
from ami import pipwheel

from ..errors import GpuError, UsageError
from ..providers.base import LeftAlone, Provider
from ..remote.ssh import Connection
from .desk import Desk

FOLDER = "gpu/provision"
AFTER_RESTART = 3
"""The script's exit code when the machine has to be restarted before it goes on."""
_REQUIREMENTS = "requirements.txt"
_SENDING_SECONDS = 60.0
_ANSWER_SECONDS = 20.0


class NotReady(GpuError):
    """The script has said, line by line, what it could not mend; `what` names those parts."""


class WantsRestart(NotReady):
    """The driver is there and the kernel has not taken it: what is left follows after a restart."""


def provision(desk: Desk, connection: Connection, provider: Provider, requirements: Path | None = None) -> None:
    """Put there what is missing, and leave alone what is well. Safe to interrupt: the next time goes on from there.

    `requirements` is installed into the environment as well. NotReady when something could not be mended.
    """
    files = dict(ami.provisioning())
    if requirements is not None:
        files[_REQUIREMENTS] = _read(requirements)
    if isinstance(provider, LeftAlone) and (pip := _pip_for(connection)):
        files[pip[0]] = pip[1]
    unpack = f"mkdir -p {FOLDER} && exec tar -x -m -f - -C {FOLDER}"
    connection.check(unpack, input=_archive(files), timeout=_SENDING_SECONDS)
    lines = _Lines(desk.reporter.line)
    done = connection.stream(command(provider, with_requirements=requirements is not None), lines.take)
    lines.end()
    if done.exit_code:
        raise (WantsRestart if done.exit_code == AFTER_RESTART else NotReady)(
            f"{connection.address.host} is {_unfinished(lines.last)}", _remedy(lines.last)
        )


def _remedy(last: str) -> str:
    if last.startswith("not ready") and "requirements" in last.split():
        return (
            f"See {FOLDER}/log.txt there for what is wrong with your requirements; mend them at home, then: gpu doctor "
            "--fix --requirements FILE (an empty FILE removes them from the machine)"
        )
    return f"See {FOLDER}/log.txt there; mend what it says, then: gpu doctor --fix"


def _unfinished(last: str) -> str:
    """The script's last line says what is not ready, unless it was cut short."""
    return last if last.startswith("not ready") else "not ready"


def command(provider: Provider, *, with_requirements: bool = False) -> str:
    """The shell line that does it. On a machine of one's own nothing outside the home folder is touched."""
    profile = "server" if isinstance(provider, LeftAlone) else "machine"
    more = f" --requirements {FOLDER}/{_REQUIREMENTS}" if with_requirements else ""
    return f"exec bash {FOLDER}/provision.sh {profile}{more} 2>&1"


def _pip_for(connection: Connection) -> tuple[str, bytes] | None:
    """Where nobody is root to install one; it is megabytes, which few need."""
    without = connection.run("python3 -I -c 'import ensurepip'", timeout=_ANSWER_SECONDS).exit_code
    return pipwheel.wheel() if without else None


def _read(requirements: Path) -> bytes:
    try:
        content = requirements.read_bytes()
    except OSError as error:
        raise GpuError(f"{requirements} cannot be read: {error.strerror}", "Name a file that can") from error
    for number, line in enumerate(content.decode(errors="replace").splitlines(), 1):
        if _is_at_home(line):
            raise UsageError(
                f"{requirements}, line {number}, names a file of this computer, and only {requirements.name} itself is "
                f"sent: {line.strip()[:80]}",
                "Write there what the file holds, or a package or an address that the machine can get at",
            )
    return content


_OF_A_FILE = re.compile(r"(?:-r|-c|-e|-f|--requirement|--constraint|--editable|--find-links)[ =]*(.*)")
_ARCHIVE = re.compile(r"\.(?:whl|zip|tar|tgz|tar\.\w+)$", re.IGNORECASE)


def _is_at_home(line: str) -> bool:
    """Whether a line of a requirements file is, to pip, about a file beside it, or elsewhere on the same computer.

    https://pip.pypa.io/en/stable/reference/requirements-file-format/
    """
    words = re.sub(r"(^|\s)#.*", "", line).strip()
    if option := _OF_A_FILE.match(words):
        return "://" not in option[1] or option[1].startswith("file:")
    if not words or words.startswith("-"):
        return False
    _, at, address = words.partition(" @ ")
    what = (address if at else re.split(r"[\s;]", words)[0]).strip()
    if what.startswith("file:"):
        return True
    return "://" not in what and ("/" in what or what.startswith(".") or bool(_ARCHIVE.search(what)))


def _archive(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


class _Lines:
    """Bytes as they come, told line by line."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._rest = b""
        self.last = ""

    def take(self, piece: bytes) -> None:
        *whole, self._rest = (self._rest + piece).split(b"\n")
        for line in whole:
            self.last = line.decode(errors="replace").rstrip()
            self._tell(self.last)

    def end(self) -> None:
        if self._rest:
            self.take(b"\n")
