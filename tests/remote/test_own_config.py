"""A host entered as the user's own SSH configuration says: real sshds, a real agent, and no file of the developer's."""

from __future__ import annotations

import dataclasses
import os
import pty
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator import sshconfig
from orchestrator.errors import GpuError
from orchestrator.providers.base import Address
from orchestrator.remote import failures
from orchestrator.remote.openssh import config_block, ssh_argv
from orchestrator.remote.ssh import connect
from orchestrator.remote.way import Way
from orchestrator.sandbox import sshd

from .conftest import SSHD, Machine, answers, configure, eventually, free_place, keygen

SSH = shutil.which("ssh")


@dataclass
class Own:
    """Somebody's `.ssh`: `config` is what `ssh` reads, from a wrapper, since ssh asks the account for its home."""

    folder: Path
    machine: Machine

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def place(self) -> str:
        return f"[{self.machine.address.host}]:{self.machine.address.port}"

    def configure(self, text: str, *, name: str = "box", key: str | None = "key") -> None:
        """A block for `name` that leads to the machine, with the lines of `text` in it."""
        address = self.machine.address
        lines = [f"HostName {address.host}", f"Port {address.port}", f"User {address.user}", *text.splitlines()]
        if key:
            lines.append(f"IdentityFile {self.folder / key}")
        with (self.folder / "config").open("a") as config:
            config.write(f"Host {name}\n" + "".join(f"  {line.strip()}\n" for line in lines))

    def common(self) -> None:
        with (self.folder / "config").open("a") as config:
            config.write(f"Host *\n  UserKnownHostsFile {self.known_hosts}\n  GlobalKnownHostsFile /dev/null\n")

    def address(self, name: str = "box") -> Address:
        where = sshconfig.effective(name)
        return Address(where.name, where.port, where.user)


@pytest.fixture
def own(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Own:
    folder, programs = tmp_path / "dot-ssh", tmp_path / "bin"
    folder.mkdir(mode=0o700)
    programs.mkdir()
    wrapper = programs / "ssh"
    wrapper.write_text(f'#!/bin/sh\nexec {SSH} -F {folder}/config "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    assert machine.address.key_file is not None
    assert machine.address.known_hosts is not None
    shutil.copy(machine.address.key_file, folder / "key")
    shutil.copy(machine.address.known_hosts, folder / "known_hosts")
    return Own(folder, machine)


def words(address: Address) -> bytes:
    """What the machine answers, through our own connection and through the system's ssh."""
    with connect(address) as connection:
        answer = connection.check("cd && pwd").stdout
    done = subprocess.run(ssh_argv(address, command=["cd && pwd"]), capture_output=True, check=False)
    assert done.stdout == answer, done.stderr
    return answer


def canary(own: Own, address: Address) -> bool:
    """Whether a command got through on any way of entering; it must not have."""
    with pytest.raises(GpuError), connect(address) as connection:
        connection.run("touch canary")
    assert subprocess.run(ssh_argv(address, command=["touch canary"]), capture_output=True, check=False).returncode
    return (own.machine.home / "canary").exists()


def test_an_alias_with_its_port_and_key(own: Own) -> None:
    own.configure("")
    own.common()
    address = own.address()
    assert (address.host, address.port, address.user) == ("box", own.machine.address.port, own.machine.address.user)
    assert words(address).decode().strip() == str(own.machine.home)


def test_an_included_file_and_a_match(own: Own) -> None:
    own.configure("")
    (own.folder / "config").rename(own.folder / "more")
    match = f"Match exec true\n  HostKeyAlias the-box\nInclude {own.folder}/more\n"
    (own.folder / "config").write_text(match)
    own.common()
    assert not canary(own, own.address())
    own.known_hosts.write_text(own.known_hosts.read_text().replace(own.place, "the-box"))
    assert words(own.address())


def test_hashed_and_patterned_known_hosts(own: Own) -> None:
    own.configure("")
    own.common()
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(own.known_hosts)], check=True, capture_output=True)
    assert own.machine.address.host not in own.known_hosts.read_text()
    assert words(own.address())
    assert own.machine.address.known_hosts is not None
    key = own.machine.address.known_hosts.read_text().split(maxsplit=1)[1]
    own.known_hosts.write_text(f"[127.*]:*,!nobody {key}")
    assert words(own.address())


def test_a_key_known_without_its_port(own: Own) -> None:
    """As `ssh` does: somebody moved sshd to another port and kept its key."""
    own.configure("")
    own.common()
    own.known_hosts.write_text(own.known_hosts.read_text().replace(own.place, own.machine.address.host))
    assert words(own.address())


@pytest.mark.parametrize("told", ["StrictHostKeyChecking ask", "StrictHostKeyChecking no", "VerifyHostKeyDNS yes"])
def test_an_unknown_key_is_refused_before_any_command(own: Own, told: str) -> None:
    own.configure(told)
    own.common()
    own.known_hosts.write_text("")
    with pytest.raises(failures.HostKeyUnknown, match="is not in your known_hosts"):
        connect(own.address(), wait=30)
    assert not canary(own, own.address())
    assert own.known_hosts.read_text() == ""


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_a_changed_key_is_refused_before_any_command(own: Own, kind: str) -> None:
    own.configure("StrictHostKeyChecking no")
    own.common()
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(own.folder / "other")], check=True)
    own.known_hosts.write_text(f"{own.place} {(own.folder / 'other.pub').read_text()}")
    with pytest.raises(failures.HostKeyChanged, match="another host key"):
        connect(own.address(), wait=30)
    assert not canary(own, own.address())


def test_a_revoked_key_is_refused(own: Own) -> None:
    own.configure("")
    own.common()
    own.known_hosts.write_text(own.known_hosts.read_text() + f"@revoked {own.known_hosts.read_text()}")
    assert not canary(own, own.address())


def test_several_keys_of_which_the_last_fits(own: Own) -> None:
    keygen(own.folder / "stranger")
    (own.folder / "garbage").write_text("garbage")
    own.configure(f"IdentityFile {own.folder}/stranger\nIdentityFile {own.folder}/garbage\nIdentityFile /none")
    own.common()
    assert words(own.address())


def test_a_key_with_a_passphrase_is_said(own: Own) -> None:
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", str(own.folder / "key")], check=True)
    own.configure("")
    own.common()
    with pytest.raises(failures.AuthRefused, match="key has a passphrase: give it to your agent with ssh-add"):
        connect(own.address(), wait=30)


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A real ssh-agent; its socket."""
    with tempfile.TemporaryDirectory(prefix="gpu-", dir="/tmp") as short:
        place = Path(short) / "agent"
        process = subprocess.Popen(["ssh-agent", "-D", "-a", str(place)], stdout=subprocess.DEVNULL)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(place))
        try:
            eventually(place.exists)
            yield place
        finally:
            process.terminate()
            process.wait()


def add(key: Path) -> None:
    subprocess.run(["ssh-add", "-q", str(key)], check=True, capture_output=True)


@pytest.mark.usefixtures("agent")
def test_a_key_that_only_the_agent_has(own: Own) -> None:
    for number in range(3):
        keygen(own.folder / f"stranger{number}")
        add(own.folder / f"stranger{number}")
    add(own.folder / "key")
    (own.folder / "key").unlink()
    own.configure("", key=None)
    own.common()
    assert words(own.address())


def test_an_agent_at_a_place_of_its_own(own: Own, agent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(own.folder / "key")
    (own.folder / "key").unlink()
    monkeypatch.delenv("SSH_AUTH_SOCK")
    own.configure(f"IdentityAgent {agent}", key=None)
    own.configure("IdentityAgent none", name="without", key=None)
    own.common()
    assert words(own.address())
    with pytest.raises(failures.AuthRefused):
        connect(own.address("without"))


@pytest.mark.usefixtures("agent")
def test_identities_only_shows_the_agents_other_keys_to_nobody(own: Own) -> None:
    """With more than six of them the machine would hang up before the right one."""
    for number in range(8):
        keygen(own.folder / f"stranger{number}")
        add(own.folder / f"stranger{number}")
    add(own.folder / "key")
    # The private half is in the agent alone: the public one tells which it is.
    (own.folder / "key.pub").write_bytes((own.machine.address.key_file or Path()).with_suffix(".pub").read_bytes())
    (own.folder / "key").unlink()
    own.configure("IdentitiesOnly yes", key="key.pub")
    own.common()
    assert words(own.address())


@pytest.mark.usefixtures("agent")
def test_what_identities_only_leaves_out_opens_nothing(own: Own) -> None:
    add(own.folder / "key")
    keygen(own.folder / "other")
    own.configure("IdentitiesOnly yes", name="other", key="other")
    own.common()
    with pytest.raises(failures.AuthRefused, match="refused every key of yours"):
        connect(own.address("other"))


def test_an_agent_that_is_gone(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(own.folder / "gone"))
    own.configure("")
    own.common()
    assert words(own.address())


@pytest.fixture
def gate(own: Own, tmp_path: Path) -> Iterator[Machine]:
    """A second sshd, which forwards."""
    etc, home = tmp_path / "gate-etc", tmp_path / "gate"
    etc.mkdir(mode=0o700)
    home.mkdir()
    host, port = free_place()
    config = configure(etc, home, tmp_path, (host, port))
    (etc / "authorized_keys").write_bytes((tmp_path / "etc" / "authorized_keys").read_bytes())
    with (etc / "log").open("wb") as log:
        sshd = subprocess.Popen([str(SSHD), "-D", "-e", "-f", str(config)], stderr=log, stdin=subprocess.DEVNULL)
    try:
        eventually(lambda: answers(host, port))
        with own.known_hosts.open("a") as known:
            known.write(f"[{host}]:{port} {(etc / 'host_key.pub').read_text()}")
        yield dataclasses.replace(
            own.machine, address=dataclasses.replace(own.machine.address, host=host, port=port), home=home, sshd=sshd
        )
    finally:
        for pid in dataclasses.replace(own.machine, sshd=sshd).sessions():
            os.kill(pid, 9)
        sshd.kill()
        sshd.wait()


def gates(own: Own, gate: Machine) -> None:
    address = gate.address
    with (own.folder / "config").open("a") as config:
        config.write(f"Host gate\n  HostName {address.host}\n  Port {address.port}\n  User {address.user}\n")
        config.write(f"  IdentityFile {own.folder}/key\n")


@pytest.mark.parametrize("jump", ["gate", "{user}@{host}:{port}", "gate,{user}@{host}:{port}"])
def test_through_a_jump_host(own: Own, gate: Machine, jump: str) -> None:
    named = {"user": gate.address.user, "host": gate.address.host, "port": gate.address.port}
    own.configure(f"ProxyJump {jump.format(**named)}")
    gates(own, gate)
    with (own.folder / "config").open("a") as config:
        config.write(f"Host {gate.address.host}\n  IdentityFile {own.folder}/key\n")
    own.common()
    assert words(own.address()).decode().strip() == str(own.machine.home)


def test_through_a_proxy_command_with_a_token(own: Own, gate: Machine) -> None:
    own.configure("ProxyCommand ssh -W '[%h]:%p' gate")
    gates(own, gate)
    own.common()
    with connect(own.address()) as connection:
        assert len(connection.check("head -c 3000000 /dev/zero").stdout) == 3_000_000


def test_a_gate_that_is_not_known_bars_the_way(own: Own, gate: Machine) -> None:
    own.configure("ProxyJump gate")
    gates(own, gate)
    own.common()
    lines = own.known_hosts.read_text().splitlines(keepends=True)
    own.known_hosts.write_text(lines[0])
    with pytest.raises(failures.WayRefused, match=r"the way to box is barred: .*Host key verification failed"):
        connect(own.address(), wait=30)
    assert not canary(own, own.address())


def test_a_gate_changes_nothing_about_the_machines_own_key(own: Own, gate: Machine) -> None:
    own.configure("ProxyJump gate")
    gates(own, gate)
    own.common()
    lines = own.known_hosts.read_text().splitlines(keepends=True)
    own.known_hosts.write_text(lines[1])
    with pytest.raises(failures.HostKeyUnknown):
        connect(own.address(), wait=30)
    assert not canary(own, own.address())


def test_a_proxy_command_that_fails_is_said(own: Own) -> None:
    own.configure("ProxyCommand echo no such luck >&2; exit 3")
    own.common()
    with pytest.raises(failures.Unreachable, match="no such luck"):
        connect(own.address())


def test_a_way_leaves_no_process() -> None:
    way = Way(["sleep", "1000"])
    way.close()
    way.close()
    assert way.words() == ""


def test_a_configuration_that_ssh_cannot_read(own: Own) -> None:
    (own.folder / "config").write_text("Host box\n  Prot 22\n")
    with pytest.raises(GpuError, match=r"your SSH configuration says nothing usable of box: .*prot"):
        sshconfig.effective("box")


@pytest.mark.parametrize("name", ["-oProxyCommand=touch canary", "a b", "$(touch canary)"])
def test_a_name_is_never_an_option(own: Own, name: str) -> None:
    (own.folder / "config").write_text("")
    with pytest.raises(GpuError):
        sshconfig.effective(name)


def test_a_configuration_with_a_command_of_its_own(own: Own) -> None:
    own.configure("RemoteCommand echo mine\nRequestTTY force")
    own.common()
    assert words(own.address())


@pytest.mark.skipif(not sshd.gives_terminals(), reason="this computer's sshd hands out no terminals")
def test_a_terminal(own: Own) -> None:
    own.configure("RequestTTY no")
    own.common()
    mine, theirs = pty.openpty()
    argv = ssh_argv(own.address(), tty=True, command=["tty && stty size"])
    assert subprocess.run(argv, stdin=theirs, stdout=theirs, stderr=theirs, check=False).returncode == 0
    os.close(theirs)
    assert b"/dev/pts/" in os.read(mine, 4096)
    os.close(mine)


def test_no_shared_connection_outlives_us(own: Own, gate: Machine) -> None:
    shared = "ControlMaster auto\nControlPersist yes\nControlPath {}/shared-%C"
    with tempfile.TemporaryDirectory(prefix="gpu-", dir="/tmp") as short:
        own.configure(shared.format(short) + "\nProxyJump gate")
        gates(own, gate)
        own.common()
        assert words(own.address())
        assert list(Path(short).iterdir()) == []
        with (own.folder / "config").open("a") as config:
            config.write("Host gate\n  " + shared.format(short).replace("\n", "\n  ") + "\n")
        with connect(own.address()) as connection:
            assert connection.run("true").exit_code == 0
        assert list(Path(short).iterdir()) == []


def test_tokens_and_variables_in_a_keys_path(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYS", str(own.folder))
    shutil.move(own.folder / "key", own.folder / "box-100%")
    own.configure("IdentityFile ${KEYS}/%n-100%%", key=None)
    own.common()
    assert words(own.address())


def test_a_block_for_other_clients(own: Own, gate: Machine) -> None:
    own.configure("ProxyJump gate,gate\nHostKeyAlias the-box")
    gates(own, gate)
    own.common()
    own.known_hosts.write_text(own.known_hosts.read_text().replace(own.place, "the-box"))
    block = config_block(own.address(), "gpu-box")
    with (own.folder / "config").open("a") as config:
        config.write(block + "\n")
    done = subprocess.run(["ssh", "-o", "BatchMode=yes", "gpu-box", "cd && pwd"], capture_output=True, check=False)
    assert done.stdout.decode().strip() == str(own.machine.home), done.stderr
