"""A link that can be made bad: a TCP proxy on loopback that cuts, delays and swallows."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from orchestrator.providers.base import Address

PIECE = 1 << 16
# What is on its way may be as much: a delay is none of bandwidth.
IN_FLIGHT = 64 << 20


class Limit(NamedTuple):
    what: str
    count: int
    back: bool


_NONE = Limit("pass", 0, False)


class Proxy:
    """Bytes are counted over each connection anew: to the machine, or with `back` from it."""

    def __init__(self, target: tuple[str, int], delay: float = 0.0) -> None:
        """`delay`: seconds for a round trip; half of it each way."""
        self._target, self._delay = target, delay
        self._server = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._limits: deque[Limit] = deque()
        self._carrying: list[_Connection] = []
        self.sent: list[int] = []
        """Bytes from the client to the machine, one number a connection."""
        self.back: list[int] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def place(self) -> tuple[str, int]:
        host, port = self._server.getsockname()
        return str(host), int(port)

    def pass_on(self, count: int) -> None:
        """The next connections, so many, do not break; those after them may."""
        self._limits.extend([_NONE] * count)

    def cut_after(self, *counts: int, back: bool = False) -> None:
        """The next connections break, each after so many bytes; those after them do not."""
        self._limits.extend(Limit("cut", count, back) for count in counts)

    def swallow_after(self, *counts: int, back: bool = False) -> None:
        """The next connections stay open and pass nothing on in either direction, each after so many bytes."""
        self._limits.extend(Limit("swallow", count, back) for count in counts)

    def swallow(self) -> None:
        """The connections that there are stay open and pass nothing on from now on."""
        for connection in self._carrying:
            connection.dead = True

    def close(self) -> None:
        self._server.close()
        for pair in self._pairs:
            for end in pair:
                end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                machine = socket.create_connection(self._target)
                self._pairs.append((client, machine))
                for end in (client, machine):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._carrying.append(_Connection(self, client, machine))
                self._carrying[-1].start(self._limits.popleft() if self._limits else _NONE)


class _Connection:
    def __init__(self, proxy: Proxy, client: socket.socket, machine: socket.socket) -> None:
        self._proxy, self._client, self._machine = proxy, client, machine
        self._number = len(proxy.sent)
        proxy.sent.append(0)
        proxy.back.append(0)
        self.dead = False

    def start(self, limit: Limit) -> None:
        up, down = (_NONE, limit) if limit.back else (limit, _NONE)
        for work in (lambda: self._carry_up(up), lambda: self._carry_down(down)):
            threading.Thread(target=work, daemon=True).start()

    def _carry_up(self, limit: Limit) -> None:
        out = _Delayed(self._machine, self._proxy._delay / 2)
        self._carry(self._client, out, self._proxy.sent, limit)
        out.end()
        self._close()

    def _carry_down(self, limit: Limit) -> None:
        out = _Delayed(self._client, self._proxy._delay / 2)
        self._carry(self._machine, out, self._proxy.back, limit)
        if limit.what == "cut" or not self.dead:
            out.end()
            self._close()

    def _carry(self, source: socket.socket, out: _Delayed, count: list[int], limit: Limit) -> None:
        for piece in self._pieces(source):
            room = len(piece) if limit.what == "pass" else limit.count - count[self._number]
            if self.dead:
                continue
            out.put(piece[:room])
            count[self._number] += min(room, len(piece))
            self.dead = len(piece) > room
            if self.dead and limit.what == "cut":
                return

    @staticmethod
    def _pieces(end: socket.socket) -> Iterator[bytes]:
        with contextlib.suppress(OSError):
            while piece := end.recv(PIECE):
                yield piece

    def _close(self) -> None:
        for end in (self._client, self._machine):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class _Delayed:
    """Passes bytes on so many seconds after they came; without a delay at once."""

    def __init__(self, end: socket.socket, delay: float) -> None:
        self._end, self._delay = end, delay
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._news = threading.Condition()
        self._weight = 0
        self._thread = threading.Thread(target=self._work, daemon=True)
        if delay:
            self._thread.start()

    def put(self, piece: bytes) -> None:
        if not self._delay:
            with contextlib.suppress(OSError):
                self._end.sendall(piece)
            return
        with self._news:
            self._news.wait_for(lambda: self._weight < IN_FLIGHT)
            self._waiting.append((time.monotonic() + self._delay, piece))
            self._weight += len(piece)
            self._news.notify_all()

    def end(self) -> None:
        if self._delay:
            self.put(b"")
            self._thread.join()

    def _work(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: bool(self._waiting))
                due, piece = self._waiting.popleft()
                self._weight -= len(piece)
                self._news.notify_all()
            time.sleep(max(0.0, due - time.monotonic()))
            if not piece:
                return
            with contextlib.suppress(OSError):
                self._end.sendall(piece)


@contextlib.contextmanager
def proxied(address: Address, folder: Path, delay: float = 0.0) -> Iterator[tuple[Proxy, Address]]:
    """The same machine through a proxy; `folder` gets a known_hosts file that knows it under that name too."""
    proxy = Proxy((address.host, address.port), delay)
    try:
        yield proxy, known_as(address, folder, *proxy.place)
    finally:
        proxy.close()


def known_as(address: Address, folder: Path, host: str, port: int) -> Address:
    assert address.known_hosts is not None
    key = address.known_hosts.read_text().split(maxsplit=1)[1]
    known = folder / f"known_hosts-{port}"
    known.write_text(f"[{host}]:{port} {key}")
    return dataclasses.replace(address, host=host, port=port, known_hosts=known)


@contextlib.contextmanager
def delayed(address: Address, folder: Path, seconds: float) -> Iterator[Address]:
    """The same machine, a round trip away, through a proxy in a process of its own: it takes nobody's turns."""
    words = [sys.executable, "-m", "tests.links.proxy", address.host, str(address.port), str(seconds)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield known_as(address, folder, "127.0.0.1", int(process.stdout.readline()))
    finally:
        process.stdin.close()
        process.wait()


if __name__ == "__main__":
    sys.stdout.write(f"{Proxy((sys.argv[1], int(sys.argv[2])), float(sys.argv[3])).place[1]}\n")
    sys.stdout.flush()
    sys.stdin.read()
