"""The way in: the known address first, the provider when it does not answer, and no machine but ours."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.providers.base import Address
from orchestrator.remote.openssh import config_block


@dataclass
class Place:
    """A home with a running t2 machine in a sandbox of its own."""

    home: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "GPU_HOME": str(self.home), "HOME": str(self.home), "GPU_SANDBOX_DELAY": "0.3"}

    def gpu(self, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "orchestrator", "-k", "t2", *words]
        done = subprocess.run(
            argv, input=given, capture_output=True, text=True, env=self.environment, check=False, timeout=120
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    @property
    def state(self) -> Path:
        return self.home / "state/sandbox.json"

    def door(self) -> Any:
        return json.loads(self.state.read_text())["doors"]["t2"]

    def forge(self, **entry: Any) -> None:
        document = json.loads(self.state.read_text())
        document["doors"]["t2"].update(entry)
        self.state.write_text(json.dumps(document))

    def calls(self) -> int:
        """How many requests the region has been asked."""
        return len((self.home / "state/sandbox/calls.jsonl").read_text().splitlines())


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("a home, 100%"))
    try:
        done = made.gpu("start")
        assert done.returncode == 0, done.stderr
        yield made
    finally:
        made.gpu("sandbox", "down", "--purge")


@pytest.fixture
def place(running: Place) -> Place:
    """The machine is entered once, so that its address is known."""
    assert running.gpu("ssh", "--", "true").returncode == 0
    return running


def test_the_known_address_is_entered_without_asking_anybody(place: Place) -> None:
    before = place.calls()
    done = place.gpu("ssh", "--", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert place.calls() == before


def test_neither_boto3_nor_paramiko_is_loaded_for_it(place: Place) -> None:
    script = """
import contextlib, sys
from orchestrator.cli.main import main
with contextlib.suppress(SystemExit):
    main(["-k", "t2", "ssh", "--", "true"])
print([m for m in ("boto3", "botocore", "paramiko", "rich", "cryptography") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=place.environment)
    assert done.stdout == "[]\n", done.stderr


def test_an_address_where_nobody_listens_is_repaired(place: Place) -> None:
    right = place.door()
    place.forge(host="127.0.0.99")
    assert place.gpu("ssh", "--", "cat", given="kept").stdout == "kept"
    assert place.door() == right


def test_a_silent_address_is_given_up_soon(place: Place) -> None:
    right = place.door()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place.forge(host="127.0.0.1", port=silent.getsockname()[1])
        began = time.monotonic()
        assert place.gpu("ssh", "--", "true").returncode == 0
        assert time.monotonic() - began < 15
    assert place.door() == right


@pytest.mark.parametrize("code", [0, 1, 255])
def test_what_has_run_is_never_run_twice(place: Place, code: int) -> None:
    done = place.gpu("ssh", "--", f"echo ran; exit {code}")
    assert (done.returncode, done.stdout) == (code, "ran\n")


def test_a_connection_that_breaks_is_not_made_again(place: Place) -> None:
    before = place.calls()
    done = place.gpu("ssh", "--", 'echo ran; kill -9 "$(ps -o ppid= -p $$)"')
    assert (done.returncode, done.stdout) == (255, "ran\n")
    assert place.calls() == before


def test_a_foreign_machine_never_gets_the_command(place: Place, tmp_path: Path) -> None:
    """Another sshd, which would let us in, at an address forced into the state file."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "host"], check=True)
    allowed = subprocess.run(
        ["ssh-keygen", "-y", "-f", place.home / "keys/sandbox"], capture_output=True, text=True, check=True
    ).stdout
    (tmp_path / "allowed").write_text(allowed)
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    taken = tmp_path / "taken"
    (tmp_path / "config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/allowed\n"
        f"PidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nForceCommand touch {taken}\n"
    )
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    foreign = subprocess.Popen([str(program), "-D", "-e", "-f", str(tmp_path / "config")], stderr=subprocess.DEVNULL)
    right = place.door()
    try:
        until = time.monotonic() + 10
        while socket.socket().connect_ex(("127.0.0.1", port)) and time.monotonic() < until:
            time.sleep(0.05)
        place.forge(host="127.0.0.1", port=port, known_hosts=str(tmp_path / "theirs"), key_file="/etc/passwd")
        done = place.gpu("ssh", "--", "echo ours")
        assert (done.returncode, done.stdout) == (0, "ours\n")
        assert not taken.exists()
        assert place.door() == right
    finally:
        foreign.kill()
        foreign.wait()


@pytest.mark.parametrize("entry", [{"port": "x"}, {"host": ["-oProxyCommand=touch x"]}, {"settings": "other"}])
def test_a_damaged_door_is_no_obstacle(place: Place, entry: dict[str, Any]) -> None:
    place.forge(**entry)
    assert place.gpu("ssh", "--", "echo in").stdout == "in\n"


def test_other_settings_make_the_provider_be_asked(place: Place) -> None:
    (place.home / "config.yaml").write_text("profiles: {sandbox: {autostop: 60}}")
    before = place.calls()
    try:
        assert place.gpu("ssh", "--", "true").returncode == 0
        assert place.calls() > before
    finally:
        (place.home / "config.yaml").unlink()


def test_the_block_for_ssh_works_as_it_is_printed(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(place.gpu("ssh-config").stdout)
    done = subprocess.run(
        ["ssh", "-F", file, "gpu-sandbox-t2", "echo in"], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr


@pytest.mark.parametrize("folder", ["plain", "with space", "100%h", 'a "b"', "back\\slash", "#hash", "it's"])
def test_any_folder_is_quoted_as_ssh_reads_it(folder: str, tmp_path: Path) -> None:
    key = tmp_path / folder / "key"
    block = config_block(Address("127.0.0.1", 2222, "me", key, key), "gpu-a b*-t2")
    (tmp_path / "config").write_text(block)
    told = subprocess.run(
        ["ssh", "-G", "-F", tmp_path / "config", "gpu-a-b--t2"], capture_output=True, text=True, check=True
    ).stdout
    asked = dict(line.split(" ", 1) for line in told.splitlines() if " " in line)
    assert asked["hostname"] == "127.0.0.1"
    assert asked["identityfile"].replace("%%", "%") == str(key)
    assert asked["stricthostkeychecking"] == "true"


def test_a_stopped_machine_is_told_and_its_address_forgotten(running: Place) -> None:
    """Starts it again for the other tests."""
    running.gpu("ssh", "--", "true")
    running.gpu("stop")
    done = running.gpu("ssh", "--", "true")
    assert done.returncode == 1
    assert "is stopped" in done.stderr
    assert "gpu start" in done.stderr
    assert "t2" not in json.loads(running.state.read_text())["doors"]
    assert running.gpu("start").returncode == 0
