"""`kill -9` at every write: what is there afterwards is nothing or all of it, and the next time makes it whole.

The moments are the program's own: Python tells of every file opened to be written, every folder made, every rename and
removal (`sys.addaudithook`), just before it happens.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from pictures import contents, jpeg, tree, unpacked, zipped

from orchestrator.data.check import check
from orchestrator.data.prepare import prepare
from orchestrator.data.sheets import write
from orchestrator.data.split import Amount, Shares
from orchestrator.reporter import Silent

MOMENTS = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.utime"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def moment(event: str, arguments: tuple[object, ...]) -> bool:
    if event == "open":
        return isinstance(arguments[2], int) and bool(arguments[2] & WRITING)
    return event in MOMENTS


def struck(at: int, work: Callable[[], object]) -> int:
    """Do the work in a process that is killed just before its write number `at`; returns how many there were before
    its end, or -1 when it was killed."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        seen = 0

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal seen
            if moment(event, arguments):
                if seen == at:
                    os.kill(os.getpid(), signal.SIGKILL)
                seen += 1

        try:
            sys.addaudithook(hook)
            work()
            os.write(theirs, str(seen).encode())
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    os.close(theirs)
    with os.fdopen(ours, "rb") as told:
        count = told.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return int(count) if status == 0 else -1


def every(work: Callable[[], object], step: int) -> range:
    """The numbers of the writes, or of some of them; the last ones, where things are put in place, all."""
    count = struck(-1, work)
    assert count > 20
    return range(count) if step == 1 else range(0, count, step)


SAMPLED = pytest.mark.parametrize("step", [13, pytest.param(1, marks=pytest.mark.slow)])


@SAMPLED
def test_a_preparation_is_nothing_or_whole(tmp_path: Path, step: int) -> None:
    files = {f"train/{c}.{i}.jpg": jpeg(100 * n + i) for n, c in enumerate(("cat", "dog")) for i in range(6)}
    files["train/cat.9.jpg"] = jpeg(3)[:200]
    outer = zipped(tmp_path / "all.zip", {"train.zip": zipped(tmp_path / "train.zip", files).read_bytes()})

    def work(root: Path) -> None:
        prepare("p", [outer], root=root, shares=Shares(holdout=Amount(count=1)), reporter=Silent())

    work(tmp_path / "whole")
    whole = tree(tmp_path / "whole")
    assert contents(tmp_path / "whole" / "p") == sorted(files.values())
    for number in every(lambda: work(tmp_path / "counted"), step):
        root = tmp_path / str(number)
        assert struck(number, lambda root=root: work(root)) == -1
        if (root / "p").exists():
            assert tree(root) == whole, number
        work(root)
        assert tree(root) == whole, number


@SAMPLED
def test_what_is_set_aside_is_set_aside_once(tmp_path: Path, step: int) -> None:
    files = {f"{part}/{c}/{i}.jpg": jpeg(1000 * p + 100 * n + i) for p, part in enumerate(("train", "valid"))
             for n, c in enumerate(("cat", "dog")) for i in range(4)}  # fmt: skip
    files |= {f"train/cat/bad{i}.jpg": jpeg(i)[: 100 + i] for i in range(3)}
    files |= {f"train/dog/again{i}.jpg": jpeg(1100 + i) for i in range(3)}
    files |= {f"sample/{name}": data for name, data in files.items() if name.startswith("train/dog")}

    def work(root: Path) -> None:
        check(root, "p", Silent(), fix=True)

    unpacked(tmp_path / "whole" / "p", files)
    work(tmp_path / "whole")
    whole = tree(tmp_path / "whole")
    unpacked(tmp_path / "counted" / "p", files)
    count = struck(-1, lambda: work(tmp_path / "counted"))
    assert tree(tmp_path / "counted") == whole and len(whole) == len(files) and count > 10
    for number in range(0, count, min(step, 4)):
        root = tmp_path / str(number)
        unpacked(root / "p", files)
        assert struck(number, lambda root=root: work(root)) == -1
        assert sorted(tree(root).values()) == sorted(files.values()), number
        work(root)
        assert tree(root) == whole, number


def test_a_page_is_never_half_of_one(tmp_path: Path) -> None:
    unpacked(tmp_path / "p", {f"train/{c}/{i}.jpg": jpeg(i) for c in ("cat", "dog") for i in range(3)})

    def work() -> None:
        write(tmp_path, "p", Silent(), most=2, seed=0)

    work()
    page = tree(tmp_path / ".sheets")
    for number in range(struck(-1, work)):
        assert struck(number, work) == -1
        assert tree(tmp_path / ".sheets")["p.html"] == page["p.html"]
    work()
    assert tree(tmp_path / ".sheets") == page
