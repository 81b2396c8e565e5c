"""Which GPU a run takes where others are at work: a stand-in for nvidia-smi, and real processes behind its answers."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import GpuError, UsageError
from orchestrator.remote import gpus, jobs
from orchestrator.remote.agent.vacancy import UNSEEN, Gpu
from orchestrator.remote.gpus import choose
from orchestrator.remote.ssh import Connection, connect
from trainer import run_folder

from .conftest import Machine, eventually


def gpu(index: int, *others: str, used: int = 3, mine: bool = False) -> Gpu:
    return Gpu(index, f"GPU-{index}", "Tesla T4", used, mine, others)


def test_the_emptiest_that_nobody_uses() -> None:
    assert choose([gpu(0, "alice"), gpu(1, used=400), gpu(2, used=3), gpu(3, used=3)], "box", None) == gpu(2)
    # One's own notebook is no obstacle, only the second choice.
    assert choose([gpu(0, "alice"), gpu(1, mine=True), gpu(2, used=900)], "box", None) == gpu(2, used=900)
    assert choose([gpu(0, "alice"), gpu(1, mine=True)], "box", None) == gpu(1, mine=True)
    assert choose([], "box", None) is None


def test_none_is_free() -> None:
    with pytest.raises(GpuError, match="every GPU of box is in use: GPU 0 by alice; GPU 1 by bob and carol"):
        choose([gpu(0, "alice"), gpu(1, "carol", "bob")], "box", None)


def test_the_one_that_was_named() -> None:
    both = [gpu(0, "alice"), gpu(1), gpu(2)]
    assert choose(both, "box", 2) == gpu(2)
    with pytest.raises(GpuError, match=r"GPU 0 of box is in use by alice\. Free are: 1, 2"):
        choose(both, "box", 0)
    with pytest.raises(GpuError, match=r"by alice\. None is free"):
        choose([gpu(0, "alice")], "box", 0)
    for wrong in (3, -1):
        with pytest.raises(UsageError, match=f"no GPU {wrong}. It has: 0, 1, 2"):
            choose(both, "box", wrong)
    with pytest.raises(UsageError, match="Leave --gpu out to train on the CPU"):
        choose([], "box", 0)


@pytest.fixture
def smi(machine: Machine, tmp_path: Path) -> Iterator[Path]:
    """A stand-in that is to be written, first in the PATH of every login."""
    assert machine.home.is_dir()
    programs = tmp_path / "programs"
    programs.mkdir()
    login = tmp_path / "etc" / "login"
    login.write_text(login.read_text().replace("unset TMUX\n", f'unset TMUX\nexport PATH={programs}:"$PATH"\n'))
    yield programs / "nvidia-smi"


def shows(smi: Path, cards: str, programs: str = "", code: int = 0) -> None:
    smi.write_text(
        f"#!/bin/sh\ncase $* in *gpu_uuid,pid*) printf %s {shlex.quote(programs)} ;; "
        f"*index,*) printf %s {shlex.quote(cards)} ;; *) exit 6 ;; esac\nexit {code}\n"
    )
    smi.chmod(smi.stat().st_mode | stat.S_IXUSR)


def look(machine: Machine) -> list[Gpu]:
    with connect(machine.address) as connection:
        return gpus.look(connection)


CARDS = "0, GPU-a, 15000, 16000, Tesla T4\n1, GPU-b, 3, 16000, NVIDIA H200, SXM\n"


def test_whose_programs_they_are(machine: Machine, smi: Path) -> None:
    others = subprocess.Popen(["sleep", "60"], user=_somebody())
    mine = subprocess.Popen(["sleep", "60"])
    try:
        shows(smi, CARDS, f"GPU-a, {others.pid}\nGPU-b, {mine.pid}\n")
        first, second = look(machine)
        assert (second.mine, second.others, second.name) == (True, (), "NVIDIA H200, SXM")
        assert first.others == (("nobody",) if os.getuid() == 0 else ())
    finally:
        for process in (others, mine):
            process.kill()
            process.wait()


def _somebody() -> str | None:
    return "nobody" if os.getuid() == 0 else None


def test_memory_that_nobody_seems_to_hold(machine: Machine, smi: Path) -> None:
    shows(smi, CARDS)
    first, second = look(machine)
    assert first.others == (UNSEEN,)
    assert second.free


def test_a_program_of_somebody_in_another_container(machine: Machine, smi: Path) -> None:
    shows(smi, CARDS, "GPU-b, 999999999\n")
    assert look(machine)[1].others == (UNSEEN,)


@pytest.mark.parametrize("code", [0, 9])
def test_a_driver_that_does_not_answer_is_no_gpu(machine: Machine, smi: Path, code: int) -> None:
    shows(smi, "" if code == 0 else "Failed to initialize NVML\n", code=code)
    assert look(machine) == []


def test_what_it_does_not_tell_is_not_guessed(machine: Machine, smi: Path) -> None:
    shows(smi, "0, GPU-a, [N/A], [N/A], NVIDIA GB10\n\n", "[Insufficient Permissions], [N/A]\n")
    assert [(one.index, one.used, one.free) for one in look(machine)] == [(0, None, True)]


def test_no_text_of_it_steers_the_terminal(machine: Machine, smi: Path) -> None:
    shows(smi, "0, GPU-a, 3, 16000, Te\x1b[31msla\n")
    assert look(machine)[0].name == "Te[31msla"


def test_a_login_that_prints_is_said(machine: Machine, smi: Path, tmp_path: Path) -> None:
    shows(smi, CARDS)
    login = tmp_path / "etc" / "login"
    login.write_text(login.read_text().replace("unset TMUX\n", "unset TMUX\necho Welcome\n"))
    with pytest.raises(GpuError, match="does not say who uses its GPUs"):
        look(machine)


def queued(connection: Connection, *, gpu: int | None = None, seconds: float = 0) -> str:
    """A run that says which GPU it sees."""
    name = run_folder.new_run_id("pets")
    job = {"run_id": name, "queue": True, "gpu": gpu, "gpu_at_its_turn": True}
    command = ["sh", "-c", f"echo sees $CUDA_VISIBLE_DEVICES; sleep {seconds}"]
    jobs.start_run(connection, name, {**job, "command": command})
    return name


def said(machine: Machine, run_id: str) -> str:
    return (machine.home / run_folder.MachineFolder().run(run_id) / run_folder.LOG).read_text()


def test_one_that_waited_takes_what_is_free_when_its_turn_comes(machine: Machine, smi: Path) -> None:
    shows(smi, CARDS)
    with connect(machine.address) as connection:
        first, second = queued(connection, seconds=60), queued(connection)
        assert "on GPU 1: NVIDIA H200, SXM\n" in said(machine, first)
        # Whoever had GPU 0 is done, and somebody else has come to GPU 1.
        shows(smi, CARDS.replace("15000", "3"), "GPU-b, 999999999\n")
        jobs.cancel(connection, first)
        eventually(lambda: not jobs.state(connection, second).running)
    assert f"behind {first}\non GPU 0: Tesla T4\nsees GPU-a\n" in said(machine, second)


def test_one_whose_turn_comes_waits_for_a_gpu(machine: Machine, smi: Path) -> None:
    """Nobody behind it, and nobody who will not wait, begins before it."""
    busy = CARDS.replace(", 3, ", ", 9000, ")
    shows(smi, busy)
    with connect(machine.address) as connection:
        first, second = queued(connection, gpu=1), queued(connection, gpu=7)
        assert (jobs.state(connection, first).state, jobs.ready(connection).busy) == ("waiting", first)
        assert jobs.state(connection, second).state == "waiting"
        assert "waiting for a GPU: GPU 1 of this machine is in use by somebody" in said(machine, first)
        shows(smi, CARDS)
        eventually(lambda: not jobs.state(connection, second).running)
        assert jobs.state(connection, second).exit_code == 78
    assert said(machine, first).endswith("on GPU 1: NVIDIA H200, SXM\nsees GPU-b\n")
    assert said(machine, second).endswith("this machine has no GPU 7. It has: 0, 1\n")
