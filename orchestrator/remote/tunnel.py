"""A way from a port of this computer's loopback to a socket on the machine, through the system's `ssh`.

The port is held here, and ssh forwards to it from a socket that nobody else may enter: when the link is made anew the
port has never been free for anybody else to take, and whoever asks meanwhile waits.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType

from ..errors import GpuError, ToolMissing
from ..providers.base import Address
from .link import ALIVE, CannotConnect
from .openssh import ssh_argv

LOOPBACK = "127.0.0.1"
PATIENCE_SECONDS = 60.0
"""How long a browser's request waits for a link that is being made anew."""
MARK = b"gpu-tunnel"
UP_SECONDS = 30.0
PIECE = 1 << 16
_REFUSED = re.compile(r"channel \d+: open failed")
"""sshd says the same of a socket that is not there and where it must not forward (`server_request_direct_streamlocal`
in OpenSSH's serverloop.c): which of them it is knows who has seen that the socket is there."""


class PortTaken(GpuError):
    def __init__(self, port: int, reason: str) -> None:
        super().__init__(f"port {port} of this computer cannot be used: {reason}", "Leave --port out, or name another")


class ForwardingRefused(GpuError):
    def __init__(self, host: str) -> None:
        super().__init__(
            f"sshd on {host} forwards nothing, so there is no way to the notebook",
            "Allow it there: `AllowTcpForwarding yes` and `AllowStreamLocalForwarding yes` in /etc/ssh/sshd_config",
        )


class Tunnel:
    """A context manager: the port is there from the beginning to the end, the link while `link` has one."""

    def __init__(self, port: int = 0) -> None:
        """`port` 0: one that is free. PortTaken."""
        try:
            self._server = socket.create_server((LOOPBACK, port))
        except (OSError, OverflowError) as error:
            raise PortTaken(port, getattr(error, "strerror", None) or str(error)) from error
        self.port = int(self._server.getsockname()[1])
        # A socket's path has a hundred bytes at most.
        self._folder = tempfile.TemporaryDirectory(prefix="gpu-tunnel-")
        self._link: Link | None = None
        self._up = threading.Condition()
        threading.Thread(target=self._accept, daemon=True, name="tunnel").start()

    def __enter__(self) -> Tunnel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        with contextlib.suppress(OSError):
            # Closing alone does not wake who accepts.
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()
        self._folder.cleanup()

    def link(self, address: Address, far: str) -> Link:
        """Forward to the machine's socket `far` from now on. CannotConnect says why not."""
        self.cut()
        fresh = Link(address, Path(self._folder.name) / f"{time.monotonic_ns():x}", far)
        with contextlib.ExitStack() as unless_it_is_up:
            unless_it_is_up.callback(fresh.close)
            fresh.open()
            unless_it_is_up.pop_all()
        with self._up:
            self._link = fresh
            self._up.notify_all()
        return fresh

    def cut(self) -> None:
        """End the link; the port stays."""
        with self._up:
            old, self._link = self._link, None
        if old:
            old.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            until = time.monotonic() + PATIENCE_SECONDS
            while (left := until - time.monotonic()) > 0:
                with self._up:
                    self._up.wait_for(lambda: self._link is not None, left)
                    link = self._link
                if link is None:
                    return
                with contextlib.suppress(OSError):
                    near = link.dial()
                    break
                # It broke this moment, and nobody has noticed yet.
                time.sleep(0.1)
            else:
                return
            with near:
                _splice(client, near)


class Link:
    """One `ssh` process. It ends with the pipe to its stdin, and so with this process, however that ends."""

    def __init__(self, address: Address, near: Path, far: str) -> None:
        self.address, self._near, self._far = address, near, far
        self._log = near.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        """Return when it is up."""
        argv = ssh_argv(self.address)
        split = argv.index("--", 1)
        options = ["-o", "ControlPath=none", "-o", "ExitOnForwardFailure=no", "-o", "StreamLocalBindMask=0177"]
        options += ["-L", f"{self._near}:{self._far}"]
        # What runs there lives as long as its stdin, holds no terminal, and is none of what keeps a machine awake.
        command = f"echo {MARK.decode()}; exec cat"
        words = [argv[0], *ALIVE, *options, *argv[1:split], "--", self.address.host, command]
        try:
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    words,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    bufsize=0,
                    # Ctrl-C is ours to hear.
                    start_new_session=True,
                )
        except FileNotFoundError as error:
            raise ToolMissing("ssh", "on this computer", "Install it: apt-get install openssh-client") from error
        if not self._is_up(self._process):
            raise CannotConnect(self.address.host, self.words())

    @staticmethod
    def _is_up(process: subprocess.Popen[bytes]) -> bool:
        assert process.stdout is not None
        said, until = b"", time.monotonic() + UP_SECONDS
        while MARK not in said:
            readable, _, _ = select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))
            piece = os.read(process.stdout.fileno(), 4096) if readable else b""
            if not piece:
                return False
            said = (said + piece)[-4096:]
        return True

    def dial(self) -> socket.socket:
        """A connection to the machine's socket; OSError where there is no link any more."""
        dialled = socket.socket(socket.AF_UNIX)
        try:
            dialled.connect(str(self._near))
        except OSError:
            dialled.close()
            raise
        return dialled

    def broken(self, seconds: float) -> bool:
        """Whether it has ended, or ends within so many seconds."""
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
            return True
        return False

    @property
    def refused(self) -> bool:
        """Whether sshd has said that it does not forward to the socket."""
        return _REFUSED.search(self.words()) is not None

    def words(self) -> str:
        """What ssh had to say."""
        with contextlib.suppress(FileNotFoundError):
            said = self._log.read_bytes()[-4096:].decode(errors="replace")
            return " | ".join(line.strip() for line in said.strip().splitlines()[-3:])[:500]
        return ""

    def close(self) -> None:
        if self._process:
            for stream in (self._process.stdin, self._process.stdout):
                if stream:
                    stream.close()
            # Forwarded connections would hold it open, and a black hole too.
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(2)
            self._process.kill()
            self._process.wait()
        for file in (self._log, self._near):
            file.unlink(missing_ok=True)


def _splice(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until both have ended, or one has broken."""
    there = threading.Thread(target=_carry, args=(one, other), daemon=True)
    there.start()
    _carry(other, one)
    # The answer's end is the end: what the browser might still ask has nobody to ask.
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        other.shutdown(socket.SHUT_RDWR)
    there.join()


def _carry(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(PIECE):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
