"""A machine's root in a folder, its processes below a first one of its own, and time that passes when told to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.sandbox import processes

SCRIPT = Path(__file__).parents[2] / "ami/selfstop.sh"

_INIT = """
import subprocess, sys
from orchestrator.sandbox import processes
processes.become_subreaper()
processes.die_with_parent()
for line in sys.stdin:
    subprocess.Popen(["/bin/bash", "-c", line], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
"""

_NOTING = """#!/bin/sh
echo "${0##*/} $*" >>"$GPU_ROOT/done"
"""


def eventually(fact: Callable[[], object], seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.02)


@dataclass
class Box:
    root: Path
    init: subprocess.Popen[str]
    booted: int
    """The computer's uptime at the boot, in hundredths of a second."""

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def wishes(self) -> Path:
        return self.home / "gpu/selfstop"

    @property
    def state(self) -> Path:
        return self.root / "run/gpu-selfstop/state"

    @property
    def environment(self) -> dict[str, str]:
        system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": f"{self.root}/bin:{system}", "GPU_ROOT": str(self.root), "TMPDIR": str(self.root)}

    def boot(self, identity: str = "one", up: float = 1000) -> None:
        """As if it had been switched on `up` seconds ago."""
        now = int(Path("/proc/uptime").read_text().split()[0].replace(".", ""))
        self.booted = now - int(up * 100)
        self._write_boot(identity)

    def _write_boot(self, identity: str) -> None:
        self.identity = identity
        (self.root / "run/boot").write_text(f"{identity} {self.booted} {self.init.pid}\n")

    def later(self, seconds: float) -> None:
        self.booted -= int(seconds * 100)
        self._write_boot(self.identity)

    def configure(self, **seconds: int) -> None:
        text = "USER=ubuntu\n" + "".join(f"{name}={value}\n" for name, value in seconds.items())
        self.write("etc/gpu/selfstop.conf", text)

    def write(self, name: str, text: str, *, mode: int = 0o644) -> Path:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)
        return file

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        argv = ["bash", str(SCRIPT), *words]
        return subprocess.run(argv, env=self.environment, capture_output=True, text=True, timeout=60, cwd=self.root)

    def tick(self) -> dict[str, Any]:
        done = self.call("tick")
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        self.said = done.stdout
        return self.facts()

    def facts(self) -> dict[str, Any]:
        return dict(json.loads((self.wishes / "status.json").read_text()))

    def minutes(self, most: int) -> int:
        """Ticks, a minute apart, until it strikes; how many there were, `most` without a strike."""
        for number in range(1, most + 1):
            self.later(60)
            self.tick()
            if self.done():
                return number
        return most

    def done(self) -> list[str]:
        """What it has had done to the system."""
        file = self.root / "done"
        return file.read_text().splitlines() if file.exists() else []

    def seem_idle(self, seconds: int) -> None:
        """As if nobody had needed it for so long."""
        lines = [f"idle={seconds * 100}" if line.startswith("idle=") else line for line in self.state_lines()]
        self.state.write_text("\n".join(lines) + "\n")

    def state_lines(self) -> list[str]:
        return self.state.read_text().splitlines()

    def start(self, line: str) -> None:
        """A process of the machine's own, from a shell line."""
        assert self.init.stdin
        self.init.stdin.write(f"{line}\n")
        self.init.stdin.flush()


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    root = tmp_path / "root"
    for folder in ("home/gpu", "run", "bin"):
        (root / folder).mkdir(parents=True)
    environment = {**os.environ, "GPU_ROOT": str(root), "TMUX_TMPDIR": str(tmp_path), "HOME": str(root / "home")}
    init = subprocess.Popen(
        [sys.executable, "-c", _INIT], stdin=subprocess.PIPE, text=True, env=environment, cwd=Path(__file__).parents[2]
    )
    made = Box(root, init, 0)
    for name in ("shutdown", "systemctl"):
        made.write(f"bin/{name}", _NOTING, mode=0o755)
    made.configure(AUTOSTOP=600, MAX=86400)
    made.boot()
    try:
        yield made
    finally:
        processes.end_all(lambda: processes.descendants(init.pid), grace=0)
        init.kill()
        init.communicate()
