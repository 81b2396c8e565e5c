"""The first host key is replaced by one of the machine's own, and whoever is killed meanwhile, one can still enter."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import GpuError
from orchestrator.providers.base import Address
from orchestrator.remote import failures, hostkeys
from orchestrator.remote.ssh import Connection, connect
from orchestrator.settings import Home
from orchestrator.trust import Trust

from .conftest import Machine, eventually, keygen, kill

# Ends whoever called it for the n-th time, so that a script of several commands is cut between any two of them.
SUDO = """#!/bin/sh
while :; do case $1 in -*) shift ;; *) break ;; esac; done
echo "$*" >>"$GPU_ROOT/asked"
if [ -e "$GPU_ROOT/strike" ] && [ "$(wc -l <"$GPU_ROOT/asked")" -ge "$(cat "$GPU_ROOT/strike")" ]; then
  kill -9 "$PPID"
  exit 1
fi
exec env -- "$@"
"""


@dataclass
class Settled:
    """A machine that is known by the key it was made with, and what this computer keeps of it."""

    machine: Machine
    root: Path
    trust: Trust
    said: list[str]

    @property
    def address(self) -> Address:
        return dataclasses.replace(self.machine.address, known_hosts=self.trust.known_hosts)

    def settle(self) -> None:
        with connect(self.address, wait=10) as connection:
            hostkeys.settle(connection, self.trust, self.said.append)

    def reboot(self) -> None:
        """sshd reads its keys anew, as after a power failure."""
        kill(self.machine.sshd.pid, signal.SIGHUP)
        eventually(self.answers)

    def answers(self) -> bool:
        """Until it has heard, sshd serves its old configuration with whatever key is in the old place by now."""
        with contextlib.suppress(failures.HostKeyChanged):
            return self.shown() is not None
        return False

    def shown(self) -> str | None:
        with contextlib.suppress(failures.Unreachable, failures.NotSsh), connect(self.address, wait=5) as connection:
            return connection.host_key
        return None

    def finished(self) -> bool:
        line = self.trust.known_hosts.read_text().split(maxsplit=1)[1].strip()
        return not self.trust.first.exists() and self.trust.keys() == [line] == [self.shown()]


@pytest.fixture
def young(machine: Machine, tmp_path: Path) -> Iterator[Settled]:
    etc, root = tmp_path / "etc", tmp_path / "root"
    key = root / "etc/ssh/ssh_host_ed25519_key"
    key.parent.mkdir(parents=True)
    for suffix in ("", ".pub"):
        (etc / f"host_key{suffix}").rename(key.with_name(key.name + suffix))
    standins = root / "bin"
    standins.mkdir()
    (standins / "sudo").write_text(SUDO)
    (standins / "systemctl").write_text(f"#!/bin/sh\nexec kill -HUP {machine.sshd.pid}\n")
    for program in standins.iterdir():
        program.chmod(0o755)
    login = etc / "login"
    login.write_text(login.read_text().replace("\nunset", f'\nexport GPU_ROOT={root} PATH="{standins}:$PATH"\nunset'))
    config = etc / "sshd_config"
    config.write_text(config.read_text().replace(f"HostKey {etc}/host_key", f"HostKey {key}"))
    trust = Trust(Home(tmp_path / "h", tmp_path / "h/state", tmp_path / "h/cache"), "p", "t2")
    trust.home.keys.mkdir(parents=True, mode=0o700)
    trust.first.write_bytes(key.read_bytes())
    public = " ".join(key.with_suffix(".pub").read_text().split()[:2])
    trust.write_known_hosts([public], host=machine.address.host, port=machine.address.port)
    made = Settled(machine, root, trust, [])
    made.reboot()
    yield made


def test_the_machine_gets_a_key_of_its_own(young: Settled) -> None:
    before = young.shown()
    young.settle()
    assert young.finished()
    assert young.shown() != before
    assert before not in young.trust.known_hosts.read_text()
    young.reboot()
    assert young.finished()
    young.settle()
    assert young.finished()


def test_the_connection_it_was_done_over_goes_on(young: Settled) -> None:
    with connect(young.address) as connection:
        hostkeys.settle(connection, young.trust, young.said.append)
        assert connection.run("echo still").stdout == b"still\n"


def sweep(end: int, *, quick: tuple[int, ...]) -> list[Any]:
    return [pytest.param(n, marks=[] if n in quick else pytest.mark.slow) for n in range(1, end)]


STEPS = [(Trust, "keep"), (Trust, "write_known_hosts"), (Connection, "check"), (Trust, "forget_first")]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", sweep(7, quick=(2, 4)))
def test_this_computer_is_killed_at_any_step(
    young: Settled, number: int, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def striking(owner: type, name: str) -> None:
        real = getattr(owner, name)

        def step(*given: Any, **options: Any) -> Any:
            calls.append(name)
            if len(calls) == number and when == "before":
                raise KeyboardInterrupt
            result = real(*given, **options)
            if len(calls) == number and when == "after":
                raise KeyboardInterrupt
            return result

        monkeypatch.setattr(owner, name, step)

    for owner, name in STEPS:
        striking(owner, name)
    with pytest.raises(KeyboardInterrupt):
        young.settle()
    monkeypatch.undo()
    assert young.shown()
    young.reboot()
    assert young.shown()
    young.settle()
    assert young.finished()


@pytest.mark.parametrize("number", sweep(16, quick=(5, 11)))
def test_the_machine_is_cut_off_between_any_two_commands(young: Settled, number: int) -> None:
    (young.root / "strike").write_text(str(number))
    with pytest.raises(GpuError):
        young.settle()
    (young.root / "strike").unlink()
    assert young.shown()
    young.reboot()
    assert young.shown()
    young.settle()
    assert young.finished()


def test_the_sweep_above_strikes_every_command(young: Settled) -> None:
    young.settle()
    assert len((young.root / "asked").read_text().splitlines()) == 15


def test_without_sudo_the_key_stays(young: Settled) -> None:
    (young.root / "bin/sudo").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(hostkeys.Unusual, match="no sudo"):
        young.settle()
    assert young.shown()
    assert young.trust.first.exists()


@pytest.mark.parametrize("there", [True, False])
def test_a_key_in_another_place_stays(young: Settled, tmp_path: Path, there: bool) -> None:
    key, config = young.root / "etc/ssh/ssh_host_ed25519_key", tmp_path / "etc/sshd_config"
    key.rename(key.with_name("elsewhere"))
    config.write_text(config.read_text().replace(str(key), str(key.with_name("elsewhere"))))
    key.with_suffix(".pub").unlink()
    if there:
        keygen(key)
    young.reboot()
    with pytest.raises(hostkeys.Unusual, match="another place"):
        young.settle()
    assert young.shown()
    assert young.trust.first.exists()


def test_another_machine_is_not_accepted_while_two_keys_are(young: Settled, tmp_path: Path) -> None:
    stranger = keygen(tmp_path / "stranger")
    other = keygen(tmp_path / "other")
    young.trust.write_known_hosts([stranger, other], host=young.address.host, port=young.address.port)
    with pytest.raises(failures.HostKeyChanged):
        young.settle()
