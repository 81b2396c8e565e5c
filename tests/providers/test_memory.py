"""What an interrupted resize remembers: of its own machine alone, and until something else is wished for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import GpuError
from orchestrator.providers.aws.inventory import Inventory, Machine
from orchestrator.providers.aws.memory import Memory
from orchestrator.settings import Home
from orchestrator.state import StateFile

RAN = Machine("i-1", "t2", "running", "t2.micro")


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    home = Home(tmp_path, tmp_path / "state", tmp_path / "cache")
    return Memory(StateFile(home, "mine", lambda _: None), "t2")


def test_it_is_of_one_machine_and_of_the_one_that_takes_its_place(memory: Memory) -> None:
    assert memory.ran(RAN) is None
    memory.keep(RAN)
    assert memory.ran(RAN) is True
    assert memory.ran(Machine("i-2", "p2", "pending", "p2.xlarge", replaces="i-1")) is True
    assert memory.ran(Machine("i-2", "t2", "stopped", "t2.micro")) is None


def test_what_was_before_the_first_attempt_stands(memory: Memory) -> None:
    memory.keep(RAN)
    stopped = replace(RAN, phase="stopped")
    memory.keep(stopped)
    assert memory.ran(stopped) is True
    memory.forget()
    memory.keep(stopped)
    assert memory.ran(RAN) is False


def test_another_machine_is_another_memory(memory: Memory) -> None:
    memory.keep(RAN)
    memory.keep(Machine("i-2", "t2", "stopped", "t2.micro"))
    assert memory.ran(RAN) is None


def test_no_second_machine_beside_one_that_has_changed_its_kind(memory: Memory) -> None:
    memory.check_finished(Inventory(machines=(RAN,)))
    memory.keep(RAN)
    memory.check_finished(Inventory(machines=(RAN,)))
    changed = replace(RAN, kind="p2", phase="stopped")
    with pytest.raises(GpuError, match="Finish it with: gpu resize p2"):
        memory.check_finished(Inventory(machines=(changed,)))
    # One of its own kind has been made since, or the machine has gone: it is of no consequence any more.
    memory.check_finished(Inventory(machines=(changed, replace(RAN, id="i-2"))))
    memory.check_finished(Inventory(machines=(replace(changed, phase="terminated"),)))
