"""Two ways to do the same, in turn in one run, so that whatever else the computer does strikes both."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Home:
    """A sandbox of its own with a running t2 machine."""

    folder: Path
    delay: float = 0.4
    """Seconds for which the sandbox's machines are pending, and as long stopping."""

    @property
    def environment(self) -> Mapping[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "GPU_"))}
        credentials = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "thing", "AWS_DEFAULT_REGION": "us-west-2"}
        own = {"GPU_HOME": str(self.folder), "HOME": str(self.folder), "GPU_SANDBOX_DELAY": str(self.delay)}
        return {**kept, **credentials, **own}

    def run(self, *argv: str) -> str:
        """To its end; what it printed. Raises when it fails."""
        done = subprocess.run(
            argv, capture_output=True, text=True, env=self.environment, stdin=subprocess.DEVNULL, check=False
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stderr}")
        return done.stdout

    def gpu(self, *words: str) -> str:
        return self.run(program("gpu"), "-k", "t2", *words)

    @property
    def endpoint(self) -> str:
        return str(json.loads(self.gpu("--json", "sandbox", "status"))["endpoint_url"])

    def address(self) -> Mapping[str, str]:
        """What `gpu status` tells any SSH client."""
        found: Mapping[str, str] = json.loads(self.gpu("--json", "status"))["ssh"]
        return found


def program(name: str) -> str:
    """The one beside this Python."""
    return str(Path(sys.executable).with_name(name))


@contextmanager
def home(delay: float = 0.4) -> Iterator[Home]:
    with tempfile.TemporaryDirectory(prefix="gpu-benchmark-") as folder:
        made = Home(Path(folder), delay)
        try:
            made.gpu("start")
            yield made
        finally:
            made.gpu("sandbox", "down", "--purge")


def rounds(default: int) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=default, help=f"how often each is measured ({default})")
    return int(parser.parse_args().rounds)


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def compare(ours: Callable[[], float], theirs: Callable[[], float], count: int) -> tuple[list[float], list[float]]:
    """Seconds of each, measured in turn; which of the two goes first changes with every round."""
    mine, other = [], []
    for number in range(count):
        for which in (0, 1) if number % 2 else (1, 0):
            (other if which else mine).append((theirs if which else ours)())
    return mine, other


def report(title: str, ours: list[float], theirs: list[float], names: tuple[str, str]) -> None:
    mine, other = statistics.median(ours), statistics.median(theirs)
    sys.stdout.write(
        f"{title}: {names[0]} {mine:.3f} s, {names[1]} {other:.3f} s (medians of {len(ours)}); "
        f"ratio {mine / other:.2f}, difference {mine - other:+.3f} s\n"
    )
