from __future__ import annotations

import dataclasses
import shlex
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import GpuError, UsageError
from orchestrator.providers.base import Address
from orchestrator.remote import failures, ssh
from orchestrator.remote.command import CommandFailed
from orchestrator.remote.openssh import remote_line, ssh_argv
from orchestrator.remote.ssh import connect

from .conftest import Machine, free_place, keygen, kill


def test_exit_code_and_both_streams(machine: Machine) -> None:
    with connect(machine.address) as connection:
        done = connection.run("echo out; echo err >&2; exit 7")
    assert (done.exit_code, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


def test_check_raises_with_the_last_words(machine: Machine) -> None:
    with connect(machine.address) as connection, pytest.raises(CommandFailed, match="exit code 3: no luck"):
        connection.check("echo no luck >&2; exit 3")


def test_five_megabytes_of_stderr_do_not_block(machine: Machine) -> None:
    with connect(machine.address) as connection:
        done = connection.run("head -c 5000000 /dev/zero >&2; echo done", timeout=60)
    assert (len(done.stderr), done.stdout) == (5_000_000, b"done\n")


def test_input_and_output_larger_than_any_window(machine: Machine) -> None:
    data = bytes(range(256)) * 40_000
    with connect(machine.address) as connection:
        assert connection.run("cat; cat >&2 </dev/null", input=data, timeout=60).stdout == data


def test_input_that_nobody_reads(machine: Machine) -> None:
    with connect(machine.address) as connection:
        assert connection.run("exit 4", input=bytes(10_000_000), timeout=60).exit_code == 4


def test_a_command_killed_by_a_signal_is_no_success(machine: Machine) -> None:
    with connect(machine.address) as connection:
        assert connection.run("kill -9 $$").exit_code not in (0, -1)
        assert connection.run("echo alive").stdout == b"alive\n"


def test_a_cut_connection_is_told_from_an_exit_code(machine: Machine) -> None:
    with connect(machine.address) as connection:
        threading.Timer(0.5, machine.cut).start()
        with pytest.raises(failures.ConnectionLost):
            connection.run("sleep 30", timeout=20)
        with pytest.raises(failures.ConnectionLost):
            connection.run("true")


def test_a_timeout_ends_the_wait(machine: Machine) -> None:
    with connect(machine.address) as connection, pytest.raises(GpuError, match=r"did not end within 0\.3 s"):
        connection.run("sleep 30", timeout=0.3)


def test_a_black_hole_is_noticed(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "HEARTBEAT_SECONDS", 0.3)
    monkeypatch.setattr(ssh, "PATIENCE_SECONDS", 0.7)
    with connect(machine.address) as connection:
        began = time.monotonic()
        # A stopped sshd: its kernel goes on acknowledging every packet, and nobody ever answers.
        for pid in machine.sessions():
            kill(pid, signal.SIGSTOP)
        with pytest.raises(failures.ConnectionLost):
            connection.run("sleep 30", timeout=25)
        assert time.monotonic() - began < 20


def test_unknown_host_key(machine: Machine, tmp_path: Path) -> None:
    empty = tmp_path / "known"
    empty.write_text("")
    with pytest.raises(failures.HostKeyUnknown, match="is not in"):
        connect(dataclasses.replace(machine.address, known_hosts=empty), wait=30)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_changed_host_key(machine: Machine, tmp_path: Path, kind: str) -> None:
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(other)], check=True)
    host, port = machine.address.host, machine.address.port
    known = tmp_path / "known"
    known.write_text(f"[{host}]:{port} {other.with_name('other.pub').read_text()}")
    with pytest.raises(failures.HostKeyChanged, match="another host key"):
        connect(dataclasses.replace(machine.address, known_hosts=known), wait=30)


def test_refused_key(machine: Machine, tmp_path: Path) -> None:
    keygen(tmp_path / "stranger")
    with pytest.raises(failures.AuthRefused, match="refused the key"):
        connect(dataclasses.replace(machine.address, key_file=tmp_path / "stranger"))


def test_garbage_as_a_key(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "garbage").write_text("garbage")
    with pytest.raises(failures.AuthRefused):
        connect(dataclasses.replace(machine.address, key_file=tmp_path / "garbage"))


def test_missing_key_and_missing_known_hosts(machine: Machine, tmp_path: Path) -> None:
    for field in ("key_file", "known_hosts"):
        with pytest.raises(GpuError, match="missing"):
            connect(dataclasses.replace(machine.address, **{field: tmp_path / "none"}))


def test_nobody_listens(tmp_path: Path) -> None:
    host, port = free_place()
    with pytest.raises(failures.Unreachable, match=f"{host} port {port} does not answer: Connection refused"):
        connect(nowhere(host, port, tmp_path))


def test_a_name_that_does_not_resolve(tmp_path: Path) -> None:
    with pytest.raises(failures.Unreachable):
        connect(nowhere("127.0.0.999", 22, tmp_path))


def nowhere(host: str, port: int, folder: Path) -> Address:
    keygen(folder / "key")
    (folder / "known").write_text("")
    return Address(host, port, "nobody", key_file=folder / "key", known_hosts=folder / "known")


def test_not_ssh(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def web() -> None:
            dialled, _ = server.accept()
            with dialled:
                dialled.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=web, daemon=True).start()
        with pytest.raises(failures.NotSsh, match="does not speak SSH"):
            connect(nowhere("127.0.0.1", server.getsockname()[1], tmp_path))


def test_waits_for_a_machine_that_boots(machine: Machine) -> None:
    subprocess.run(["kill", "-STOP", str(machine.sshd.pid)], check=True)
    threading.Timer(1.0, subprocess.run, (["kill", "-CONT", str(machine.sshd.pid)],)).start()
    with connect(machine.address, wait=30) as connection:
        assert connection.run("true").exit_code == 0


def test_a_command_too_long_is_refused_before_it_is_sent(machine: Machine) -> None:
    with connect(machine.address) as connection, pytest.raises(UsageError, match="too long"):
        connection.run("echo " + "x" * 200_000)


HOSTILE = [
    "",
    " ",
    "a b",
    "it's",
    '"',
    "$(touch x)",
    "`touch x`",
    "a\nb",
    "-n",
    "*",
    "~",
    "\\",
    "ünï",
    "!!",
    "&&",
    "#",
    "\t",
]


def test_words_arrive_word_for_word_through_the_systems_ssh(machine: Machine) -> None:
    argv = ssh_argv(machine.address, command=["printf", "%s\\0", *HOSTILE])
    done = subprocess.run(argv, capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == HOSTILE
    assert not (machine.home / "x").exists()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1, max_size=5))
def test_words_survive_a_shell(words: list[str]) -> None:
    line = remote_line(["printf", "%s\\0", *words])
    done = subprocess.run(["sh", "-c", line], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == words


def test_one_word_is_a_shell_line(machine: Machine) -> None:
    argv = ssh_argv(machine.address, command=["echo $((1+2)); exit 5"])
    done = subprocess.run(argv, capture_output=True, check=False)
    assert (done.stdout, done.returncode) == (b"3\n", 5)


def test_nul_is_refused() -> None:
    with pytest.raises(UsageError):
        remote_line(["a\0b", "c"])


def test_files_with_spaces_and_percent_signs(machine: Machine, tmp_path: Path) -> None:
    odd = tmp_path / "a 100%h b"
    odd.mkdir()
    key = odd / "my key"
    key.write_bytes(machine.address.key_file.read_bytes())
    key.chmod(0o600)
    known = odd / "known hosts"
    known.write_bytes(machine.address.known_hosts.read_bytes())
    address = dataclasses.replace(machine.address, key_file=key, known_hosts=known)
    assert subprocess.run([*ssh_argv(address, command=["true"])], check=False).returncode == 0


def test_argv_of_an_ipv6_host_with_a_proxy() -> None:
    address = Address("::1", 2222, "me", Path("/k"), Path("/h"), proxy="jump@gate")
    argv = ssh_argv(address, command=["uname", "-s"])
    assert argv[-5:] == ["-l", "me", "--", "::1", "uname -s"]
    assert argv[:3] == ["ssh", "-F", "/dev/null"]
    for option in ("StrictHostKeyChecking=yes", "ProxyJump=jump@gate", "BatchMode=yes", "IdentitiesOnly=yes"):
        assert option in argv


def test_argv_for_a_terminal_asks_for_one() -> None:
    address = Address("h", 22, "me")
    assert "-t" in ssh_argv(address, tty=True, command=["top"])
    assert "BatchMode=yes" not in shlex.join(ssh_argv(address, tty=True))
