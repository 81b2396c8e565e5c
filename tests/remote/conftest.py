"""A real sshd for each test that asks for one: keys, home and tmux of its own, nothing of the developer's."""

from __future__ import annotations

import contextlib
import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.providers.base import Address

SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def eventually(fact: Callable[[], object], seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def descendants(pid: int) -> list[int]:
    return [found for child in children(pid) for found in (child, *descendants(child))]


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


@dataclass
class Machine:
    """`home` is the home folder that a login sees."""

    address: Address
    home: Path
    tmux_dir: Path
    sshd: subprocess.Popen[bytes]

    def sessions(self) -> list[int]:
        """sshd's own processes, one or two a connection."""
        return [pid for pid in descendants(self.sshd.pid) if "sshd" in name_of(pid)]

    def processes(self) -> list[int]:
        """Everything that a login has started, whoever its parent is by now."""
        marker = f"TMUX_TMPDIR={self.tmux_dir}".encode()
        return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if marker in environ_of(entry)]

    def cut(self) -> None:
        for pid in self.sessions():
            kill(pid)


def name_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text()
    return ""


def environ_of(process: Path) -> list[bytes]:
    with contextlib.suppress(OSError):
        return (process / "environ").read_bytes().split(b"\0")
    return []


def keygen(file: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)], check=True)
    return " ".join(file.with_name(file.name + ".pub").read_text().split()[:2])


def free_place() -> tuple[str, int]:
    host = f"127.{random.randrange(1, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}"
    with socket.create_server((host, 0)) as server:
        return host, int(server.getsockname()[1])


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    etc, home = tmp_path / "etc", tmp_path / "machine"
    etc.mkdir(mode=0o700)
    (home / "gpu").mkdir(parents=True)
    (home / "gpu/env").symlink_to(sys.prefix)
    host, port = free_place()
    # A socket's path has a hundred bytes at most, and pytest's folders are deep.
    with tempfile.TemporaryDirectory(prefix="gpu-", dir="/tmp") as short:
        config = configure(etc, home, Path(short), (host, port))
        known = etc / "known_hosts"
        known.write_text(f"[{host}]:{port} {(etc / 'host_key.pub').read_text()}")
        user = subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()
        address = Address(host, port, user, key_file=etc / "client_key", known_hosts=known)
        with (etc / "log").open("wb") as log:
            sshd = subprocess.Popen([str(SSHD), "-D", "-e", "-f", str(config)], stderr=log, stdin=subprocess.DEVNULL)
        found = Machine(address, home, Path(short), sshd)
        try:
            eventually(lambda: answers(host, port) or sshd.poll() is not None)
            assert sshd.poll() is None, (etc / "log").read_text()
            yield found
        finally:
            end(found)


def configure(etc: Path, home: Path, tmux_dir: Path, place: tuple[str, int]) -> Path:
    keygen(etc / "host_key")
    (etc / "authorized_keys").write_text(keygen(etc / "client_key") + "\n")
    login = etc / "login"
    login.write_text(
        "#!/bin/sh\n"
        f"export HOME={shlex.quote(str(home))} TMUX_TMPDIR={tmux_dir}\n"
        'unset TMUX\ncd "$HOME" || exit 1\n'
        'exec "${SHELL:-/bin/sh}" -c "${SSH_ORIGINAL_COMMAND:-exec $SHELL}"\n'
    )
    login.chmod(0o755)
    config = etc / "sshd_config"
    config.write_text(
        f"ListenAddress {place[0]}:{place[1]}\nHostKey {etc}/host_key\nAuthorizedKeysFile {etc}/authorized_keys\n"
        f"PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
        # The login shell reads its start-up files from HOME: not the developer's.
        f"SetEnv HOME={home}\nMaxStartups 100\nForceCommand {login}\n"
    )
    return config


def answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1) as dialled:
            return bool(dialled.recv(4))
    except OSError:
        return False


def end(machine: Machine) -> None:
    sessions = descendants(machine.sshd.pid)
    machine.sshd.kill()
    machine.sshd.wait()
    for pid in sessions:
        kill(pid)
    while left := machine.processes():
        for pid in left:
            kill(pid)
        time.sleep(0.02)
