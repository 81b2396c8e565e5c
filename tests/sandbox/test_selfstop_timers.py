"""The stand-in for systemd's timers, by itself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.sandbox import processes
from orchestrator.sandbox.disk import Disk
from orchestrator.sandbox.timers import Timers

TIMER = "[Unit]\nDescription=x\n[Timer]\nOnBootSec={boot}\nOnUnitActiveSec={repeat}\nUnit={unit}\n"
SERVICE = "# a comment\n[Service]\nType=oneshot\nExecStart={command}\nTimeoutStartSec={limit}\n"


class Bench:
    def __init__(self, root: Path) -> None:
        self.disk = Disk(root)
        for folder in (self.disk.units, self.disk.run, self.disk.log, self.disk.wanted_timers):
            folder.mkdir(parents=True)
        self.timers = Timers(self.disk, {"PATH": os.environ["PATH"], "GPU_ROOT": str(root)})

    def unit(self, name: str, text: str, **values: object) -> None:
        (self.disk.units / name).write_text(text.format(**values))

    def timer(self, name: str, command: str, *, boot: str = "0", repeat: str = "0.2s", limit: str = "90") -> None:
        self.unit(f"{name}.timer", TIMER, boot=boot, repeat=repeat, unit=f"{name}.service")
        self.unit(f"{name}.service", SERVICE, command=command, limit=limit)

    def go_on(self, fact: Callable[[], object], seconds: float = 10) -> None:
        until = time.monotonic() + seconds
        while not fact():
            assert time.monotonic() < until, "it never came true"
            self.timers.step()
            time.sleep(0.02)

    def go_on_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        self.go_on(lambda: time.monotonic() > until)

    def lines(self) -> list[str]:
        file = self.disk.root / "ran"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "root")
    yield made
    for process in made.timers.processes:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_it_runs_after_the_boot_and_again_and_again(bench: Bench) -> None:
    bench.timer("often", "sh -c 'echo x >>ran'")
    bench.timer("later", "sh -c 'echo later >>ran'", boot="1h")
    for name in ("often", "later"):
        (bench.disk.wanted_timers / f"{name}.timer").symlink_to(f"../{name}.timer")
    bench.timers.boot()
    bench.go_on(lambda: len(bench.lines()) >= 3)
    assert set(bench.lines()) == {"x"}
    listed = [line.split() for line in (bench.disk.run / "timers").read_text().splitlines()]
    assert [(name, last) for name, last, _ in listed if name == "later.timer"] == [("later.timer", "-")]
    bench.timers.obey("stop", "often.timer")
    bench.go_on_for(0.1)
    ran = len(bench.lines())
    bench.go_on_for(0.5)
    assert len(bench.lines()) == ran


def test_a_program_of_the_machine_stands_before_the_computer_s(bench: Bench) -> None:
    program = bench.disk.root / "bin/true"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho own >>ran\n")
    program.chmod(0o755)
    bench.timer("own", "/bin/true")
    bench.timers.obey("start", "own.service")
    bench.go_on(lambda: bench.lines() == ["own"])


def test_one_that_runs_is_not_started_twice_and_one_that_hangs_is_ended(bench: Bench) -> None:
    bench.timer("slow", "sh -c 'echo began >>ran; sleep 100; echo ended >>ran'", limit="0.6s")
    bench.timers.obey("start", "slow.timer")
    bench.go_on(lambda: bench.lines() == ["began"])
    [process] = bench.timers.processes
    bench.go_on_for(0.3)
    assert bench.lines() == ["began"]
    bench.go_on(lambda: bench.lines() == ["began", "began"])
    assert processes.start_time(process.pid) is None


def test_the_minute_can_be_shorter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_SANDBOX_TICK", "0.1")
    bench = Bench(tmp_path / "root")
    bench.timer("each", "sh -c 'echo x >>ran'", boot="1min", repeat="60")
    bench.timers.obey("start", "each.timer")
    bench.go_on(lambda: len(bench.lines()) >= 3, seconds=5)


@pytest.mark.parametrize(
    "text", ["", "[Timer", "\0", "[Timer]\nOnBootSec=soon\n", "[Timer]\nOnBootSec=0\nUnit=no.service"]
)
def test_a_unit_that_is_garbage_runs_nothing(bench: Bench, text: str) -> None:
    (bench.disk.units / "odd.timer").write_text(text)
    (bench.disk.units / "odd.service").write_text(text)
    for unit in ("odd.timer", "odd.service", "absent.timer", "../odd.timer"):
        bench.timers.obey("start", unit)
    bench.go_on_for(0.1)
    assert bench.timers.processes == []


def test_a_program_that_is_not_there_is_no_end_of_the_machine(bench: Bench) -> None:
    bench.timer("gone", "/no/such/program")
    bench.timers.obey("start", "gone.timer")
    bench.go_on_for(0.1)
    assert bench.timers.processes == []
