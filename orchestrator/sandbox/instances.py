"""The emulated instances: states that last as EC2's do, and one real machine for each that runs."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from moto.core.utils import utcnow
from moto.ec2.models import ec2_backends

from .catalog import ACCOUNT
from .copies import Copier
from .disk import Disk
from .machine import Machine

CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
NEXT = {"pending": "running", "stopping": "stopped", "shutting-down": "terminated"}


class Instances:
    """All instances of the region. Every method is called with `lock` held, which also orders all requests."""

    def __init__(self, folder: Path, delay: float) -> None:
        self.folder = folder
        self.delay = delay
        self.lock = threading.RLock()
        self._machines: dict[str, Machine] = {}
        self._due: dict[str, float] = {}
        self._busy: dict[str, Any] = {}
        self._enders = ThreadPoolExecutor(max_workers=32)
        self.sticks: Callable[[Any], bool] = lambda _: False
        """Whether an instance stays pending."""
        self.interruption: Callable[[Any], str] = lambda _: "terminate"
        """What EC2 does to a spot instance that it takes back: `stop` or `terminate`."""

        self.seed: Callable[[Any], Path | None] = lambda _: None
        """The copy of a disk that a new instance begins with."""

        self.endpoint_url = ""
        self.copier = Copier()

    def all(self) -> Iterator[Any]:
        """moto's own instance objects, of every region that has been asked for."""
        for backend in list(ec2_backends[ACCOUNT].values()):
            yield from backend.all_instances()

    def get(self, instance_id: str) -> Any | None:
        return next((one for one in self.all() if one.id == instance_id), None)

    def disk(self, instance_id: str) -> Disk:
        return Disk(self.folder / "instances" / instance_id)

    def zone_of(self, subnet_id: str) -> str:
        """Empty for a subnet that is not there."""
        backends = list(ec2_backends[ACCOUNT].values())
        found = [zone for backend in backends for zone in backend.subnets.values() if subnet_id in zone]
        return str(found[0][subnet_id].availability_zone) if found else ""

    def set_state(self, instance: Any, name: str) -> None:
        """Where every Describe call reads it; a state that passes by itself does so `delay` seconds later."""
        instance._state.name, instance._state.code = name, CODES[name]
        if name in NEXT:
            self._due[instance.id] = time.monotonic() + self.delay
        if name == "shutting-down":
            for address in _addresses(instance):
                instance.ec2_backend.disassociate_address(address=address.public_ip)
        if name in ("stopping", "shutting-down"):
            self._begin_to_end(instance.id)
            instance._reason = f"User initiated ({utcnow():%Y-%m-%d %H:%M:%S} GMT)"
        if name == "pending":
            instance.launch_time = utcnow()
            self._plant(instance)

    def reboot(self, instance_id: str) -> None:
        if instance_id in self._machines:
            self._machines[instance_id].reboot()

    def end(self, instance: Any, code: str, why: str) -> None:
        """Terminate it, protected or not, for a reason of EC2's list."""
        instance.terminate()
        self.set_state(instance, "shutting-down")
        _explain(instance, code, why)

    def interrupt(self, instance: Any) -> None:
        """Take a spot instance back."""
        if self.interruption(instance) == "stop":
            self._halt(instance, "Server.SpotInstanceShutdown", "Spot instance shutdown")
        else:
            self.end(instance, "Server.SpotInstanceTermination", "Spot instance termination")

    def step(self) -> None:
        """Bring machines and states one step nearer to each other; called several times a second."""
        with self.lock:
            for instance in list(self.all()):
                self._advance(instance)
                if instance._state.name == "running":
                    self._keep_running(instance)

    def stop_all(self) -> None:
        """No process of any instance is left; the disks stay."""
        self.copier.close()
        with self.lock:
            machines = list(self._machines.values())
        for machine in machines:
            machine.ask_to_stop()
        list(self._enders.map(Machine.stop, machines))
        self._enders.shutdown()

    def _advance(self, instance: Any) -> None:
        state = instance._state.name
        if state not in NEXT or time.monotonic() < self._due.get(instance.id, 0):
            return
        if state == "pending" and self.sticks(instance):
            return
        busy = self._busy.get(instance.id)
        if busy is not None and not busy.done():
            return
        self._busy.pop(instance.id, None)
        self._due.pop(instance.id, None)
        if state == "shutting-down" and (machine := self._machines.pop(instance.id, None)):
            machine.disk.remove()
        self.set_state(instance, NEXT[state])

    def _plant(self, instance: Any) -> None:
        root = self.disk(instance.id).root
        if not root.exists() and (copy := self.seed(instance)):
            self._busy[instance.id] = self._enders.submit(self.copier.plant, copy, root)

    def _begin_to_end(self, instance_id: str) -> None:
        machine = self._machines.get(instance_id)
        if machine and machine.running and instance_id not in self._busy:
            self._busy[instance_id] = self._enders.submit(machine.stop)

    def _keep_running(self, instance: Any) -> None:
        machine = self._machines.get(instance.id) or self._new_machine(instance)
        if machine.powered_off():
            self._shut_down_from_inside(instance)
            return
        if not machine.running:
            # In place of the one address that the metadata service has on every instance of EC2.
            (machine.disk.run / "imds").write_text(f"{self.endpoint_url}/imds/{instance.id}\n")
            machine.boot()
        machine.listen(_public_address(instance))

    def _new_machine(self, instance: Any) -> Machine:
        disk = self.disk(instance.id)
        key = instance.ec2_backend.key_pairs.get(instance.key_name)
        data = base64.b64decode(str(instance.user_data)) if instance.user_data else b""
        disk.make(data, key.material_public.decode() if key else "")
        self._machines[instance.id] = Machine(disk)
        return self._machines[instance.id]

    def _shut_down_from_inside(self, instance: Any) -> None:
        reason = ("Client.InstanceInitiatedShutdown", "Instance initiated shutdown")
        if instance.instance_initiated_shutdown_behavior == "terminate":
            self.end(instance, *reason)
        else:
            self._halt(instance, *reason)

    def _halt(self, instance: Any, code: str, why: str) -> None:
        instance.stop()
        self.set_state(instance, "stopping")
        _explain(instance, code, why)


def _explain(instance: Any, code: str, why: str) -> None:
    instance.state_reason.code, instance.state_reason.message = code, f"{code}: {why}"
    if code != "Client.UserInitiatedShutdown":
        # Of what nobody asked it for, EC2 tells no time.
        instance._reason = ""


def _public_address(instance: Any) -> str | None:
    """Its elastic one, otherwise the one that it was given when it started."""
    elastic = next((str(address.public_ip) for address in _addresses(instance)), None)
    given = [card.public_ip for card in instance.nics.values() if card.public_ip_auto_assign and card.public_ip]
    return elastic or (str(given[0]) if given else None)


def _addresses(instance: Any) -> list[Any]:
    """The elastic addresses associated with it."""
    return [one for one in instance.ec2_backend.addresses if one.instance and one.instance.id == instance.id]
