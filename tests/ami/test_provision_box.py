"""`gpu doctor --fix`: the script sent over SSH and run there, on a machine of one's own and on one of the sandbox."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import UsageError
from orchestrator.providers.aws.provider import AwsProvider
from orchestrator.providers.base import LeftAlone, Wish
from orchestrator.providers.server import ServerProvider
from orchestrator.reporter import Silent
from orchestrator.sandbox import region
from orchestrator.settings import Home, Profile
from orchestrator.verbs import machine as machines
from orchestrator.verbs import provision
from orchestrator.verbs.desk import Desk

from ..end_to_end.test_box import Box, box, listing  # noqa: F401
from ..remote.conftest import Machine, eventually, machine  # noqa: F401
from . import shelf

PIP = "[global]\nno-index = true\nfind-links = {}\n"


@pytest.fixture
def bare(box: Box, tmp_path: Path) -> Box:  # noqa: F811
    """A server of one's own without an environment; pip there knows a folder of small packages."""
    configuration = box.machine.home / ".config/pip/pip.conf"
    configuration.parent.mkdir(parents=True)
    configuration.write_text(PIP.format(shelf.fill(tmp_path / "wheels")))
    (box.machine.home / "gpu/env").unlink()
    has_vgg16(box.machine.home)
    return box


def has_vgg16(home: Path) -> None:
    """So that nobody looks for it in the net."""
    file = home / ".cache/torch/hub/checkpoints/vgg16-397923af.pth"
    file.parent.mkdir(parents=True)
    file.touch()


def test_a_server_without_an_environment_gets_one(bare: Box) -> None:
    """Nothing outside the home folder, nothing through sudo (`box` looks), and Ctrl-C in the middle loses nothing."""
    before = listing()
    assert "`gpu doctor --fix` makes one in your home folder" in bare.gpu("doctor")
    process = bare.evening.start("--profile", "box", "doctor", "--fix")
    assert process.stderr
    for line in process.stderr:
        if "making an environment" in line:
            break
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130

    wishes = bare.evening.folder / "requirements.txt"
    wishes.write_text("six==1.0\n")
    said = bare.gpu("doctor", "--fix", "--requirements", str(wishes))
    assert "ok     environment  torch 2.14.1 on Python" in said
    assert "ready, after" in said
    assert "torch 2.14.1; no GPU: trains on the CPU" in said
    env = bare.machine.home / "gpu/env"
    assert env.readlink() == bare.machine.home / "gpu/envs/torch-2.14.1"
    assert len((env / "requirements.sha256").read_text()) == 65
    assert {entry.name for entry in bare.machine.home.iterdir()} <= {"gpu", ".cache", ".config"}
    assert listing() == before


@pytest.mark.slow
def test_what_cannot_be_mended_is_said(bare: Box) -> None:
    """Without a word of the packages' sources nothing can be installed."""
    shutil.rmtree(bare.evening.folder.parent / "wheels")
    said = bare.refused("doctor", "--fix")
    assert "failed after" in said
    assert "ERROR: Cannot install torch==2.14.1" in said or "ERROR: No matching distribution" in said
    assert "gpu: box is not ready: environment weights." in said
    assert "gpu/provision/log.txt" in said


def test_requirements_without_fix_are_refused(bare: Box) -> None:
    wishes = bare.evening.folder / "requirements.txt"
    wishes.write_text("six\n")
    assert "Add --fix" in bare.gpu("doctor", "--requirements", str(wishes), code=2)


@pytest.mark.parametrize(
    "line",
    [
        *("-r other.txt", "--constraint=c.txt", "-e .", "./here", "a/b", "/opt/a-1.whl", "a.tar.gz", "-f wheels"),
        *("a @ file:///opt/a.whl", "file:///opt/a.whl", "-e file:///opt/a", "  ../b # mine"),
    ],
)
def test_a_line_about_a_file_at_home_is_refused(tmp_path: Path, line: str) -> None:
    wishes = tmp_path / "wishes.txt"
    wishes.write_text(f"six\n{line}\n")
    with pytest.raises(UsageError, match=r"wishes\.txt, line 2, names a file of this computer"):
        provision._read(wishes)


def test_other_lines_are_sent_as_they_are(tmp_path: Path) -> None:
    wishes = tmp_path / "wishes.txt"
    wishes.write_text(
        "# mine, in ./here\n\nsix==1.0 # a/b\nrequests[socks]>=2 ; python_version < '3.9'\n"
        "git+https://example.org/a/b.git@v1#egg=b\nc @ https://example.org/c.whl\n-e git+ssh://git@example.org/d\n"
        "--extra-index-url https://example.org/simple\n-r https://example.org/r.txt\nzope.interface\n"
    )
    assert provision._read(wishes) == wishes.read_bytes()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("GPU_SANDBOX_DELAY", "0.2")
    home = Home.from_environment()
    yield Desk(home, Profile("sandbox", emulated=True, ssh_port=2222), "t2", Silent(), tmp_path)
    region.down(home.sandbox, purge=True)


def test_a_machine_of_the_sandbox_is_made_ready(desk: Desk) -> None:
    """Its environment is the one that gpu runs in, which is left alone."""
    machines.start(desk, Wish("t2"))
    [disk] = (desk.home.sandbox / "instances").glob("i-*")
    with desk.connect() as connection:
        provision.provision(desk, connection, desk.provider())
        log = connection.check("cat gpu/provision/log.txt").stdout.decode()
    assert " ready, after " in log.splitlines()[-1]
    assert "your own" in log
    assert "PasswordAuthentication no" in (disk / "etc/ssh/sshd_config.d/05-gpu-no-passwords.conf").read_text()


def test_each_provider_has_its_profile() -> None:
    own = ServerProvider("box", "p2")
    assert isinstance(own, LeftAlone)
    assert provision.command(own) == "exec bash gpu/provision/provision.sh server 2>&1"
    assert " machine --requirements gpu/" in provision.command(AwsProvider, with_requirements=True)  # type: ignore[arg-type]
