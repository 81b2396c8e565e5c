"""What home asks of the machine's self-stop and tells it, over real SSH, a machine without one included."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from orchestrator.cli import awake as cli
from orchestrator.errors import GpuError, UsageError
from orchestrator.providers.base import Address
from orchestrator.remote import awake
from orchestrator.remote.ssh import Connection, connect
from orchestrator.reporter import Silent
from orchestrator.sandbox import sshd
from orchestrator.settings import Home, Profile
from orchestrator.verbs import awake as verbs
from orchestrator.verbs.desk import Desk

from .conftest import Cloud, Instance, wait_until

PROGRAM = '"$GPU_ROOT/usr/local/bin/gpu-selfstop"'


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _near(moment: datetime | None, expected: datetime) -> bool:
    return moment is not None and abs(moment - expected) < timedelta(seconds=10)


@pytest.fixture(scope="module")
def bare(shared: Cloud) -> Instance:
    """Its user data knows nothing of self-stop."""
    return shared.machine()


@pytest.fixture
def connection(bare: Instance) -> Iterator[Connection]:
    known = bare.cloud.folder / f"known-{bare.id}"
    with connect(Address(bare.ip, 2222, sshd.user(), bare.cloud.key, known)) as made:
        made.run(f"rm -rf {PROGRAM} gpu/selfstop")
        yield made


def test_a_machine_without_one_is_told_so_and_armed(connection: Connection) -> None:
    assert awake.look(connection) is None
    with pytest.raises(GpuError, match=r"it has no gpu-selfstop\. `gpu start` installs it"):
        awake.keep(connection, _now() + timedelta(hours=1))
    awake.arm(connection, 45, 12, None)
    found = awake.look(connection)
    assert found is not None
    assert found.version == awake.version()
    wait_until(lambda: _near((awake.look(connection) or found).stop_at, _now() + timedelta(minutes=45)), "a look", 90)
    assert connection.run("systemctl is-active gpu-selfstop.timer").stdout == b"active\n"


def test_one_whose_timer_is_not_enabled_is_armed(connection: Connection) -> None:
    awake.arm(connection, 45, 12, None)
    connection.check("systemctl disable --now gpu-selfstop.timer")
    found = awake.look(connection)
    assert found is not None and not found.watching
    awake.arm(connection, 45, 12, None)
    assert connection.run("systemctl is-active gpu-selfstop.timer").stdout == b"active\n"
    found = awake.look(connection)
    assert found is not None and found.watching


def test_an_older_one_is_replaced_and_a_newer_one_left(connection: Connection) -> None:
    awake.arm(connection, 45, 12, None)
    for version in (0, awake.version() + 1):
        connection.check(f"sed -i 's/^VERSION=.*/VERSION={version}/' {PROGRAM}")
        awake.arm(connection, 45, 12, None)
        found = awake.look(connection)
        assert found is not None
        assert found.version == max(version, awake.version())


def test_keep_and_deadline_come_back_as_they_were_told(connection: Connection) -> None:
    awake.arm(connection, 0, 0, None)
    found = awake.look(connection)
    assert found is not None
    assert (found.stop_at, found.kept_until, found.deadline) == (None, None, None)
    awake.keep(connection, _now() + timedelta(hours=4))
    awake.arm(connection, 0, 24, _now() + timedelta(hours=9))
    found = awake.look(connection)
    assert found is not None
    assert _near(found.kept_until, _now() + timedelta(hours=4))
    assert _near(found.deadline, _now() + timedelta(hours=9))
    assert (found.why, found.why_deadline) == ("the budget is spent", "the budget is spent")
    awake.arm(connection, 30, 24, None)
    found = awake.look(connection)
    assert found is not None
    assert _near(found.stop_at, _now() + timedelta(hours=4.5))
    awake.keep(connection, None)
    found = awake.look(connection)
    assert found is not None
    assert (found.kept_until, found.deadline) == (None, None)


def test_a_clock_that_is_wrong_there_moves_nothing() -> None:
    """The machine believes in 2001."""
    answer: dict[str, object] = {
        "version": 1,
        "armed": True,
        "now": 10**9,
        "up": 500,
        "looked": 480,
        "reasons": [],
        "troubles": ["x\x1b[2J"],
        "idle": 60,
    }
    answer |= {"stop_at": 10**9 + 600, "why": "idle", "kept_until": None, "deadline": None, "why_deadline": ""}
    here = _now()
    found = awake._understand(json.dumps(answer).encode(), here)
    assert (found.stop_at, found.idle_since) == (here + timedelta(minutes=10), here - timedelta(minutes=1))
    assert (found.troubles, found.watching) == (("x[2J",), True)
    for silent in ({"up": 900}, {"looked": None, "up": 301}, {"armed": False}):
        assert not awake._understand(json.dumps({**answer, **silent}).encode(), here).watching


@pytest.mark.parametrize("answer", [b"", b"{}", b"[]", b"null", b'{"now": 1}', b"\xff", b'{"now": 1e999}'])
def test_an_answer_that_is_garbage_is_one_sentence(answer: bytes) -> None:
    with pytest.raises(GpuError, match="gpu-selfstop answered what cannot be read"):
        awake._understand(answer, _now())


class Listener(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def line(self, text: str) -> None:
        self.said.append(text)


def _desk(folder: Path) -> tuple[Desk, Listener]:
    listener = Listener()
    home = Home.from_environment({"GPU_HOME": str(folder)})
    return Desk(home, Profile("mine", autostop=20, max_hours=8), "p2", listener, folder), listener


def test_the_profile_s_times_arrive(connection: Connection, tmp_path: Path) -> None:
    desk, listener = _desk(tmp_path)
    verbs.arm(desk, connection, None)
    assert listener.said == []
    assert connection.check("cat gpu/selfstop/settings").stdout == b"autostop=1200\nmax=28800\n"


def test_that_it_cannot_be_armed_is_said_and_no_reason_not_to_start(
    connection: Connection, bare: Instance, tmp_path: Path
) -> None:
    systemctl = bare.cloud.box / "instances" / bare.id / "bin/systemctl"
    text = systemctl.read_text()
    systemctl.write_text("#!/bin/sh\necho 'Failed to connect to bus' >&2; exit 1\n")
    desk, listener = _desk(tmp_path)
    try:
        verbs.arm(desk, connection, None)
    finally:
        systemctl.write_text(text)
    [said] = listener.said
    assert said.startswith("the machine may not stop by itself: gpu-selfstop on")
    assert "systemd does not take its timer" in said


def test_a_month_is_the_longest_keep(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at most 31 days"):
        verbs.keep(_desk(tmp_path)[0], 32 * 86400)


def test_how_long() -> None:
    assert [cli.span(text) for text in ("4h", "90m", "1d", "1h30m", "off")] == [14400, 5400, 86400, 5400, None]
    for text in ("", "4", "-4h", "4 h", "h", "1w", "4hours", "4h;"):
        with pytest.raises(UsageError, match="Say how long"):
            cli.span(text)


def test_what_status_says_of_it() -> None:
    noon = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
    shown = verbs.shown(noon, noon)
    idle = awake.Wakefulness((), noon, noon, None, None, "", "idle for 30 minutes")
    assert list(verbs.sentences(idle, noon)) == [
        f"idle since {shown}",
        f"stops by itself at {shown}: idle for 30 minutes",
    ]
    busy = dataclasses.replace(idle, reasons=("a run", "GPU at 90 %"), idle_since=None, stop_at=None, kept_until=noon)
    assert list(verbs.sentences(busy, noon)) == [
        "awake because of: a run, GPU at 90 %",
        f"kept awake until {shown}; `gpu keep off` ends that",
        "never stops by itself",
    ]
    assert "gpu start" in next(verbs.sentences(None))


def test_the_script_is_one_that_bash_reads() -> None:
    import ami

    assert subprocess.run(["bash", "-n"], input=ami.selfstop(), text=True, check=False).returncode == 0
