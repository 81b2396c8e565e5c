"""A run's state after everything that can befall it, its turn in the queue, and its next attempt."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import GpuError
from orchestrator.remote import jobs
from orchestrator.remote.job import Job
from orchestrator.remote.ssh import Connection, connect
from trainer import run_folder

from .conftest import Machine, eventually, kill
from .test_jobs import begin, ended, folder, pids

CHECKPOINTING = "trap 'echo checkpointed; exit 143' TERM; echo began; while :; do sleep 0.1; done"


def submit(connection: Connection, *command: str, run_id: str = "", **facts: Any) -> str:
    name = run_id or run_folder.new_run_id("pets")
    jobs.start_run(connection, name, {"run_id": name, "data": "pets", "command": list(command), **facts})
    return name


def emulate(tmp_path: Path, *, path: str = "") -> Path:
    """Let logins have a $GPU_ROOT, as on an emulated machine, and programs of `path` first; returns the root."""
    root = tmp_path / "root"
    (root / "run").mkdir(parents=True)
    (root / "run/boot").write_text("first-boot 0 1\n")
    login = tmp_path / "etc/login"
    added = f'export GPU_ROOT={root} PATH="{path}:$PATH"\nunset TMUX'
    login.write_text(login.read_text().replace("unset TMUX", added))
    return root


def states(connection: Connection) -> dict[str, str]:
    return {job.run_id: job.state for job in jobs.jobs(connection)}


def test_a_queue_is_served_in_the_order_of_submission(machine: Machine) -> None:
    with connect(machine.address) as connection:
        first = begin(connection, "sleep", "60")
        order = machine.home / "order"
        # The names are in the opposite order, and the clocks of two laptops may be: neither counts.
        names = [f"2020010{day}-000000-pets-0000" for day in (4, 3, 2)]
        for name in names:
            submit(connection, "sh", "-c", f"echo {name} >> {order}; sleep 0.3", run_id=name, queue=True)
        assert states(connection) == {first: "running", **dict.fromkeys(names, "waiting")}
        assert first in jobs.state(connection, names[0]).last
        jobs.cancel(connection, first)
        for name in names:
            assert ended(machine, name).succeeded
    assert order.read_text().split() == names


def test_one_that_waits_can_be_cancelled_and_nobody_overtakes(machine: Machine) -> None:
    with connect(machine.address) as connection:
        first = begin(connection, "sleep", "60")
        second = submit(connection, "sleep", "60", queue=True)
        third = submit(connection, "true", queue=True)
        with pytest.raises(GpuError, match="gpu train --queue"):
            begin(connection, "true")
        job = jobs.cancel(connection, second)
        assert (job.state, job.exit_code) == ("failed", 143)
        assert jobs.state(connection, first).state == "running"
        kill(pids(machine, third)["wrapper"])
        eventually(lambda: jobs.state(connection, third).state == "lost")
        jobs.cancel(connection, first)
        assert jobs.ready(connection).busy is None


def test_after_a_reboot_it_is_lost_and_says_why(machine: Machine, tmp_path: Path) -> None:
    root = emulate(tmp_path)
    with connect(machine.address) as connection:
        run_id = begin(connection, "sleep", "60")
        for pid in pids(machine, run_id).values():
            if isinstance(pid, int) and pid > 1:
                kill(pid)
        eventually(lambda: not jobs.state(connection, run_id).running)
        (folder(machine, run_id) / run_folder.EXIT_CODE).unlink(missing_ok=True)
        assert jobs.state(connection, run_id).why == ""
        (root / "run/boot").write_text("second-boot 5 2\n")
        job = jobs.state(connection, run_id)
    assert (job.state, job.describe()) == ("lost", "is lost: the machine went down")


def test_another_attempt_goes_on_in_the_same_folder(machine: Machine) -> None:
    with connect(machine.address) as connection:
        run_id = submit(connection, "sh", "-c", "echo one; exit 3")
        assert ended(machine, run_id).exit_code == 3
        for _ in range(2):
            # The second time is that of a client whose answer was lost.
            submit(connection, "sh", "-c", "echo two", run_id=run_id, attempt=2)
            job = ended(machine, run_id)
            assert (job.state, job.attempt) == ("finished", 2)
    assert (folder(machine, run_id) / run_folder.LOG).read_text() == "one\ntwo\n"


@pytest.mark.slow
def test_an_attempt_never_signals_the_processes_of_the_one_before(machine: Machine) -> None:
    """Their numbers may be somebody else's by now: a wrapper that dies before it has signed leaves the old ones."""
    with connect(machine.address) as connection:
        run_id = begin(connection, "sleep", "60")
        bystander = pids(machine, run_id)["trainer"]
        begun = folder(machine, run_id) / run_folder.BEGUN
        begun.write_text(json.dumps({**json.loads(begun.read_text()), "attempt": 2}))
        threading.Timer(1, kill, (pids(machine, run_id)["wrapper"],)).start()
        threading.Timer(2, kill, (bystander,)).start()
        began = time.monotonic()
        jobs.cancel(connection, run_id)
        assert time.monotonic() - began > 1.5, "it was signalled"


def test_cancel_lets_the_trainer_write_its_checkpoint(machine: Machine) -> None:
    with connect(machine.address) as connection:
        run_id = begin(connection, "sh", "-c", CHECKPOINTING)
        eventually(lambda: jobs.state(connection, run_id).last == "began")
        job = jobs.cancel(connection, run_id)
    assert (job.exit_code, job.last) == (143, "checkpointed")


class Metadata(BaseHTTPRequestHandler):
    """The metadata service, version 2, as far as a notice goes."""

    notice: str | None = None

    def do_PUT(self) -> None:
        good = self.path == "/base/latest/api/token" and self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
        self._reply(200 if good else 400, "secret")

    def do_GET(self) -> None:
        known = self.path == "/base/latest/meta-data/spot/instance-action" and self.notice
        allowed = self.headers["X-aws-ec2-metadata-token"] == "secret"
        self._reply(401 if not allowed else 200 if known else 404, self.notice or "")

    def _reply(self, code: int, text: str) -> None:
        self.send_response(code)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def metadata() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Metadata) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/base"
        server.shutdown()
        thread.join()


def test_a_spot_notice_checkpoints_and_is_remembered(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = emulate(tmp_path)
    with metadata() as base, connect(machine.address) as connection:
        (root / "run/imds").write_text(base + "\n")
        run_id = submit(connection, "sh", "-c", CHECKPOINTING, spot=True)
        monkeypatch.setattr(Metadata, "notice", '{"action": "stop", "time": "2026-01-01T00:02:00Z"}')
        job = ended(machine, run_id)
        assert (job.state, job.why, job.last) == ("interrupted", "spot notice", "checkpointed")
        other = submit(connection, "sh", "-c", "sleep 1; echo done", spot=False)
        assert ended(machine, other).succeeded, "a machine that is no spot machine asks for no notice"
        submit(connection, "true", run_id=run_id, attempt=2)
        assert ended(machine, run_id).succeeded
    noted = (folder(machine, run_id) / run_folder.LOG).read_text()
    assert "EC2 takes this spot machine back at 2026-01-01T00:02:00Z" in noted


def test_a_budget_is_kept_on_the_machine_and_told_beforehand(machine: Machine) -> None:
    script = (
        "import json, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        "line = json.dumps(dict(event='estimate', seconds=36)) + '\\n'\n"
        f"open(sys.argv[1] + '/{run_folder.METRICS}', 'w').write(line)\n"
        "time.sleep(60)"
    )
    with connect(machine.address) as connection:
        name = run_folder.new_run_id("pets")
        command = ("~/gpu/env/bin/python", "-c", script, f"~/gpu/runs/{name}")
        # 3 s at a dollar a second; the estimate is ten times the dollars that it may cost.
        submit(connection, *command, run_id=name, budget=3, price_per_hour=3600)
        began = time.monotonic()
        job = ended(machine, name)
    assert (job.state, job.why) == ("interrupted", "budget")
    assert time.monotonic() - began < 10
    log = (folder(machine, name) / run_folder.LOG).read_text()
    told = "expected: about 36 s, $36.00 of the budget of $3 (by its first batches; the fit, not known yet,"
    assert f"{told} is counted as a tenth): after 3 s it is checkpointed and ended" in log


def test_where_logging_out_kills_tmux_is_kept_out_of_it(machine: Machine, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    asked = tmp_path / "asked"
    program(
        tools / "loginctl",
        f'echo "$*" >>{asked}\ncase $* in *KillUser*) echo KillUserProcesses=yes;; '
        f"*enable*) [ -e {tmp_path}/allowed ] && touch {tmp_path}/lingers;; "
        f"*Linger*) [ -e {tmp_path}/lingers ] && echo Linger=yes;; esac",
    )
    program(tools / "systemd-run", f'echo "run $*" >>{asked}\nwhile [ "$1" != -- ]; do shift; done; shift; exec "$@"')
    emulate(tmp_path, path=str(tools))
    with connect(machine.address) as connection:
        name = run_folder.new_run_id("pets")
        _, warning = jobs.start_run(connection, name, {"run_id": name, "command": ["true"]})
        assert "KillUserProcesses=yes" in warning and "enable-linger" in warning
        assert ended(machine, name).succeeded
        (tmp_path / "allowed").touch()
        name = run_folder.new_run_id("pets")
        assert jobs.start_run(connection, name, {"run_id": name, "command": ["true"]})[1] == ""
        assert ended(machine, name).succeeded
    assert "run --user --scope --quiet -- tmux" in asked.read_text()


def program(file: Path, text: str) -> None:
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)


@pytest.mark.parametrize("victim", ["wrapper", "trainer"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_death_is_ever_a_success(machine: Machine, victim: str, number: int) -> None:
    with connect(machine.address) as connection:
        run_id = begin(connection, "sleep", "2")
        kill(pids(machine, run_id)[victim], number)
        if (victim, number) == ("wrapper", signal.SIGKILL):
            kill(pids(machine, run_id)["trainer"])
    assert ended(machine, run_id).state in ("failed", "lost")


def test_three_hundred_runs_are_one_question(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(300):
        place = folder(machine, f"20200101-000000-pets-{number:04x}")
        place.mkdir(parents=True)
        (place / run_folder.JOB).write_text("{}")
        (place / run_folder.EXIT_CODE).write_text("0\n")
    with connect(machine.address) as connection:
        jobs.jobs(connection)
        asked: list[str] = []
        run = Connection.run
        monkeypatch.setattr(Connection, "run", lambda self, line, **how: asked.append(line) or run(self, line, **how))
        found = jobs.jobs(connection)
    assert len(found) == 300 and all(job.succeeded for job in found)
    assert len(asked) == 1


def test_old_facts_are_read(machine: Machine) -> None:
    """Of a run that an earlier version began: no begun.json, a lock without an attempt."""
    place = folder(machine, "20200101-000000-pets-0000")
    place.mkdir(parents=True)
    (place / run_folder.JOB).write_text('{"data": "pets"}')
    (place / run_folder.LOCK).write_text('{"wrapper": 1, "trainer": 1}')
    with connect(machine.address) as connection:
        assert jobs.jobs(connection) == [Job(place.name, "lost", data="pets")]
