"""The seam: all that a verb may ask of whoever has the machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Address:
    """All that SSH needs. `None` for a file means: as the user's own SSH configuration says."""

    host: str
    port: int
    user: str
    key_file: Path | None = None
    known_hosts: Path | None = None
    proxy: str | None = None


@dataclass(frozen=True)
class Wish:
    """What kind of machine is wanted; `instance_type` overrides the kind's own list."""

    kind: str
    instance_type: str | None = None


@dataclass(frozen=True)
class Price:
    """US dollars: per hour running, and per month (730 hours) for what goes on costing while stopped."""

    per_hour: float
    per_month_stopped: float
    source: str


class Step(Protocol):
    """One change to an account, as data."""

    def sentence(self) -> str:
        """What it does, for the plan that is shown: «create a subnet 10.0.0.0/28»."""


@dataclass(frozen=True)
class Plan:
    """What would be done, in order. No steps: it is so already."""

    steps: tuple[Step, ...]
    price: Price | None = None
    spends: bool = False
    """True when carrying it out begins to cost money."""

    def sentences(self) -> Sequence[str]:
        return [step.sentence() for step in self.steps]


@dataclass(frozen=True)
class State:
    """What is true now. `phase` is EC2's word (`pending running stopping stopped terminated`) or `absent`."""

    kind: str
    phase: str
    machine_id: str | None = None
    ip: str | None = None
    machine_type: str | None = None
    launched: datetime | None = None
    """When the machine last began to run, in UTC."""
    price: Price | None = None


class Provider(Protocol):
    """One profile's machine of one kind."""

    def plan(self, wish: Wish) -> Plan:
        """What `start` would do; changes nothing."""

    def start(self, plan: Plan) -> Address:
        """Carry the plan out and return where the machine is; at once if it runs already. SSH may not answer yet."""

    def stop(self) -> None:
        """Stop and wait until stopped; safe to repeat."""

    def state(self) -> State:
        """What is true now, not what was remembered."""

    def address(self) -> Address:
        """Where the running machine is; raises `MachineAbsent` or `MachineStopped` with the remedy."""


@runtime_checkable
class Removable(Protocol):
    """A provider whose machine can be removed altogether."""

    def plan_removal(self) -> Plan:
        """What `remove` would delete, in order; empty when nothing with our tags is left."""

    def remove(self, plan: Plan) -> None:
        """Delete it, waiting where the order needs it; safe to repeat."""
