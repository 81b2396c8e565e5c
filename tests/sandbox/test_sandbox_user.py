"""The sandbox serves an ordinary user too; a run of the tests as one needs no such detour."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Cloud

UID = 4711
CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def student() -> Iterator[Path]:
    """A home in /tmp: the one of the tests belongs to root alone."""
    home = Path(tempfile.mkdtemp(prefix="gpu-student-", dir="/tmp"))
    (home / "passwd").write_text(Path("/etc/passwd").read_text() + f"student:x:{UID}:{UID}::{home}:/bin/bash\n")
    os.chown(home, UID, UID)
    yield home
    shutil.rmtree(home)


def _as_student(home: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """In a mount namespace of its own, where the passwd file knows the user."""
    enter = 'mount --bind "$1" /etc/passwd && shift && exec setpriv --reuid 4711 --regid 4711 --clear-groups "$@"'
    packages = os.pathsep.join([str(CHECKOUT), *site.getsitepackages()])
    own = [f"HOME={home}", f"PYTHONPATH={packages}", "PYTHONDONTWRITEBYTECODE=1", "PATH=/usr/bin:/bin"]
    line = ["unshare", "-m", "sh", "-c", enter, "sh", f"{home}/passwd", "env", "-i", *own, *command]
    return subprocess.run(line, capture_output=True, text=True, cwd=home, timeout=120)


def _python(home: Path) -> str:
    candidates = [sys.executable, "/usr/bin/python3"]
    works = [one for one in candidates if _as_student(home, one, "-c", "import moto, boto3, tests").returncode == 0]
    if not works:
        pytest.skip("no Python with these packages can be reached by another user")
    return works[0]


@pytest.mark.skipif(os.getuid() != 0, reason="every other test here has run as an ordinary user")
def test_a_machine_for_an_ordinary_user(student: Path) -> None:
    if _as_student(student, "true").returncode:
        pytest.skip("no mount namespace can be made here")
    test = "tests/sandbox/test_sandbox_machine.py::test_a_file_and_the_address_outlive_a_stop"
    options = ["-p", "no:cacheprovider", "-c", str(CHECKOUT / "setup.cfg"), "--basetemp", str(student / "t")]
    done = _as_student(student, _python(student), "-m", "pytest", *options, str(CHECKOUT / test))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert "1 passed" in done.stdout


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_another_user_of_this_computer_is_not_heard(cloud: Cloud) -> None:
    url = f"{cloud.up().endpoint_url}/checkip"
    ask = f"import urllib.request; print(urllib.request.urlopen({url!r}).read())"
    other = ["setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups", "/usr/bin/python3", "-c", ask]
    if not Path("/usr/bin/python3").exists():
        pytest.skip("no Python that another user can reach")
    refused = subprocess.run(other, capture_output=True, text=True, cwd="/")
    assert refused.returncode != 0 and "127.0.0.1" not in refused.stdout
    assert subprocess.run(other[-3:], capture_output=True, text=True, cwd="/").stdout.strip() == r"b'127.0.0.1\n'"
