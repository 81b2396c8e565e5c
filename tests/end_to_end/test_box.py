"""A machine of one's own, entered as the user's own SSH configuration says: an sshd of this user, in another home."""

from __future__ import annotations

import json
import os
import pty
import pwd
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ..remote.conftest import Machine, machine  # noqa: F401
from .conftest import Evening, processes_of

SSH = shutil.which("ssh")
NOBODYS = ("/etc", "/usr/local", "/opt")
STANDINS = ("sudo", "shutdown", "poweroff", "systemctl", "loginctl", "apt-get")
GPUS = (
    "0, GPU-aaaa, 15000, 16000, Tesla T4\n1, GPU-bbbb, 3, 16000, Tesla T4\n2, GPU-cccc, 9000, 16000, Tesla T4\n"
    "3, GPU-dddd, 3, 16000, Tesla T4\n"
)

PROGRAMS = "GPU-aaaa, 999999999\n"
"""Of somebody in another container: there is no such process to be seen."""


@dataclass
class Box:
    """`standins` come first in the PATH of every login: what they are asked for is written down in `asked`."""

    machine: Machine
    evening: Evening
    standins: Path
    asked: Path

    def gpu(self, *words: str, code: int = 0) -> str:
        """stdout and stderr of `gpu --profile box ...`."""
        done = self.evening.gpu("--profile", "box", *words, code=code)
        return done.stdout + done.stderr

    def refused(self, *words: str) -> str:
        """One sentence and its remedy, without anything having happened."""
        said = self.gpu(*words, code=1)
        assert sum(line.startswith("gpu: ") for line in said.splitlines()) == 1
        return said

    def answer(self, *words: str) -> str:
        """What a command says on a terminal where somebody answers yes."""
        mine, theirs = pty.openpty()
        os.write(mine, b"y\n")
        argv = [sys.executable, "-m", "orchestrator", "--profile", "box", *words]
        done = subprocess.run(
            argv, cwd=self.evening.folder, stdin=theirs, stdout=theirs, stderr=theirs, check=False, timeout=120
        )
        said = os.read(mine, 1 << 16).decode()
        os.close(theirs)
        os.close(mine)
        assert done.returncode == 0, said
        return said

    def program(self, name: str, lines: str) -> None:
        file = self.standins / name
        file.write_text(f"#!/bin/sh\n{lines}\n")
        file.chmod(0o755)

    def has_gpus(self, gpus: str, programs: str = "") -> None:
        """What its `nvidia-smi` shows."""
        answers = f"*gpu_uuid,pid*) printf %s {shlex.quote(programs)} ;; *index,*) printf %s {shlex.quote(gpus)} ;;"
        self.program("nvidia-smi", f'case "$*" in {answers} *) exit 6 ;; esac')


@pytest.fixture
def box(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:  # noqa: F811
    work, own, standins, asked = (tmp_path / name for name in ("work", "dot-ssh", "standins", "asked"))
    for folder in (work, own, standins):
        folder.mkdir(mode=0o700)
    address = machine.address
    (own / "config").write_text(
        f"Host box\n  HostName {address.host}\n  Port {address.port}\n  User {address.user}\n"
        f"  IdentityFile {address.key_file}\n  UserKnownHostsFile {address.known_hosts}\n"
    )
    # ssh asks the account for its home, whatever $HOME says.
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(f'#!/bin/sh\nexec {SSH} -F {own}/config "$@"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ssh.parent}:{os.environ['PATH']}")
    found = Box(machine, Evening(work), standins, asked)
    for name in STANDINS:
        found.program(name, f'echo {name} "$@" >> {asked}; exit 1')
    login = tmp_path / "etc" / "login"
    login.write_text(login.read_text().replace("unset TMUX\n", f'unset TMUX\nexport PATH={standins}:"$PATH"\n'))
    settings = tmp_path / "gpu-home" / "config.yaml"
    settings.parent.mkdir()
    settings.write_text("profiles:\n  box: {provider: server, host: box}\n")
    yield found
    changing = [line for line in asked.read_text().splitlines() if " show-" not in line] if asked.exists() else []
    assert changing == []


def listing() -> dict[str, tuple[int, int]]:
    """Every file in places that are nobody's home, and what a change of it would show."""
    found = {}
    for top in (*NOBODYS, Path(pwd.getpwuid(os.getuid()).pw_dir) / ".ssh"):
        for folder, _, files in os.walk(top):
            for name in files:
                status = os.lstat(Path(folder, name))
                found[str(Path(folder, name))] = (status.st_size, status.st_mtime_ns)
    return found


def test_an_evening_on_a_machine_of_ones_own(box: Box) -> None:
    before = listing()
    box.evening.prepare()
    assert "box is a machine of your own: it answers; gpu neither starts nor stops it" in box.gpu("start")
    trained = box.evening.json("--profile", "box", "train", "--data", "shapes", "--stop")
    folder = box.evening.folder / "runs" / trained["run"]
    assert trained["accuracy"] >= 0.9
    assert (folder / "verified.json").stat().st_size
    assert [entry.name for entry in (box.machine.home / "gpu" / "runs").glob("2*")] == [trained["run"]]
    status = box.evening.json("--profile", "box", "status")
    assert (status["phase"], status["not_home"], status["ip"], status["cost"]) == ("running", [], None, None)
    assert [run["run"] for run in status["runs"]] == [trained["run"]]
    where = box.machine.address
    assert status["ssh"] == {
        "host": "box", "port": where.port, "user": where.user, "key_file": None, "known_hosts": None
    }  # fmt: skip
    assert f"box is running at {where.user}@box port {where.port}" in box.gpu("status")
    assert "finished" in box.gpu("jobs")
    assert "log loss" in box.gpu("logs") or (folder / "log.txt").stat().st_size
    assert box.gpu("ssh", "--", "pwd; exit 0").strip() == str(box.machine.home)
    box.gpu("ssh", "--", "exit 7", code=7)
    assert "it is left alone, and goes on running" in box.gpu("stop")
    assert box.gpu("pull").strip() == "everything is home"
    assert listing() == before
    assert {entry.name for entry in box.machine.home.iterdir()} <= {"gpu", ".cache", ".config"}


def test_a_run_is_left_found_and_ended(box: Box) -> None:
    box.evening.prepare()
    run_id = box.evening.json("--profile", "box", "train", "--data", "shapes", "--detach", "--", "--epochs", "500")[
        "run"
    ]
    assert "is training already" in box.refused("train", "--data", "shapes")
    assert run_id in box.gpu("cancel", run_id)
    assert "nothing from it" in box.refused("destroy")
    assert "bring it home now?" in box.answer("jobs")
    assert (box.evening.folder / "runs" / run_id / "verified.json").exists()
    assert processes_of(box.machine.home) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("ip",), "no elastic IP"),
        (("get", "p2"), "no kinds and no instance id"),
        (("resize", "t2"), "cannot change what it is"),
        (("quota",), "no quotas"),
        (("types",), "no market"),
        (("cost",), "between you and its owner"),
        (("audit",), "nothing else"),
        (("destroy",), "removes nothing from it"),
        (("destroy", "--abandon"), "removes nothing from it"),
        (("destroy", "--dry-run"), "removes nothing from it"),
        (("keep", "4h"), "never stops by itself"),
        (("start", "--spot"), "Leave --type and --spot out"),
        (("start", "--type", "p2.xlarge"), "Leave --type and --spot out"),
        (("start", "--dry-run"), "Leave --dry-run out"),
        (("init",), "is there already"),
        (("doctor", "--policy"), "no permissions"),
    ],
)
def test_what_a_server_has_not_is_said(box: Box, words: tuple[str, ...], said: str) -> None:
    answer = box.refused(*words)
    assert said in answer
    assert "your own" in answer or "permissions" in answer
    assert [entry.name for entry in box.machine.home.iterdir()] == ["gpu"]


def test_doctor_and_ssh_config(box: Box) -> None:
    said = box.gpu("doctor")
    assert "the expected host key" in said
    assert "torch there" in said
    assert "self-stop" not in said
    assert "quota" not in said
    assert box.gpu("ssh-config").startswith("Host gpu-box-p2\n    HostName 127.")


def test_where_there_is_no_environment(box: Box) -> None:
    box.evening.prepare()
    (box.machine.home / "gpu" / "env").unlink()
    assert "a link to one" in box.gpu("doctor")
    assert "gpu doctor --fix" in box.refused("train", "--data", "shapes")


def test_a_box_that_is_silent_or_another_one(box: Box) -> None:
    known = box.machine.address.known_hosts
    assert known is not None
    lines = known.read_text()
    known.write_text("")
    for words in (("start",), ("ssh", "--", "touch canary"), ("jobs",)):
        said = box.gpu(*words, code=1)
        assert "is not in your known_hosts" in said or "Host key verification failed" in said
    assert not (box.machine.home / "canary").exists()
    known.write_text(lines)
    box.machine.sshd.kill()
    box.machine.sshd.wait()
    said = box.gpu("status")
    assert "is not entered" in said
    assert "Connection refused" in said


def test_a_profile_that_cannot_be(box: Box, tmp_path: Path) -> None:
    settings = tmp_path / "gpu-home" / "config.yaml"
    settings.write_text("profiles:\n  box: {provider: server}\n")
    assert "Add `host: NAME`" in box.refused("status")
    settings.write_text("profiles:\n  box: {provider: server, host: box, ssh_port: 22022, budget: 5}\n")
    assert "sets ssh_port and budget" in box.refused("status")
    settings.write_text("profiles:\n  box: {provider: server, host: box, gpu: one}\n")
    assert "gpu of the profile box is 'one'. It takes a whole number" in box.refused("status")
    settings.write_text("profiles:\n  box: {provider: server, host: -oProxyCommand=touch}\n")
    assert "your SSH configuration says nothing usable" in box.refused("start")


def test_a_gpu_that_others_use_is_not_taken(box: Box) -> None:
    """Number 0 computes for somebody else, 2 holds memory for a program that cannot be seen."""
    box.evening.prepare()
    box.has_gpus(GPUS, PROGRAMS)
    words = ("train", "--data", "shapes", "--detach", "--epochs", "500")
    assert "GPU 2 of box is in use by somebody" in box.refused(*words, "--gpu", "2")
    assert "has no GPU 7. It has: 0, 1, 2, 3" in box.gpu(*words, "--gpu", "7", code=2)
    box.has_gpus(GPUS.replace(", 3, ", ", 9000, "))
    assert "every GPU of box is in use: GPU 0 by somebody" in box.refused(*words)
    assert not (box.machine.home / "gpu" / "runs").exists()
    box.has_gpus(GPUS, PROGRAMS)
    assert "on GPU 1 of box: Tesla T4" in box.gpu(*words)
    run = next((box.machine.home / "gpu" / "runs").glob("2*"))
    assert json.loads((run / "job.json").read_text())["environment"] == {"CUDA_VISIBLE_DEVICES": "GPU-bbbb"}
    facts = json.loads((run / "lock").read_text())
    assert b"CUDA_VISIBLE_DEVICES=GPU-bbbb" in (Path("/proc") / str(facts["trainer"]) / "environ").read_bytes()
    taken = box.evening.json("--profile", "box", "jobs")[0]["run"]
    box.gpu("cancel", taken)
    box.has_gpus(GPUS.replace("1, GPU-bbbb, 3", "1, GPU-bbbb, 9000"))
    assert "on GPU 3 of box: Tesla T4" in box.gpu("train", "--resume", taken, "--detach")
    assert json.loads((run / "job.json").read_text())["environment"] == {"CUDA_VISIBLE_DEVICES": "GPU-dddd"}
