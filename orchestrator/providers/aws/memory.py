"""What a resize has to know should it be interrupted: which machine it was about, and whether that ran before it."""

from __future__ import annotations

from ...errors import GpuError
from ...state import StateFile
from .inventory import ALIVE, Inventory, Machine

RUNNING = ("pending", "running")


class Memory:
    """Of one kind, in the state file: a cache like all of it. Without it a resize goes by what it finds."""

    def __init__(self, state: StateFile, kind: str) -> None:
        self._state = state
        self._kind = kind
        self._purpose = f"resize {kind}"

    def keep(self, machine: Machine) -> None:
        """Before anything is changed; what is remembered of the same machine already stands."""
        if self.ran(machine) is None:
            word = "running" if machine.phase in RUNNING else "stopped"
            self._state.token(self._purpose, digest=machine.id, new=lambda: f"{word} {machine.id}")

    def ran(self, machine: Machine | None) -> bool | None:
        """Whether this machine, or the one whose place it takes, ran before; None: no resize of it was interrupted."""
        word, name = self._kept()
        if machine is None or name not in (machine.id, machine.replaces):
            return None
        return word == "running"

    def check_finished(self, have: Inventory) -> None:
        """No second machine beside the one that an interrupted resize has given another kind's name to."""
        _, name = self._kept()
        itself = next((m for m in have.machines if m.id == name and m.phase in ALIVE), None)
        machine = have.successor(name) or itself if name else None
        if machine and machine.kind != self._kind and have.machine(self._kind) is None:
            raise GpuError(
                f"{machine.id} was the {self._kind} machine until its resize was interrupted; it is the "
                f"{machine.kind} one now",
                f"Finish it with: gpu resize {machine.kind}",
            )

    def forget(self) -> None:
        """It has come to its end, or something else has been wished for since."""
        self._state.forget_token(self._purpose)

    def _kept(self) -> tuple[str, str]:
        word, _, name = (self._state.kept_token(self._purpose) or "").partition(" ")
        return word, name
