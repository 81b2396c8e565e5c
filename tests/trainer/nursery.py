"""Processes that begin in a moment: each is forked from one that has imported torch and done nothing with it.

What they run is real, and so is what strikes them; only the seconds of the import are saved, fifty times over.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Child:
    """A process under way, all of whose output goes to `log`."""

    number: int
    log: Path
    _nursery: subprocess.Popen[str]

    def strike(self, signal: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.number, signal)

    def wait(self) -> int:
        """Its exit code, or the number of the signal that ended it, negative."""
        assert self._nursery.stdin is not None and self._nursery.stdout is not None
        self._nursery.stdin.write("wait\n")
        self._nursery.stdin.flush()
        return int(self._nursery.stdout.readline())

    def said(self) -> str:
        return self.log.read_text()


@dataclass
class Nursery:
    """One child at a time."""

    _process: subprocess.Popen[str]

    def begin(self, module: str, log: Path, *arguments: object) -> Child:
        """`module.main(arguments)` in a process of its own."""
        assert self._process.stdin is not None and self._process.stdout is not None
        log.write_bytes(b"")
        order = json.dumps({"module": module, "log": str(log), "arguments": [str(word) for word in arguments]})
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        return Child(int(self._process.stdout.readline()), log, self._process)


@contextmanager
def nursery(**environment: str) -> Iterator[Nursery]:
    """A nursery that is closed, with its last child, at the end."""
    argv = [sys.executable, "-m", "tests.trainer.nursery"]
    root = Path(__file__).parents[2]
    # One thread each: with more of them than idle processors, OpenMP's threads wait for each other most of the time.
    alone = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    with subprocess.Popen(
        argv, cwd=root, env=alone, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            yield Nursery(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()


def _serve() -> None:
    importlib.import_module("torch")
    importlib.import_module("torchvision")
    child = 0
    for line in sys.stdin:
        if line == "wait\n":
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
            child = 0
            continue
        child = os.fork()
        if child == 0:
            _live(json.loads(line))
        print(child, flush=True)
    if child:
        os.kill(child, 9)
        os.waitpid(child, 0)


def _live(order: dict[str, object]) -> None:
    code = 70
    try:
        log = os.open(str(order["log"]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for target, source in ((0, nothing), (1, log), (2, log)):
            os.dup2(source, target)
        code = importlib.import_module(str(order["module"])).main(order["arguments"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
