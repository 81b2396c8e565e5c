"""A home folder, and a system's root beside it, for `ami/provision.sh`; run as a user who may write nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from . import shelf

FOLDER = Path(__file__).parents[2] / "ami"
FILES = ("provision.sh", "environments.yaml", "examine.py", "selfstop.sh")
STRANGER = 61000 + os.getpid() % 4000
"""A user id that owns nothing anywhere, where the tests are root's."""


@dataclass
class Grounds:
    """`root` is what `$GPU_ROOT` says for a machine; the home folder is in it."""

    root: Path
    more: dict[str, str] = field(default_factory=dict)
    said: str = ""
    """What the run said that made it ready."""

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def env(self) -> Path:
        return self.home / "gpu/env"

    @property
    def packages(self) -> Path:
        [found] = self.env.glob("lib/python3*/site-packages")
        return found

    def environment(self, profile: str) -> dict[str, str]:
        machine = {"GPU_ROOT": str(self.root)} if profile == "machine" else {}
        return {
            "HOME": str(self.home),
            "PATH": f"{self.root}/bin:/usr/local/bin:/usr/bin:/bin",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.root / "wheels"),
            "GPU_WEIGHTS_MIRROR": (self.root / "mirror").as_uri(),
            **machine,
            **self.more,
        }

    def argv(self, *words: str) -> list[str]:
        become = ["setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups", "--"]
        return [*(become if os.geteuid() == 0 else []), "bash", str(self.root / "ami/provision.sh"), *words]

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*words),
            env=self.environment(words[0]),
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=280,
        )

    def source(self, lines: str) -> str:
        """What lines of shell print that use the script's own functions, on a machine of the cloud."""
        argv = self.argv()
        argv = [*argv[:-1], "-c", f'. "$1"; profile=machine looking=1; privilege; {lines}', "source", argv[-1]]
        done = subprocess.run(
            argv, env=self.environment("machine"), cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        return done.stdout

    def ready(self, *words: str) -> str:
        """What it says; it must end well."""
        done = self.call(*words)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return done.stdout

    def wrong(self, *words: str) -> list[str]:
        """The parts that it names as missing or broken."""
        done = self.call(*words)
        assert done.returncode == 1, done.stdout + done.stderr
        [last] = [line for line in done.stdout.splitlines() if line.startswith("not ready: ")]
        return last.partition(": ")[2].split()

    def write(self, name: str, text: str, *, mode: int = 0o644) -> Path:
        file = self.root / name
        for folder in reversed([*file.relative_to(self.root).parents][:-1]):
            if not (self.root / folder).exists():
                (self.root / folder).mkdir()
                own(self.root / folder)
        file.write_text(text)
        file.chmod(mode)
        own(file)
        return file

    def program(self, name: str, text: str) -> Path:
        return self.write(f"bin/{name}", f"#!/bin/sh\n{text}\n", mode=0o755)

    def has_gpu(self, device: str, driver: str = "", capability: str = "") -> None:
        """On the PCI bus; without a driver `nvidia-smi` is not there."""
        alias = f"pci:v000010DEd0000{device.upper()}sv000010DEsd000012A2bc03sc02i00"
        self.write("sys/bus/pci/devices/0000:00:1e.0/modalias", alias + "\n")
        if driver:
            self.program("nvidia-smi", smi(driver, capability))

    def has_no_gpu(self) -> None:
        shutil.rmtree(self.root / "sys", ignore_errors=True)
        (self.root / "bin/nvidia-smi").unlink(missing_ok=True)

    def done(self) -> list[str]:
        """What the stand-ins were asked for."""
        file = self.root / "done"
        return file.read_text().splitlines() if file.exists() else []


def smi(driver: str, capability: str) -> str:
    """Shell lines that answer as nvidia-smi does."""
    return f'case "$*" in *driver_version*) echo {driver} ;; *compute_cap*) echo {capability} ;; esac'


def own(path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(path, STRANGER, STRANGER, follow_symlinks=False)


def lay_out() -> Iterator[Grounds]:
    """The script and its files, wheels, an empty home; everything goes away afterwards.

    Not in pytest's own folder, which nobody else may enter.
    """
    root = Path(tempfile.mkdtemp(prefix="gpu-grounds-", dir="/tmp"))
    try:
        root.chmod(0o755)
        made = Grounds(root)
        for name in FILES:
            made.write(f"ami/{name}", (FOLDER / name).read_text())
        made.write("home/.bashrc", "case $- in *i*) ;; *) return ;; esac\n")
        made.write("home/.profile", '[ -z "$BASH_VERSION" ] || . ~/.bashrc\n')
        shelf.fill(root / "wheels")
        for path in (root, *root.rglob("*")):
            own(path)
        yield made
    finally:
        shutil.rmtree(root)


def listing(*folders: Path, without: Mapping[str, str] | tuple[str, ...] = ()) -> dict[str, tuple[int, int, int]]:
    """Every path below, with what a change of it would show; `without` are names that may change."""
    found = {}
    for folder in folders:
        for path in folder.rglob("*"):
            if path.name not in without:
                status = path.lstat()
                found[str(path)] = (status.st_mode, status.st_size if path.is_file() else 0, status.st_mtime_ns)
    return found
