"""Carries steps out, one after the other. Interrupted anywhere, the next plan goes on from what is there by then."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import singledispatchmethod
from pathlib import Path
from typing import Any, TypeVar

from ...errors import GpuError
from ...state import StateFile
from ..base import Step
from . import keys, steps
from .ec2 import Ec2
from .inventory import Inventory
from .session import Gone, InUse
from .userdata import user_data

R = TypeVar("R")
SETTLE_SECONDS = 60.0
"""How long EC2 may not have heard yet of what it has just made, or still count what it has just deleted."""


@dataclass(frozen=True)
class Local:
    """What the executor needs of this computer."""

    state: StateFile
    client_key: Path
    host_key: Path
    port: int
    say: Callable[[str], None]
    machine_seconds: float = 600.0
    """How long a machine may take to start, stop or go."""


@dataclass
class Made:
    """The ids of the parts, those that were there and those made on the way."""

    kind: str
    vpc: str = ""
    gateway: str = ""
    subnet: str = ""
    table: str = ""
    group: str = ""
    address: str = ""
    machine: str = ""

    @classmethod
    def already(cls, kind: str, have: Inventory) -> Made:
        vpc = have.vpc()
        made = cls(kind, vpc=vpc.id if vpc else "")
        gateway = have.gateway(made.vpc)
        address, machine = have.address(kind), have.machine(kind)
        made.gateway = gateway.id if gateway else ""
        made.address = address.id if address else ""
        made.machine = machine.id if machine else ""
        if vpc:
            subnet, table, group = have.subnet(vpc.id), have.table(vpc.id), have.group(vpc.id)
            made.subnet = subnet.id if subnet else ""
            made.table = table.id if table else ""
            made.group = group.id if group else ""
        return made


class Executor:
    """One run of steps."""

    def __init__(self, ec2: Ec2, local: Local, made: Made) -> None:
        self._ec2 = ec2
        self._local = local
        self._made = made

    def carry_out(self, plan: Iterable[Step]) -> None:
        for step in plan:
            self._local.say(step.sentence())
            self._do(step)

    @singledispatchmethod
    def _do(self, step: Any) -> None:
        raise TypeError(f"no way to carry out {type(step).__name__}")

    @_do.register
    def _(self, _: steps.CreateVpc) -> None:
        self._made.vpc = self._ec2.create_vpc()

    @_do.register
    def _(self, _: steps.EnableDns) -> None:
        patiently(lambda: self._ec2.enable_dns(self._made.vpc), Gone)

    @_do.register
    def _(self, _: steps.CreateGateway) -> None:
        self._made.gateway = self._ec2.create_gateway()

    @_do.register
    def _(self, _: steps.AttachGateway) -> None:
        patiently(lambda: self._ec2.attach_gateway(self._made.gateway, self._made.vpc), Gone)

    @_do.register
    def _(self, step: steps.CreateSubnet) -> None:
        self._made.subnet = patiently(lambda: self._ec2.create_subnet(self._made.vpc, step.zone), Gone)

    @_do.register
    def _(self, _: steps.CreateTable) -> None:
        token = self._token("table", self._made.vpc)
        self._made.table = patiently(lambda: self._ec2.create_table(self._made.vpc, token), Gone)
        self._local.state.forget_token("table")

    @_do.register
    def _(self, _: steps.AddRoute) -> None:
        patiently(lambda: self._ec2.add_route(self._made.table, self._made.gateway), Gone)

    @_do.register
    def _(self, _: steps.LinkTable) -> None:
        patiently(lambda: self._ec2.link_table(self._made.table, self._made.subnet), Gone)

    @_do.register
    def _(self, _: steps.CreateGroup) -> None:
        self._made.group = patiently(lambda: self._ec2.create_group(self._made.vpc), Gone)

    @_do.register
    def _(self, step: steps.OpenSsh) -> None:
        patiently(lambda: self._ec2.open_ssh(self._made.group, step.port, step.cidr), Gone)

    @_do.register
    def _(self, step: steps.CloseSsh) -> None:
        self._ec2.close_ssh(self._made.group, step.rule)

    @_do.register
    def _(self, step: steps.ImportKey) -> None:
        self._ec2.import_key(step.name, keys.public(self._local.client_key))

    @_do.register
    def _(self, _: steps.AllocateAddress) -> None:
        self._made.address = self._ec2.allocate_address(self._made.kind)

    @_do.register
    def _(self, step: steps.RunInstance) -> None:
        request = self._request(step)
        token = self._token(f"machine {step.kind}", json.dumps(request, sort_keys=True))
        self._made.machine = patiently(lambda: self._ec2.run_instance(request, token), Gone)

    @_do.register
    def _(self, step: steps.StartInstance) -> None:
        self._ec2.start_instance(step.machine)

    @_do.register
    def _(self, step: steps.AwaitStopped) -> None:
        self.await_phase(step.machine, "stopped")

    @_do.register
    def _(self, _: steps.AwaitRunning) -> None:
        # Its token has done its work: the same request made after this machine has gone would get the dead one back.
        reached = self.await_phase(self._made.machine, "running", unless=("terminated", "shutting-down", "stopped"))
        self._local.state.forget_token(f"machine {self._made.kind}")
        if reached != "running":
            raise GpuError(
                f"the machine {self._made.machine} went to {reached} instead of running",
                "See its state reason in the EC2 console; `gpu start` tries again",
            )

    @_do.register
    def _(self, _: steps.AssociateAddress) -> None:
        patiently(lambda: self._ec2.associate_address(self._made.address, self._made.machine), Gone)

    @_do.register
    def _(self, step: steps.Terminate) -> None:
        self._ec2.terminate(step.machines)
        for machine in step.machines:
            self.await_phase(machine, "terminated")

    @_do.register
    def _(self, step: steps.ReleaseAddress) -> None:
        if step.association:
            gone_is_well(lambda: self._ec2.disassociate_address(str(step.association)))
        gone_is_well(lambda: self._ec2.release_address(step.address))

    @_do.register
    def _(self, step: steps.DeleteKey) -> None:
        gone_is_well(lambda: self._ec2.delete_key(step.name))

    @_do.register
    def _(self, step: steps.DeleteGroup) -> None:
        gone_is_well(lambda: self._ec2.delete_group(step.group))

    @_do.register
    def _(self, step: steps.DeleteSubnet) -> None:
        gone_is_well(lambda: self._ec2.delete_subnet(step.subnet))

    @_do.register
    def _(self, step: steps.DeleteTable) -> None:
        for link in step.links:
            gone_is_well(lambda link=link: self._ec2.unlink_table(link))  # type: ignore[misc]
        gone_is_well(lambda: self._ec2.delete_table(step.table))

    @_do.register
    def _(self, step: steps.DeleteGateway) -> None:
        if step.vpc:
            gone_is_well(lambda: self._ec2.detach_gateway(step.gateway, str(step.vpc)))
        gone_is_well(lambda: self._ec2.delete_gateway(step.gateway))

    @_do.register
    def _(self, step: steps.DeleteVpc) -> None:
        gone_is_well(lambda: self._ec2.delete_vpc(step.vpc))

    def _token(self, purpose: str, request: str) -> str:
        digest = hashlib.sha256(request.encode()).hexdigest()
        return self._local.state.token(purpose, digest=digest, new=lambda: str(uuid.uuid4()))

    def _request(self, step: steps.RunInstance) -> dict[str, Any]:
        local = self._local
        disk = {"VolumeSize": step.disk_gb, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}
        # No automatic public address: the elastic IP is the machine's one address, stopped or not.
        network = {
            "DeviceIndex": 0,
            "SubnetId": self._made.subnet,
            "Groups": [self._made.group],
            "AssociatePublicIpAddress": False,
        }
        return {
            **self._ec2.instance_request(step.kind),
            "ImageId": step.image,
            "InstanceType": step.type,
            "KeyName": step.key_name,
            "UserData": user_data(local.host_key, keys.public(local.host_key), port=local.port),
            "BlockDeviceMappings": [{"DeviceName": step.root_device, "Ebs": disk}],
            "NetworkInterfaces": [network],
        }

    def await_phase(self, machine: str, wanted: str, *, unless: tuple[str, ...] = ()) -> str:
        """Wait until the machine is `wanted`, or one of `unless`, and return which; GpuError when it lasts too long."""
        deadline, said, pause = time.monotonic() + self._local.machine_seconds, "", 0.2
        while True:
            phase = self._phase(machine)
            if phase == wanted or (phase in unless and not (phase == "stopped" and said in ("", "stopped"))):
                return phase
            if phase != said:
                self._local.say(f"waiting until {machine} is {wanted}; it is {phase}")
                said = phase
            if time.monotonic() > deadline:
                raise GpuError(
                    f"{machine} is still {phase} after {self._local.machine_seconds:.0f} seconds",
                    "Run the same command again to go on waiting, or look at it in the EC2 console",
                )
            time.sleep(pause)
            pause = min(pause * 1.5, 5.0)

    def _phase(self, machine: str) -> str:
        try:
            return self._ec2.phase(machine)
        except Gone:
            return "pending" if machine == self._made.machine else "terminated"


def patiently(verb: Callable[[], R], what: type[GpuError], seconds: float = SETTLE_SECONDS) -> R:
    """`verb`, again while it fails with `what`: EC2 tells all of itself what has changed only after a while."""
    deadline, pause = time.monotonic() + seconds, 0.5
    while True:
        try:
            return verb()
        except what:
            if time.monotonic() + pause > deadline:
                raise
            time.sleep(pause)
            pause *= 1.5


def gone_is_well(delete: Callable[[], None]) -> None:
    """`delete`, which may find it gone already; waits while something that is on its way out still uses it."""
    try:
        patiently(delete, InUse)
    except Gone:
        return
