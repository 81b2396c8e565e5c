"""Jupyter on a machine, whoever is killed there."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import GpuError
from orchestrator.remote import notebook, ssh
from orchestrator.remote.agent.notebook import GRACE_SECONDS
from orchestrator.remote.notebook import Notebook
from orchestrator.remote.ssh import Connection

from .conftest import Machine, eventually, kill


@pytest.fixture
def connection(machine: Machine) -> Iterator[Connection]:
    with ssh.connect(machine.address) as made:
        yield made


def begin(connection: Connection) -> Notebook:
    found = notebook.start(connection, None, {})
    while not found.running:
        found = notebook.wait(connection)
    return found


def signed(machine: Machine) -> dict[str, int]:
    return dict(json.loads((machine.home / "gpu/notebook/lock").read_text()))


def test_it_outlives_its_keeper_and_ends_with_all_that_is_its_own(connection: Connection, machine: Machine) -> None:
    assert notebook.state(connection).state == notebook.ABSENT
    first = begin(connection)
    again = notebook.start(connection, "other", {})
    assert (again.token, again.data) == (first.token, "")
    kill(signed(machine)["keeper"])
    subprocess.run(["tmux", "-L", "gpu", "kill-server"], env={"TMUX_TMPDIR": str(machine.tmux_dir)}, check=False)
    assert notebook.state(connection).running
    began = time.monotonic()
    assert notebook.stop(connection).state == notebook.ABSENT
    assert time.monotonic() - began < GRACE_SECONDS, "it went by itself"
    assert notebook.stop(connection).state == notebook.ABSENT
    assert not Path(first.socket).exists()
    second = begin(connection)
    assert second.token != first.token
    kill(signed(machine)["jupyter"], signal.SIGKILL)
    eventually(lambda: notebook.state(connection).state == notebook.ABSENT)
    assert not (machine.home / "gpu/notebook/facts.json").exists()


def test_two_at_the_same_moment_find_the_same_one(machine: Machine) -> None:
    words = """
import sys
import time
from pathlib import Path
from orchestrator.providers.base import Address
from orchestrator.remote import notebook, ssh
host, port, user, key, known = sys.argv[1:]
with ssh.connect(Address(host, int(port), user, Path(key), Path(known))) as connection:
    found = notebook.start(connection, None, {})
    while not found.running:
        found = notebook.wait(connection)
    print(found.token)
"""
    at = machine.address
    argv = [sys.executable, "-c", words, at.host, str(at.port), at.user, str(at.key_file), str(at.known_hosts)]
    both = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    tokens = [process.communicate(timeout=120)[0] for process in both]
    assert tokens[0] == tokens[1] != ""
    with ssh.connect(at) as connection:
        notebook.stop(connection)


@pytest.mark.parametrize(
    "facts", [{"token": "'; rm -rf /"}, {"socket": "/tmp/a:b"}, {"files": []}, {"kernels": None}, {"files": {"a": [1]}}]
)
def test_an_answer_that_cannot_be_is_refused(facts: dict[str, object]) -> None:
    good = {
        "state": "running", "token": "ab" * 20, "socket": "/home/u/gpu/notebook/socket", "data": None, "code": "c",
        "since": "s", "disk": "d", "files": {"a": [1, 2]}, "kernels": ["idle"], "last": "",
    }  # fmt: skip
    assert notebook._read(good).files == {"a": (1, 2)}
    with pytest.raises(GpuError, match="cannot be read"):
        notebook._read({**good, **facts})
