"""Runs that are resumed, followed and damaged while they come home; a command stands in for the trainer."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from orchestrator import settings
from orchestrator.errors import GpuError, UsageError
from orchestrator.remote import jobs
from orchestrator.remote.job import Job
from orchestrator.remote.ssh import connect
from orchestrator.reporter import Progress, Silent
from orchestrator.settings import Home
from orchestrator.verbs import resumption, runs
from orchestrator.verbs.desk import Desk
from trainer import run_folder

from ..remote.conftest import eventually, machine  # noqa: F401
from .conftest import Evening
from .test_box import Box, box  # noqa: F401

FAILS_ONCE = 'case "$0" in --resume) sleep 60 ;; *) echo 1 > result; exit 9 ;; esac'


class Listener(Silent):
    """Does something of its own when a copy has ended."""

    def __init__(self) -> None:
        self.copied: Callable[[], object] = lambda: None
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    @contextmanager
    def progress(self, title: str, total: float | None = None, unit: str = "") -> Iterator[Progress]:  # type: ignore[override]
        with super().progress(title, total, unit) as bar:
            yield bar
        self.copied()


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def desk(box: Box, listener: Listener) -> Desk:  # noqa: F811
    home = Home.from_environment()
    return Desk(home, settings.load(home.config_file).profile("box"), "p2", listener, box.evening.folder)


def begin(box: Box, desk: Desk, script: str) -> str:  # noqa: F811
    """A run of this shell script in its folder, as `gpu train --detach` leaves one."""
    # In the order of their beginning, also where several begin in one second.
    run_id = f"20260101-0000{len(list(desk.runs.glob('*'))):02}-pets-0000"
    (desk.runs / run_id).mkdir(parents=True)
    desk.ledger.add(run_id, kind=desk.kind, runs=desk.runs)
    with connect(box.machine.address) as connection:
        job = {
            "run_id": run_id,
            "data": "pets",
            "model": "m",
            "command": ["sh", "-c", f"cd ~/gpu/runs/{run_id}; {script}"],
        }
        jobs.start_run(connection, run_id, job)
    return run_id


def ended(box: Box, run_id: str) -> Job:  # noqa: F811
    with connect(box.machine.address) as connection:
        eventually(lambda: not jobs.state(connection, run_id).running)
        return jobs.state(connection, run_id)


def waiting(desk: Desk) -> list[str]:
    return [entry.run_id for entry in desk.ledger.unfetched()]


def test_a_run_that_is_resumed_while_it_comes_home_is_not_home(box: Box, desk: Desk, listener: Listener) -> None:  # noqa: F811
    run_id = begin(box, desk, FAILS_ONCE)
    assert ended(box, run_id).exit_code == 9
    listener.copied = lambda: resumption.launch(desk, run_id, resumption.Again(), lambda _: None)
    with pytest.raises(GpuError, match="was resumed while it was brought home, and is running"):
        runs.pull(desk, run_id)
    verified = desk.runs / run_id / run_folder.VERIFIED
    assert waiting(desk) == [run_id] and not verified.exists()
    listener.copied = lambda: None
    assert box.gpu("pull") == f"{run_id} is running: it is not home\n"
    runs.cancel(desk, run_id)
    assert runs.pull(desk, None) == runs.Pulled([verified.parent], [])
    assert waiting(desk) == [] and verified.exists()


def test_a_pull_just_before_a_resumption_begins_does_not_hide_it(box: Box, desk: Desk) -> None:  # noqa: F811
    run_id = begin(box, desk, FAILS_ONCE)
    ended(box, run_id)
    resumption.launch(desk, run_id, resumption.Again(), lambda _: runs.pull(desk, run_id))
    assert waiting(desk) == [run_id]
    assert not (desk.runs / run_id / run_folder.VERIFIED).exists()


def test_what_cannot_be_resumed_is_said_before_a_machine_is_started(evening: Evening) -> None:
    for wrong in ("nope", "x;y\n", "20260101-000000-pets"):
        said = evening.gpu("train", "--resume", wrong, code=2).stderr
        assert "is not the id of a run" in said and len(said.splitlines()) == 1
    assert "not up" in evening.gpu("sandbox", "status", code=1).stderr


def test_the_last_run_that_can_go_on_is_resumed(box: Box, desk: Desk) -> None:  # noqa: F811
    def resume(run_id: str) -> str:
        return resumption.launch(desk, run_id, resumption.Again(), lambda _: None)

    failed = begin(box, desk, FAILS_ONCE)
    ended(box, failed)
    ended(box, begin(box, desk, "true"))
    with pytest.raises(UsageError, match=f"no run {failed[:-4]}.* on the machine. Did you mean .*{failed}"):
        resume(failed[:-4] + "0001")
    running = begin(box, desk, "sleep 60")
    with pytest.raises(GpuError, match=f"training already: {running}"):
        resume(failed)
    assert ended(box, failed).exit_code == 9
    runs.cancel(desk, running)
    jobs_before = {job.run_id: job.attempt for job in runs.list_jobs(desk)}
    assert resume("last") == running
    assert {**jobs_before, running: 2} == {job.run_id: job.attempt for job in runs.list_jobs(desk)}
    for run_id in ("no\nrun", "\x1b[2J"):
        with pytest.raises(UsageError) as refused:
            runs.cancel(desk, run_id)
        assert str(refused.value).isprintable()


def test_several_follow_and_one_log_is_kept(box: Box, desk: Desk) -> None:  # noqa: F811
    run_id = begin(box, desk, "echo begin; while test ! -e ~/go; do sleep 0.1; done; seq 2000")
    seen: list[list[bytes]] = [[], [], []]
    followers = [threading.Thread(target=runs.follow, args=(desk, run_id, each.append)) for each in seen]
    for follower in followers:
        follower.start()
    for each in seen[:1]:
        eventually(lambda each=each: each)
    (box.machine.home / "go").touch()
    for follower in followers:
        follower.join(30)
    whole = (box.machine.home / "gpu" / "runs" / run_id / run_folder.LOG).read_bytes()
    log = desk.runs / run_id / run_folder.LOG
    assert log.read_bytes() == whole
    assert all(whole.endswith(b"".join(each)) and each for each in seen)

    log.write_bytes(whole + whole)
    runs.follow(desk, run_id, (again := []).append)
    assert log.read_bytes() == b"".join(again) == whole
    log.write_bytes(whole[:5])
    runs.follow(desk, run_id, (rest := []).append)
    assert b"".join(rest) == whole[5:] and log.read_bytes() == whole


def test_damage_here_is_mended_and_damage_there_is_said(box: Box, desk: Desk, listener: Listener) -> None:  # noqa: F811
    whole = "echo one > result; sha256sum result > SHA256SUMS"
    first = begin(box, desk, whole)
    ended(box, first)
    runs.pull(desk, first)
    result = desk.runs / first / "result"
    times = result.stat().st_atime_ns, result.stat().st_mtime_ns
    result.write_text("eno\n")
    os.utime(result, ns=times)
    runs.pull(desk, first)
    assert result.read_text() == "one\n"

    damaged = [begin(box, desk, f"{whole}; echo two > result")]
    ended(box, damaged[0])
    damaged.append(begin(box, desk, f"{whole}; echo garbage > SHA256SUMS"))
    ended(box, damaged[1])
    last = begin(box, desk, whole)
    ended(box, last)
    with pytest.raises(GpuError, match=f"{damaged[1]} is damaged on the machine itself: .* SHA256SUMS.*--abandon"):
        runs.pull(desk, None)
    assert [
        line for line in listener.lines if f"{damaged[0]} is damaged" in line and line.endswith("do not fit result")
    ]
    assert waiting(desk) == damaged and (desk.runs / last / run_folder.VERIFIED).exists()
    for run_id in damaged:
        shutil.rmtree(box.machine.home / "gpu" / "runs" / run_id)
    runs.pull(desk, None)
    assert waiting(desk) == []
