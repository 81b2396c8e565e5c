"""Runs in a real tmux behind a real sshd; the trainer's place is taken by whatever command the job names."""

from __future__ import annotations

import dataclasses
import json
import os
import pty
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import GpuError, ToolMissing
from orchestrator.remote import dispatch, jobs
from orchestrator.remote.failures import ConnectionLost
from orchestrator.remote.job import Job, read_job
from orchestrator.remote.ssh import Connection, connect
from orchestrator.sandbox.sshd import gives_terminals
from trainer import run_folder

from .conftest import Machine, eventually, kill

PYTHON = "~/gpu/env/bin/python"


def begin(connection: Connection, *command: str, run_id: str | None = None) -> str:
    name = run_id or run_folder.new_run_id("pets")
    job = {"run_id": name, "data": "pets", "model": "m", "note": "n", "started": "2020-01-01T00:00:00+00:00"}
    jobs.start_run(connection, name, {**job, "command": list(command)})
    return name


def folder(machine: Machine, run_id: str) -> Path:
    return machine.home / run_folder.MachineFolder().run(run_id)


def ended(machine: Machine, run_id: str) -> Job:
    with connect(machine.address) as connection:
        eventually(lambda: not jobs.state(connection, run_id).running)
        return jobs.state(connection, run_id)


def pids(machine: Machine, run_id: str) -> dict[str, int]:
    found: dict[str, int] = json.loads((folder(machine, run_id) / run_folder.LOCK).read_text())
    # The attempt's number is there too, and would be the pid of another's process.
    return {name: found[name] for name in ("wrapper", "trainer") if name in found}


def test_code_is_sent_once_and_whole(machine: Machine) -> None:
    with connect(machine.address) as connection:
        digest = dispatch.send_code(connection)
        place = machine.home / "gpu/code" / digest
        assert (place / "trainer/run_folder.py").read_bytes() == Path(run_folder.__file__).read_bytes()
        marker = place / "marker"
        marker.touch()
        assert dispatch.send_code(connection) == digest
    assert marker.exists()
    assert [entry.name for entry in place.parent.iterdir()] == [digest]


def test_the_pack_is_the_same_bytes_each_time() -> None:
    assert dispatch.pack_code() == dispatch.pack_code()


def test_a_cut_pack_leaves_nothing(machine: Machine) -> None:
    with connect(machine.address) as connection:
        done = connection.run(dispatch.send_command("0" * 32), input=b"\x1f\x8b\x08cut")
    assert done.exit_code != 0
    assert list((machine.home / "gpu/code").iterdir()) == []


def test_ready_says_what_is_there(machine: Machine) -> None:
    (machine.home / "gpu/data/pets").mkdir(parents=True)
    with connect(machine.address) as connection:
        found = jobs.ready(connection)
    assert (found.home, found.busy, found.data) == (str(machine.home), None, ("pets",))
    assert found.free_bytes > 0


def test_without_the_python_environment_it_says_so(machine: Machine) -> None:
    (machine.home / "gpu/env").unlink()
    with connect(machine.address) as connection, pytest.raises(GpuError, match="gpu/env/bin/python is not on"):
        jobs.ready(connection)


def test_tmux_missing(machine: Machine, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("sh", "bash", "test", "mkdir", "mktemp", "tar", "gzip", "mv", "rm"):
        (tools / tool).symlink_to(shutil.which(tool) or "")
    login = tmp_path / "etc/login"
    login.write_text(login.read_text().replace("unset TMUX", f"export PATH={tools}"))
    with connect(machine.address) as connection, pytest.raises(ToolMissing, match="tmux is not installed on"):
        jobs.ready(connection)


def test_a_run_from_start_to_end(machine: Machine) -> None:
    script = "import os, sys; print(os.getcwd(), sys.argv[1:], flush=True); print('oops', file=sys.stderr)"
    with connect(machine.address) as connection:
        run_id = begin(connection, PYTHON, "-c", script, "--data", "~/gpu/data/pets", "a b")
    seen: list[bytes] = []
    job = jobs.follow(lambda: connect(machine.address), run_id, 0, seen.append)
    assert (job.state, job.exit_code, job.data, job.note) == ("finished", 0, "pets", "n")
    assert job.succeeded
    log = b"".join(seen)
    assert log == (folder(machine, run_id) / run_folder.LOG).read_bytes()
    assert f"['--data', '{machine.home}/gpu/data/pets', 'a b']".encode() in log
    assert b"oops" in log
    assert (folder(machine, run_id) / run_folder.EXIT_CODE).read_bytes() == b"0\n"


def test_the_trainer_package_is_importable(machine: Machine) -> None:
    with connect(machine.address) as connection:
        run_id = begin(connection, PYTHON, "-c", "from trainer import run_folder; print(run_folder.__file__)")
    assert ended(machine, run_id).last.startswith(str(machine.home / "gpu/code"))


@pytest.mark.parametrize(("command", "code"), [(["sh", "-c", "exit 9"], 9), (["/none"], 127), ([], 78)])
def test_failures_have_their_exit_code(machine: Machine, command: list[str], code: int) -> None:
    with connect(machine.address) as connection:
        run_id = begin(connection, *command)
    job = ended(machine, run_id)
    assert (job.state, job.exit_code, job.succeeded) == ("failed", code, False)


def test_start_is_safe_to_repeat(machine: Machine) -> None:
    with connect(machine.address) as connection:
        run_id = begin(connection, "sh", "-c", "echo once; sleep 1")
        assert begin(connection, "sh", "-c", "echo twice", run_id=run_id) == run_id
        ended(machine, run_id)
        begin(connection, "sh", "-c", "echo thrice", run_id=run_id)
    assert (folder(machine, run_id) / run_folder.LOG).read_text() == "once\n"


def test_two_at_once_are_refused_naming_the_first(machine: Machine) -> None:
    with connect(machine.address) as connection:
        first = begin(connection, "sleep", "60")
        assert jobs.ready(connection).busy == first
        with pytest.raises(GpuError, match=f"training already: {first}"):
            begin(connection, "sleep", "60")
        assert jobs.state(connection, first).state == "running"
        assert [job.state for job in jobs.jobs(connection)].count("running") == 1


def test_a_killed_tmux_server_changes_nothing(machine: Machine) -> None:
    with connect(machine.address) as connection:
        run_id = begin(connection, "sh", "-c", "for i in 1 2 3 4 5 6; do echo $i; sleep 0.3; done")
        connection.check("tmux -L gpu kill-server")
        assert jobs.state(connection, run_id).state == "running"
    assert ended(machine, run_id).succeeded
    assert (folder(machine, run_id) / run_folder.LOG).read_text() == "1\n2\n3\n4\n5\n6\n"


def test_a_killed_wrapper_is_never_a_success(machine: Machine) -> None:
    with connect(machine.address) as connection:
        run_id = begin(connection, "sh", "-c", "sleep 1.5; echo done")
        kill(pids(machine, run_id)["wrapper"])
        time.sleep(0.3)
        assert jobs.state(connection, run_id).state == "running"
    assert ended(machine, run_id).state == "lost"
    assert (folder(machine, run_id) / run_folder.LOG).read_text() == "done\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_killed_trainer_has_failed(machine: Machine, number: int) -> None:
    with connect(machine.address) as connection:
        run_id = begin(connection, "sleep", "60")
    kill(pids(machine, run_id)["trainer"], number)
    job = ended(machine, run_id)
    assert (job.state, job.exit_code) == ("failed", 128 + number)
    assert job.describe() == f"was ended by signal {number:d}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_to_the_wrapper_reach_the_trainer(machine: Machine, number: int) -> None:
    with connect(machine.address) as connection:
        run_id = begin(connection, "sleep", "60")
    kill(pids(machine, run_id)["wrapper"], number)
    assert ended(machine, run_id).exit_code == 128 + number


def test_everything_killed_is_lost_and_the_machine_is_free(machine: Machine) -> None:
    with connect(machine.address) as connection:
        run_id = begin(connection, "sleep", "60")
    for pid in pids(machine, run_id).values():
        kill(pid)
    assert ended(machine, run_id).exit_code in (None, 137)
    with connect(machine.address) as connection:
        assert jobs.ready(connection).busy is None


def test_a_lock_file_is_no_lock(machine: Machine) -> None:
    (machine.home / "gpu/lock").write_text("garbage \x00")
    run_id = run_folder.new_run_id("pets")
    folder(machine, run_id).mkdir(parents=True)
    (folder(machine, run_id) / run_folder.LOCK).write_text("{")
    with connect(machine.address) as connection:
        assert jobs.ready(connection).busy is None
        assert jobs.state(connection, run_id).state == "lost"
        assert ended(machine, begin(connection, "true")).succeeded


def test_what_a_trainer_leaves_behind_is_ended_with_it(machine: Machine) -> None:
    with connect(machine.address) as connection:
        run_id = begin(connection, "sh", "-c", "sleep 60 & exit 0")
        assert ended(machine, run_id).succeeded
        eventually(lambda: jobs.ready(connection).busy is None)


def test_cancel_ends_it_and_repeats_safely(machine: Machine) -> None:
    with connect(machine.address) as connection:
        run_id = begin(connection, "sleep", "60")
        assert jobs.cancel(connection, run_id).exit_code == 143
        assert jobs.cancel(connection, run_id).exit_code == 143
        assert jobs.cancel(connection, run_folder.new_run_id("pets")).state == "absent"


def test_follow_goes_on_from_the_byte_where_it_was(machine: Machine) -> None:
    with connect(machine.address) as connection:
        run_id = begin(connection, "printf", "0123456789")
    seen: list[bytes] = []
    jobs.follow(lambda: connect(machine.address), run_id, 4, seen.append)
    assert b"".join(seen) == b"456789"


def test_follow_across_cut_connections_gives_exactly_the_log(machine: Machine) -> None:
    script = "import sys, time\nfor i in range(400): print(i, 'x' * 300, flush=True); time.sleep(0.01)"
    with connect(machine.address) as connection:
        run_id = begin(connection, PYTHON, "-c", script)
    seen: list[bytes] = []
    over = threading.Event()

    def saboteur() -> None:
        chance = random.Random(1)
        while not over.wait(chance.uniform(0.3, 1.2)):
            machine.cut()

    links: list[Connection] = []

    def dial() -> Connection:
        links.append(connect(machine.address, wait=20))
        return links[-1]

    cutter = threading.Thread(target=saboteur, daemon=True)
    cutter.start()
    threading.Timer(4.5, over.set).start()
    job = jobs.follow(dial, run_id, 0, seen.append)
    over.set()
    cutter.join()
    assert job.succeeded
    assert len(links) > 1
    assert b"".join(seen) == (folder(machine, run_id) / run_folder.LOG).read_bytes()


def test_the_follower_on_the_machine_ends_with_its_listener(machine: Machine) -> None:
    with connect(machine.address) as connection:
        run_id = begin(connection, "sleep", "60")
    threading.Timer(1.5, machine.cut).start()
    with pytest.raises(ConnectionLost), connect(machine.address) as connection:
        digest = dispatch.send_code(connection)
        connection.stream(dispatch.agent_command(digest, "follow", run_id, "0"), lambda _: None)
    eventually(lambda: not any(b"\0follow\0" in cmdline(pid) for pid in machine.processes()))


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_a_shouting_login_script_is_said(machine: Machine, tmp_path: Path) -> None:
    login = tmp_path / "etc/login"
    with connect(machine.address) as connection:
        dispatch.send_code(connection)
        login.write_text(login.read_text().replace("unset TMUX", "echo Welcome"))
        with pytest.raises(GpuError, match="answered something else"):
            jobs.ready(connection)


def test_what_the_machine_says_does_not_steer_the_terminal(machine: Machine) -> None:
    with connect(machine.address) as connection:
        run_id = begin(connection, "printf", "\\033[2Jcleared\\007")
    assert ended(machine, run_id).last == "[2Jcleared"


@pytest.mark.skipif(not gives_terminals(), reason="/dev/pts is mounted so that only root's sshd gives terminals")
@pytest.mark.parametrize("own", [False, True])
def test_attach_is_in_the_real_tmux(machine: Machine, own: bool) -> None:
    with connect(machine.address) as connection:
        run_id = begin(connection, "sh", "-c", "echo here it is; sleep 60")
    argv = jobs.attach_argv(machine.address, None if own else run_id)
    awaited = b"main" if own else b"here it is"
    assert awaited in on_terminal(argv, lambda seen: awaited in seen)


def on_terminal(argv: list[str], enough: Callable[[bytes], bool]) -> bytes:
    """What a program shows on a terminal, until it is enough or ten seconds are over."""
    ours, its = pty.openpty()
    process = subprocess.Popen(argv, stdin=its, stdout=its, stderr=its, env={**os.environ, "TERM": "xterm"})
    os.close(its)
    watchdog = threading.Timer(10, process.kill)
    watchdog.start()
    seen = b""
    try:
        while not enough(seen):
            seen += os.read(ours, 4096)
    except OSError:
        pass
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
        os.close(ours)
    return seen


def test_attach_argv_matches_the_session_exactly(machine: Machine) -> None:
    run_id = "20200101-000000-a.b-0123"
    assert jobs.attach_argv(machine.address, run_id)[-1].endswith("attach-session -t =gpu-20200101-000000-a_b-0123")


@pytest.mark.parametrize("change", [{"run_id": "../../etc"}, {"exit_code": "x"}, {"state": None}])
def test_a_lying_agent_is_refused_or_harmless(change: dict[str, Any]) -> None:
    honest = dataclasses.asdict(Job("20200101-000000-pets-0123", "running"))
    if "state" in change:
        assert read_job({**honest, **change}).state == ""
        return
    with pytest.raises(GpuError, match="cannot be read"):
        read_job({**honest, **change})
