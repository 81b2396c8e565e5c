"""`gpu train` with everything synced, from Enter to the trainer's first line, against `ssh HOST tmux new -d ...`.

The same trainer, command and data set, on a machine that runs. What is written by hand is one `ssh` that starts the
trainer in tmux and follows its log: it looks neither whether data and code there are those at home nor whether
another run has the machine, and brings nothing home. Goal: at most 1.5 s more.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from PIL import Image

from orchestrator.providers.base import Address
from orchestrator.remote.openssh import ssh_argv
from trainer import run_folder

from . import turns

DATA = "noise"
FIRST_LINE = b"efficientnet_lite0 on "
"""What the trainer says first, once it has loaded torch and listed the data set's folders."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7, help="how often each is measured (7)")
    parser.add_argument("--images", type=int, default=1_000, help="in the data set (1000)")
    given = parser.parse_args()
    with turns.home() as home:
        photographs(home.folder / "data" / DATA, given.images)
        beginnings = Beginnings.after_a_run(home)
        measured = turns.compare(beginnings.ours, beginnings.plain, given.rounds)
        turns.report("begin a run", *measured, ("gpu train", "ssh tmux new -d"))


def photographs(folder: Path, images: int) -> None:
    """Small ones of two classes."""
    for number in range(images):
        file = folder / ("train", "valid")[number % 5 == 4] / ("cat", "dog")[number % 2] / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((64, 64), 20 + 40 * (number % 2)).save(file)


@dataclass
class Beginnings:
    """`command`: what a run of ours told the machine to do, and `code`: where, from its home folder."""

    home: turns.Home
    ssh: Sequence[str]
    code: str
    command: Sequence[str]
    numbers: count[int]

    @classmethod
    def after_a_run(cls, home: turns.Home) -> Beginnings:
        """Data and code have been sent once."""
        where = home.address()
        address = Address(
            where["host"], int(where["port"]), where["user"], Path(where["key_file"]), Path(where["known_hosts"])
        )
        made = cls(home, ssh_argv(address), "", [], count())
        made.ours()
        [file] = (home.folder / "runs").glob(f"*/{run_folder.JOB}")
        job = json.loads(file.read_text())
        return replace(made, code=str(run_folder.MachineFolder().code(job["code"])), command=job["command"])

    def ours(self) -> float:
        seconds = self._until_first_line([turns.program("gpu"), "-k", "t2", "train", "--data", DATA])
        self.home.gpu("cancel", json.loads(self.home.gpu("--json", "jobs"))[-1]["run"])
        return seconds

    def plain(self) -> float:
        name = f"plain-{next(self.numbers)}"
        out = self.command.index("--out") + 1
        command = [*self.command[:out], f"~/{name}", *self.command[out + 1 :]]
        there = " ".join(
            f"~/{shlex.quote(word[2:])}" if word.startswith("~/") else shlex.quote(word) for word in command
        )
        trainer = f"mkdir ~/{name}; cd ~/{self.code}; PYTHONUNBUFFERED=1 exec {there} >~/{name}.log 2>&1"
        line = f"tmux -L plain new -d -s {name} {shlex.quote(trainer)} && exec tail -n +1 -F ~/{name}.log"
        seconds = self._until_first_line([*self.ssh, line])
        self.home.run(*self.ssh, f"tmux -L plain kill-session -t {name}")
        return seconds

    def _until_first_line(self, argv: Sequence[str]) -> float:
        """From the start of a program until it shows the line; then it is ended, as the terminal's closing would."""
        began = time.perf_counter()
        process = subprocess.Popen(
            argv,
            cwd=self.home.folder,
            env=self.home.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert process.stdout is not None
        said = b""
        for line in process.stdout:
            said += line
            if line.startswith(FIRST_LINE):
                seconds = time.perf_counter() - began
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                return seconds
        raise SystemExit(f"{shlex.join(argv)} never came to the trainer's first line:\n{said.decode()}")


if __name__ == "__main__":
    main()
