"""What is tried, and what is told, when EC2 has no such machine free or the account may not have one."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import GpuError
from .ec2 import Ec2
from .inventory import Machine
from .plans import AwsPlan, Plans
from .session import NoCapacity, NoQuota
from .steps import RunInstance

Refusal = NoCapacity | NoQuota


class Shortage:
    def __init__(self, ec2: Ec2, plans: Plans) -> None:
        self._ec2 = ec2
        self._plans = plans

    def full_zone(self, refusal: Refusal, plan: AwsPlan, full: Sequence[str]) -> str | None:
        """The zone that has just turned a new machine down, where there is another one to try."""
        birth = _birth(plan)
        if birth is None or isinstance(refusal, NoQuota) or set(self._ec2.zones(birth.type)) <= {*full, birth.zone}:
            return None
        return birth.zone

    def in_words(self, refusal: Refusal, plan: AwsPlan, machine: Machine | None) -> GpuError:
        """The refusal with what can be had instead; `machine` is the one that is there."""
        birth = _birth(plan)
        if birth is not None and birth.replaces:
            return _kept(refusal, birth)
        if birth is not None:
            return self._on_demand(refusal, birth) if birth.spot else refusal
        if machine is None or isinstance(refusal, NoQuota):
            return refusal
        return self._elsewhere(refusal, machine)

    def _on_demand(self, refusal: Refusal, birth: RunInstance) -> GpuError:
        price = self._plans.price(birth.type, spot=False)
        dollars = f", at ${price.per_hour:.4g} an hour" if price else ""
        return type(refusal)(
            f"{refusal.what} (asked for at the spot price)",
            f"Take it on demand{dollars}, with `gpu start --no-spot`, or another type: gpu start --spot --type TYPE",
            refusal.code,
        )

    def _elsewhere(self, refusal: Refusal, machine: Machine) -> GpuError:
        """For one that has stopped: its disk is in one zone and stays there."""
        others = self._plans.alternatives(machine.type, machine.kind, machine.zone)
        zones = [zone for zone in self._ec2.zones(machine.type) if zone != machine.zone]
        here = f"take another type that {machine.zone} offers ({', '.join(others)}): gpu resize {others[0]}"
        there = f" ({', '.join(zones)} may have some, but its disk is in {machine.zone})" if zones else ""
        return NoCapacity(
            f"{machine.zone} has no {machine.type} free at the moment{there}",
            f"Try again later, or {here}" if others else "Try again later",
            refusal.code,
        )


def _kept(refusal: Refusal, birth: RunInstance) -> GpuError:
    """The one that was to be replaced is as it was, but for being stopped."""
    return type(refusal)(
        f"{refusal.what}; {birth.replaces} stays as it is, stopped",
        "Run the same command again later, name another type, or go on with it: gpu start",
        refusal.code,
    )


def _birth(plan: AwsPlan) -> RunInstance | None:
    return next((step for step in plan.steps if isinstance(step, RunInstance)), None)
