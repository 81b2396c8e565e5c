"""A copy's connection: one `ssh` process whose other end is `farend.py`, sent ahead of everything else."""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
import subprocess
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainer import run_folder

from ..errors import GpuError, ToolMissing
from ..providers.base import Address
from . import wire as frames
from .openssh import ssh_argv
from .tree import Heart
from .wire import Broken, Wire

# What the machine's end is made of, each after those that it imports.
MODULES = ("statcache", "wire", "tree", "sender", "exclusion", "staging", "farend")
BEAT_SECONDS = 3.0
END_SECONDS = 5.0
PIPE_BYTES = 1 << 20
# Three unanswered signs of life, the first after four seconds: a black hole is noticed after twelve.
ALIVE = ("-o", "ServerAliveInterval=4", "-o", "ServerAliveCountMax=2")
# OpenSSH prefers ChaCha20; AES, where processors have it in hardware, takes half the time. With keys of our own only:
# otherwise it is the user's configuration that says.
CIPHERS = "aes128-gcm@openssh.com,aes256-gcm@openssh.com,aes128-ctr,aes256-ctr"
NAME = "gpu-sync"
"""A word of the far end's command line, by which the machine's self-stop knows it (`ami/selfstop.sh`)."""
NOT_FOUND = 127
CANNOT_CONNECT = 255
_BROKE = re.compile(r"closed by|reset by peer|Broken pipe")

_LOADER = """
import os, sys, types, zlib
def take(count):
    pieces = []
    while count:
        piece = os.read(0, count)
        if not piece:
            sys.exit(1)
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)
sys.modules["gpu_sync"] = types.ModuleType("gpu_sync")
sys.modules["gpu_sync"].__path__ = []
for name, source in eval(zlib.decompress(take(%d))):
    module = types.ModuleType("gpu_sync." + name)
    module.__package__ = "gpu_sync"
    sys.modules[module.__name__] = module
    setattr(sys.modules["gpu_sync"], name, module)
    exec(compile(source, name + ".py", "exec"), module.__dict__)
sys.exit(sys.modules["gpu_sync.farend"].main())
"""


class LinkLost(GpuError):
    """The connection broke when it had been made: what has arrived is kept, and the next attempt goes on from it."""

    def __init__(self, host: str, words: str) -> None:
        super().__init__(
            f"copying between here and {host} failed: the connection broke" + (f" ({words})" if words else ""),
            "Do it again: it goes on where it was",
        )


class CannotConnect(GpuError):
    def __init__(self, host: str, words: str) -> None:
        super().__init__(f"SSH could not connect to {host}: {words or 'it does not say why'}", "See: gpu status")


class Link:
    """`wire` reaches the machine's end of the copy; `answer` is the only way to hear from it."""

    def __init__(self, address: Address, process: subprocess.Popen[bytes], stderr: Any) -> None:
        self.address, self.process, self._stderr = address, process, stderr
        assert process.stdin is not None
        assert process.stdout is not None
        self.wire = Wire(process.stdout.fileno(), process.stdin.fileno())
        self.beat = Heart(self._send_beat, BEAT_SECONDS)
        self.arrived = False

    def _send_beat(self) -> None:
        self.wire.send(frames.BEAT)
        self.wire.flush()

    def ask(self, request: Mapping[str, Any]) -> None:
        """Send the machine its end of the copy, and what is asked of it."""
        self.wire.write(_far_end())
        self.wire.send(frames.REQUEST, json.dumps(request).encode())
        self.wire.flush()

    def answer(self) -> dict[str, Any]:
        """The next answer; GpuError for one that says what is wrong there."""
        self.wire.flush()
        if not self.arrived:
            self.wire.await_magic()
            self.arrived = True
        return self.checked(self.wire.expect(frames.ANSWER))

    def checked(self, payload: bytes) -> dict[str, Any]:
        """An answer's document."""
        try:
            document = json.loads(payload)
        except ValueError as error:
            raise Broken("an answer that cannot be read") from error
        if not isinstance(document, dict):
            raise Broken("an answer that cannot be read")
        if "error" in document:
            raise _refusal(self.address.host, document)
        return document

    def last_words(self) -> GpuError:
        """Why the wire broke, as the machine's end or ssh has it."""
        with contextlib.suppress(Broken):
            if not self.arrived:
                self.wire.await_magic()
                self.arrived = True
            while True:
                kind, payload = self.wire.receive()
                if kind == frames.ANSWER:
                    self.checked(bytes(payload))
        code = _ended(self.process)
        self._stderr.seek(0)
        words = _shown(self._stderr.read().decode(errors="replace"))
        return _failure(self.address.host, code, words, self.arrived)


@contextlib.contextmanager
def linked(address: Address, request: Mapping[str, Any]) -> Iterator[Link]:
    """A link that has been asked; a broken wire becomes a GpuError: LinkLost when trying again may help."""
    with started(address) as link:
        try:
            link.ask(request)
            yield link
        except Broken as error:
            raise link.last_words() from error


@contextlib.contextmanager
def started(address: Address) -> Iterator[Link]:
    """A link that has still to be asked, and whose wire may break."""
    with tempfile.TemporaryFile() as stderr:
        process = _start(address, stderr)
        try:
            yield Link(address, process, stderr)
        finally:
            for stream in (process.stdin, process.stdout):
                if stream:
                    stream.close()
            _ended(process)


def ssh_words(address: Address) -> list[str]:
    """ssh with the options of a copy, up to but without the host."""
    argv = ssh_argv(address)
    ciphers = ["-o", f"Ciphers={CIPHERS}"] if address.key_file else []
    return [argv[0], *ALIVE, *ciphers, *argv[1 : argv.index("--", 1)]]


def far_script() -> str:
    """What `sh` runs there. The loader comes as the first line of stdin: nothing in here needs a quote, in whatever
    shell people log in to. `raw` reads no further than its end, and ends where a link does that was cut before."""
    python = run_folder.MachineFolder().python
    first_line = "import sys;exec(sys.stdin.buffer.raw.readline())"
    return f'p={python}; [ -x $p ] || p=python3; exec $p -I -S -X utf8 -c "{first_line}" {NAME}'


def _start(address: Address, stderr: Any) -> subprocess.Popen[bytes]:
    argv = [*ssh_words(address), "--", address.host, f"exec sh -c '{far_script()}'"]
    try:
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, bufsize=0)
    except FileNotFoundError as error:
        raise ToolMissing("ssh", "on this computer", "Install it: apt-get install openssh-client") from error
    for stream in (process.stdin, process.stdout):
        # Linux alone has it, and only up to the user's limit.
        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(stream, fcntl.F_SETPIPE_SZ, PIPE_BYTES)  # type: ignore[arg-type]
    return process


def _far_end() -> bytes:
    here = Path(__file__).parent
    sources = [(name, (here / f"{name}.py").read_text()) for name in MODULES]
    packed = zlib.compress(repr(sources).encode(), 6)
    return b"exec(%s)\n" % repr(_LOADER % len(packed)).encode() + packed


def _ended(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(END_SECONDS if process.poll() is None else 0)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _refusal(host: str, document: Mapping[str, Any]) -> GpuError:
    words, name = (_plain(document.get(key)) for key in ("error", "name"))
    where = f"{host}, {name}" if name else host
    if document.get("errno") in (28, 122, 27):
        return GpuError(
            f"the disk of {host} is full: {words}" + (f" ({name})" if name else ""),
            "Make room there; what has arrived is kept, and the next copy goes on from it",
        )
    return GpuError(f"the copy was refused on {where}: {words}", "Mend that, then do it again")


def _failure(host: str, code: int, words: str, arrived: bool) -> GpuError:
    if arrived or (code == CANNOT_CONNECT and _BROKE.search(words)):
        return LinkLost(host, words)
    if code == NOT_FOUND:
        return ToolMissing("python3", f"on {host}", "Install it there: gpu ssh -- sudo apt-get install -y python3")
    if code == CANNOT_CONNECT:
        return CannotConnect(host, words)
    return GpuError(
        f"the machine's end of the copy does not start on {host}: {words or f'exit code {code}'}", "See: gpu doctor"
    )


def _shown(stderr: str) -> str:
    return " | ".join(line.strip() for line in stderr.strip().splitlines()[-3:])[:500]


def _plain(value: Any) -> str:
    return "" if value is None else repr(str(value)[:1000])[1:-1]
