"""What happens to instances without a call of ours: somebody else, or EC2 itself, ends them."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from .faults import Fault, Place
from .instances import Instances
from .wsgi import Call


@dataclass(frozen=True)
class Notice:
    """EC2's word that it takes a spot instance back."""

    action: str
    """`stop` or `terminate`."""
    at: datetime.datetime


class Outside:
    def __init__(self, instances: Instances) -> None:
        self._instances = instances
        self.notices: dict[str, Notice] = {}

    def strike(self, fault: Fault) -> int:
        """Carry a terminate or a spot-notice out; returns how many instances it met."""
        with self._instances.lock:
            alive = [one for one in self._instances.all() if fault.is_at([place(one)])]
            if fault.name == "terminate":
                states = ("pending", "running", "stopping", "stopped")
                met = [one for one in alive if one._state.name in states]
                for instance in met:
                    self._instances.end(instance, "Client.UserInitiatedShutdown", "User initiated shutdown")
                return len(met)
            met = [one for one in alive if one._state.name == "running" and one.lifecycle == "spot"]
            at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=fault.duration)
            for instance in met:
                self.notices.setdefault(instance.id, Notice(self._instances.interruption(instance), at))
            return len(met)

    def step(self) -> None:
        """Interrupt those whose time has come."""
        now = datetime.datetime.now(datetime.timezone.utc)
        for instance_id, notice in list(self.notices.items()):
            if now < notice.at:
                continue
            with self._instances.lock:
                del self.notices[instance_id]
                instance = self._instances.get(instance_id)
                if instance is not None and instance._state.name == "running":
                    self._instances.interrupt(instance)


def place(instance: Any) -> Place:
    return str(instance.placement.zone or ""), str(instance.instance_type)


def places(instances: Instances, call: Call) -> list[Place]:
    """Where the machines of a RunInstances or a StartInstances are to run; those that run already need no room."""
    with instances.lock:
        if call.action == "StartInstances":
            named = [instances.get(one) for one in call.named("InstanceId")]
            return [place(one) for one in named if one is not None and one._state.name == "stopped"]
        zone = call.params.get("Placement.AvailabilityZone") or instances.zone_of(_subnet(call))
        return [(zone, call.params.get("InstanceType", "m1.small"))]


def _subnet(call: Call) -> str:
    cards = call.listed("NetworkInterface")
    return call.params.get("SubnetId") or next((card["SubnetId"] for card in cards if "SubnetId" in card), "")
