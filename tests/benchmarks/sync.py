"""`sync.push` and `sync.pull` against `rsync -a`, near and 30 ms away, for many small files and for one large one.

Goals: the first push of the many in 0.8 of rsync's time or less, of the one in 1.1 or less; a push of what has not
changed at most 0.6 s after `ssh HOST true`.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from orchestrator.providers.base import Address
from orchestrator.remote import sync
from orchestrator.remote.openssh import ssh_argv
from orchestrator.reporter import Silent
from tests.links.proxy import delayed

from . import turns

DELAY_SECONDS = 0.03
SMALL_BYTES = 20_000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (3)")
    parser.add_argument("--files", type=int, default=5_000, help="files of 20 kB (5000)")
    parser.add_argument("--megabytes", type=int, default=200, help="of the one large file (200)")
    given = parser.parse_args()
    with turns.home() as home:
        os.environ["GPU_HOME"] = str(home.folder)
        where = home.address()
        address = Address(
            where["host"], int(where["port"]), where["user"], Path(where["key_file"]), Path(where["known_hosts"])
        )
        sources = {
            f"{given.files} files of 20 kB": many(home.folder / "many", given.files),
            f"one file of {given.megabytes} MB": one(home.folder / "one", given.megabytes),
        }
        for label, source in sources.items():
            Bench(address, source, f"{label}, no delay", given.rounds).report()
            with delayed(address, home.folder, DELAY_SECONDS) as far:
                Bench(far, source, f"{label}, 30 ms", given.rounds).report()
            shutil.rmtree(source)


def many(folder: Path, count: int) -> Path:
    for number in range(count):
        place = folder / "train" / str(number // 1000)
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.jpg").write_bytes(os.urandom(SMALL_BYTES))
    return folder


def one(folder: Path, megabytes: int) -> Path:
    folder.mkdir()
    with (folder / "large").open("wb") as stream:
        for _ in range(megabytes):
            stream.write(os.urandom(1_000_000))
    return folder


@dataclass
class Bench:
    """Each round anew: a first push, one of what is there already, a pull, by us and by rsync in turn."""

    address: Address
    source: Path
    label: str
    rounds: int
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def report(self) -> None:
        for number in range(self.rounds):
            self._round(number)
        for what in ("first push", "push again", "pull"):
            mine, other = (statistics.median(self.seconds[f"{what} {whose}"]) for whose in ("ours", "rsync"))
            line = f"{what}, {self.label}: gpu {mine:.3f} s, rsync -a {other:.3f} s, ratio {mine / other:.2f}"
            if what == "push again":
                plain = statistics.median(self.seconds["true"])
                line += f"; ssh true {plain:.3f} s, {mine - plain:.3f} s more"
            sys.stdout.write(line + f" (medians of {self.rounds})\n")
            sys.stdout.flush()

    def _round(self, number: int) -> None:
        there = {"ours": "ours", "rsync": "theirs"}
        back = {whose: self.source.with_name(f"back-{whose}") for whose in there}
        order = ("ours", "rsync") if number % 2 else ("rsync", "ours")
        for what in ("first push", "push again"):
            for whose in order:
                self._time(f"{what} {whose}", lambda whose=whose: self._push(whose, there[whose]))
        self._time("true", lambda: subprocess.run([*ssh_argv(self.address), "true"], check=True))
        for whose in order:
            self._time(f"pull {whose}", lambda whose=whose: self._pull(whose, there[whose], back[whose]))
        clear = f"rm -rf {' '.join(there.values())} .ours.*"
        subprocess.run([*ssh_argv(self.address), clear], check=True)
        for folder in back.values():
            shutil.rmtree(folder)

    def _time(self, what: str, work: Callable[[], object]) -> None:
        self.seconds.setdefault(what, []).append(turns.seconds(work))

    def _push(self, whose: str, target: str) -> None:
        if whose == "ours":
            with Silent().progress("") as bar:
                sync.push(self.address, self.source, PurePosixPath(target), bar)
        else:
            self._rsync(f"{self.source}/", f"{self.address.host}:{target}/")

    def _pull(self, whose: str, source: str, target: Path) -> None:
        if whose == "ours":
            with Silent().progress("") as bar:
                sync.pull(self.address, PurePosixPath(source), target, bar)
        else:
            self._rsync(f"{self.address.host}:{source}/", f"{target}/")

    def _rsync(self, *places: str) -> None:
        argv = ssh_argv(self.address)
        shell = shlex.join(argv[: argv.index("--")]).replace('"', "").replace("'", "")
        subprocess.run(["rsync", "-a", f"--rsh={shell}", *places], check=True)


if __name__ == "__main__":
    main()
