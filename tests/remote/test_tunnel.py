"""A port of this computer's that leads to a socket on the machine, whatever becomes of the link."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import GpuError
from orchestrator.remote.link import CannotConnect
from orchestrator.remote.tunnel import Link, PortTaken, Tunnel
from tests.links.proxy import Proxy, proxied

from .conftest import Machine, answers, children, eventually

PAYLOAD = random.randbytes(1 << 20)


@pytest.fixture
def far() -> Iterator[str]:
    """A socket on the machine at which everything that is said comes back."""
    with tempfile.TemporaryDirectory(prefix="gpu-far-", dir="/tmp") as folder:
        server = socket.socket(socket.AF_UNIX)
        server.bind(f"{folder}/socket")
        server.listen(50)
        threading.Thread(target=_serve, args=(server,), daemon=True).start()
        yield f"{folder}/socket"
        server.close()


def _serve(server: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            threading.Thread(target=_echo, args=(server.accept()[0],), daemon=True).start()


def _echo(client: socket.socket) -> None:
    with client, contextlib.suppress(OSError):
        while piece := client.recv(1 << 16):
            client.sendall(piece)


def exchange(port: int, data: bytes) -> bytes:
    """What comes back of it."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
        sender = threading.Thread(target=lambda: (wire.sendall(data), wire.shutdown(socket.SHUT_WR)))
        sender.start()
        came = b""
        with contextlib.suppress(ConnectionError):
            while piece := wire.recv(1 << 16):
                came += piece
        sender.join()
        return came


def test_everything_comes_back_however_many_ask_at_once(machine: Machine, far: str) -> None:
    with Tunnel() as tunnel:
        tunnel.link(machine.address, far)
        assert exchange(tunnel.port, PAYLOAD) == PAYLOAD
        came: list[bytes] = []
        asking = [
            threading.Thread(target=lambda n=n: came.append(exchange(tunnel.port, PAYLOAD[n:]))) for n in range(20)
        ]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        assert sorted(map(len, came)) == sorted(len(PAYLOAD) - n for n in range(20))
    assert not answers("127.0.0.1", tunnel.port)


def test_nobody_else_can_come_in(machine: Machine, far: str) -> None:
    with Tunnel() as tunnel:
        link = tunnel.link(machine.address, far)
        for folder in Path("/proc/self/net/tcp").read_text().splitlines()[1:]:
            place, state = folder.split()[1], folder.split()[3]
            if state == "0A" and int(place.split(":")[1], 16) == tunnel.port:
                assert place.startswith("0100007F:")
        assert link._near.stat().st_mode & 0o777 == 0o600
        assert link._near.parent.stat().st_mode & 0o777 == 0o700
        home = link._near.parent
    assert not home.exists()
    assert machine.sessions() == [] or eventually(lambda: machine.sessions() == []) is None


def test_a_link_that_is_cut_is_made_anew_at_the_same_port(machine: Machine, far: str) -> None:
    with Tunnel() as tunnel:
        link = tunnel.link(machine.address, far)
        assert exchange(tunnel.port, b"before") == b"before"
        machine.cut()
        assert link.broken(20)
        came: list[bytes] = []
        waiting = threading.Thread(target=lambda: came.append(exchange(tunnel.port, b"meanwhile")))
        waiting.start()
        time.sleep(0.5)
        assert came == []
        tunnel.link(machine.address, far)
        waiting.join(30)
        assert came == [b"meanwhile"]


def test_a_black_hole_is_noticed(machine: Machine, far: str, tmp_path: Path) -> None:
    with proxied(machine.address, tmp_path) as (proxy, address), Tunnel() as tunnel:
        _swallow_from_now_on(proxy, tunnel, address, far)


def _swallow_from_now_on(proxy: Proxy, tunnel: Tunnel, address: object, far: str) -> None:
    proxy.swallow_after(20_000)
    link = tunnel.link(address, far)  # type: ignore[arg-type]
    assert exchange(tunnel.port, b"before") == b"before"
    began = time.monotonic()
    assert exchange(tunnel.port, PAYLOAD) != PAYLOAD, "it goes into a black hole, and is not waited for for ever"
    assert link.broken(1)
    assert time.monotonic() - began < 30
    tunnel.link(address, far)  # type: ignore[arg-type]
    assert exchange(tunnel.port, PAYLOAD) == PAYLOAD


def test_a_far_link_carries_as_much(machine: Machine, far: str, tmp_path: Path) -> None:
    with proxied(machine.address, tmp_path, delay=0.2) as (_, address), Tunnel() as tunnel:
        tunnel.link(address, far)
        assert exchange(tunnel.port, PAYLOAD) == PAYLOAD


def test_a_port_that_is_taken_is_named() -> None:
    with Tunnel() as tunnel, pytest.raises(PortTaken, match=f"port {tunnel.port} of this computer cannot be used"):
        Tunnel(tunnel.port)


def test_an_sshd_that_does_not_forward_is_heard(machine: Machine, far: str) -> None:
    with Tunnel() as tunnel:
        link = tunnel.link(machine.address, far)
        assert exchange(tunnel.port, b"?") == b"?"
        assert not link.refused
        config = machine.home.parent / "etc/sshd_config"
        with config.open("a") as stream:
            stream.write("AllowStreamLocalForwarding no\n")
        log = machine.home.parent / "etc/log"
        machine.sshd.send_signal(signal.SIGHUP)
        # Not by knocking: the one that is about to restart would answer.
        eventually(lambda: log.read_text().count("Server listening on") == 2)
        link = tunnel.link(machine.address, far)
        assert exchange(tunnel.port, b"?") == b""
        eventually(lambda: _refused(link))


def _refused(link: Link) -> bool:
    link.broken(0.5)
    return link.refused


def test_a_machine_that_is_not_there_is_said_and_the_port_stays(machine: Machine, far: str) -> None:
    with Tunnel() as tunnel:
        machine.sshd.kill()
        machine.sshd.wait()
        with pytest.raises(CannotConnect, match="SSH could not connect"):
            tunnel.link(machine.address, far)
        with pytest.raises(GpuError):
            Tunnel(tunnel.port)


_HOLDER = """
import sys, time
from pathlib import Path
from orchestrator.providers.base import Address
from orchestrator.remote.tunnel import Tunnel
host, port, user, key, known, far = sys.argv[1:]
tunnel = Tunnel()
tunnel.link(Address(host, int(port), user, Path(key), Path(known)), far)
print(tunnel.port, flush=True)
time.sleep(1000)
"""


def test_a_holder_that_is_killed_leaves_no_ssh_behind(machine: Machine, far: str) -> None:
    at = machine.address
    words = [sys.executable, "-c", _HOLDER, at.host, str(at.port), at.user, str(at.key_file), str(at.known_hosts), far]
    holder = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    port = int(holder.stdout.readline())
    with socket.create_connection(("127.0.0.1", port)) as open_one:
        open_one.sendall(b"x")
        assert open_one.recv(1) == b"x"
        [ssh] = children(holder.pid)
        folder = Path(f"/proc/{ssh}/cmdline").read_bytes().split(b"-L\0")[1].partition(b":")[0]
        holder.kill()
        holder.communicate()
        eventually(lambda: not Path(f"/proc/{ssh}").exists() or _is_dead(ssh))
    for file in Path(os.fsdecode(folder)).parent.iterdir():
        file.unlink()
    Path(os.fsdecode(folder)).parent.rmdir()


def _is_dead(process: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True
