"""`ami/provision.sh` in a clean Debian: a real system, real packages, the real torch. Minutes and gigabytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from . import grounds

SUITE = "bookworm"
MIRROR = os.environ.get("DEBIAN_MIRROR", "").split()
"""Where Debian comes from, unless it is debootstrap's own choice."""
USER = "student"
HOME = f"/home/{USER}"
REPOSITORY = Path(__file__).parents[2]
ENTER = """
root=$1; for folder in proc dev $FOLDERS; do
  mkdir -p "$root/$folder" && mount --rbind "/$folder" "$root/$folder" || exit 99
done
mount -t tmpfs tmpfs "$root/run" || exit 99
exec chroot "$@"
"""
WAYS_OUT = ("/etc/resolv.conf", "/etc/hosts")
CHANGING = ("log.txt", "journal", "log", "cache", "lock")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="a root of its own takes root"),
    pytest.mark.skipif(shutil.which("debootstrap") is None, reason="debootstrap is not here"),
]


@dataclass
class Debian:
    root: Path
    folders: str
    """Those of this computer that its pip takes packages from."""

    def call(self, *words: str, seconds: float = 1500, **environment: str) -> subprocess.CompletedProcess[str]:
        """As root, in a namespace of its own: nothing that is mounted there stays."""
        enter = ["unshare", "--mount", "sh", "-c", ENTER, "enter", str(self.root)]
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        clean = {"PATH": path, "HOME": "/root", "FOLDERS": self.folders, "SYSTEMD_OFFLINE": "1", **environment}
        return subprocess.run(
            [*enter, *words], env=clean, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds
        )

    def check(self, *words: str) -> str:
        done = self.call(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def provision(self, *words: str) -> subprocess.CompletedProcess[str]:
        done = self.call("bash", "/opt/gpu/provision.sh", "machine", "--user", USER, *words)
        assert done.stderr == ""
        return done

    def visit(self, command: str) -> str:
        """A command as sshd gives it to the user's shell, which is none of a login."""
        account = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", "--"]
        return self.check(*account, "env", f"HOME={HOME}", "SSH_CLIENT=look", "bash", "-c", f"cd; {command}")


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    root = tmp_path_factory.mktemp("debian") / "root"
    more = "--include=openssh-server,sudo"
    subprocess.run(["debootstrap", more, SUITE, root, *MIRROR], check=True, capture_output=True, timeout=1500)
    made = Debian(root, copy_pip_configuration(root))
    for name in WAYS_OUT:
        (root / name[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(name, root / name[1:])
    made.check("useradd", "--create-home", "--shell", "/bin/bash", USER)
    # It has not been booted: systemctl is to arrange what will be, and to start nothing.
    (root / "etc/offline").write_text("SYSTEMD_OFFLINE=1\n")
    (root / "etc/sudoers.d/90-user").write_text(f"{USER} ALL=(ALL) NOPASSWD:ALL\nDefaults env_file=/etc/offline\n")
    shutil.copytree(grounds.FOLDER, root / "opt/gpu")
    yield made
    shutil.rmtree(root)


def copy_pip_configuration(root: Path) -> str:
    """Where this computer's pip finds packages, for the one in `root`; returns the folders among that."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    told = dict(line.partition(".")[2].lstrip(".").split("=", 1) for line in listed.splitlines() if "=" in line)
    chosen = {name: told[name].strip("'") for name in ("index-url", "extra-index-url", "find-links") if name in told}
    lines = [f"{name} = {value}" for name, value in chosen.items()]
    if "cert" in told:
        (root / "etc/ssl").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(told["cert"].strip("'"), root / "etc/ssl/pip.crt")
        lines.append("cert = /etc/ssl/pip.crt")
    (root / "etc/pip.conf").write_text("\n".join(["[global]", *lines, ""]))
    places = [Path(word.removeprefix("file://")) for value in chosen.values() for word in value.split()]
    # The files of an index are beside it.
    whole = [place.parent if place.name == "simple" else place for place in places if place.is_absolute()]
    return " ".join(str(place).lstrip("/") for place in whole if place.is_dir())


def test_a_clean_debian_becomes_a_machine_that_trains(debian: Debian) -> None:
    first = debian.provision()
    assert first.returncode == 0, first.stdout
    assert "ready, after" in first.stdout.splitlines()[-1]
    print(first.stdout)
    before = grounds.listing(debian.root, without=CHANGING)
    second = debian.provision()
    assert second.returncode == 0, second.stdout
    after = grounds.listing(debian.root, without=CHANGING)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert {name for name in changed if not _is_ours_to_change(debian, name)} == set()
    assert debian.provision("--check").stdout.splitlines()[-1] == "ready"

    assert "jupyter" in debian.visit("jupyter --version")
    assert debian.visit("python -c 'import torch; print(torch.__version__)'").startswith("2.14.1")
    login = debian.check("su", "--login", USER, "-c", "command -v python jupyter; locale charmap")
    assert login.split() == [f"{HOME}/gpu/env/bin/python", f"{HOME}/gpu/env/bin/jupyter", "UTF-8"]
    sshd = debian.check("sh", "-c", "mkdir -p /run/sshd && sshd -T")
    assert "passwordauthentication no" in sshd
    assert "kbdinteractiveauthentication no" in sshd

    trained = _train(debian)
    assert (trained / "model.safetensors").stat().st_size > 0


def _is_ours_to_change(debian: Debian, name: str) -> bool:
    """Times of folders in which a temporary file came and went."""
    path = Path(name)
    return path.is_dir() and str(path.relative_to(debian.root)) in (
        *("root", "etc", "tmp", "run", "proc", "dev", f"home/{USER}", f"home/{USER}/gpu/provision", "var/lib/sudo"),
        *("var/lib/sudo/lectured", "run/sudo", f"home/{USER}/gpu/provision/tmp", "var/tmp", "var"),
    )


def _train(debian: Debian) -> Path:
    """A run of the trainer as it is sent, on pictures that it tells apart."""
    home = debian.root / HOME[1:]
    shutil.copytree(REPOSITORY / "trainer", home / "code/trainer", ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("train", "valid"):
        for label, bright in (("cat", 0), ("dog", 120)):
            folder = home / "data" / part / label
            folder.mkdir(parents=True)
            for number in range(12):
                noise = Image.effect_noise((64, 64), 60).convert("RGB")
                noise.point(lambda v, add=bright: min(255, v // 2 + add)).save(folder / f"{number}.jpg")
    debian.check("chown", "-R", f"{USER}:", HOME)
    print(debian.visit("cd code && python -m trainer --data ~/data --out ~/out --cache ~/cache 2>&1"))
    return home / "out"


BREAKS = {
    "programs": "rm /usr/bin/unzip",
    "locale": "echo LANG=xx_XX.UTF-8 >/etc/default/locale",
    "passwords": "echo PasswordAuthentication yes >/etc/ssh/sshd_config.d/05-gpu-no-passwords.conf",
    "environment": f"rm -r {HOME}/gpu/env/lib/python3*/site-packages/pandas",
    "weights": f"truncate -s 1000 {HOME}/gpu/env/lib/python3*/site-packages/efficientnet*/models/*.pth",
    "path": f"sed -i 1d {HOME}/.bashrc",
    "selfstop": "systemctl disable gpu-selfstop.timer",
    "requirements": f"echo six >{HOME}/gpu/requirements.txt",
}


def test_each_broken_part_is_named_and_mended(debian: Debian) -> None:
    if not (debian.root / HOME[1:] / "gpu/env").is_symlink():
        assert debian.provision().returncode == 0
    for part, line in BREAKS.items():
        debian.check("sh", "-c", line)
        done = debian.provision("--check")
        assert done.returncode == 1
        assert done.stdout.splitlines()[-1] == f"not ready: {part}"
        # What a package manager has lost has to be given back by it.
        if part == "programs":
            debian.check("apt-get", "install", "-y", "-q", "--reinstall", "unzip")
        mended = debian.provision()
        assert mended.returncode == 0, mended.stdout
    assert debian.provision("--check").returncode == 0


def test_packages_of_the_drivers_are_there(debian: Debian) -> None:
    """apt would install them from this machine's own mirror, for a K80 and for a T4; no GPU is needed to ask."""
    debian.check("apt-get", "update", "-q")
    debian.check("bash", "-c", ". /opt/gpu/provision.sh; privilege; add_nonfree")
    debian.check("apt-get", "update", "-q")
    for entry in ("sm_37", "sm_75"):
        script = f". /opt/gpu/provision.sh; entry={entry}; driver_packages | grep -v linux-headers"
        packages = debian.check("bash", "-c", script).split()
        assert len(packages) >= 4
        debian.check("apt-get", "install", "--simulate", "-q", "--no-install-recommends", *packages)
    [added] = (debian.root / "etc/apt/sources.list.d").glob("gpu-nvidia.*")
    added.unlink()
