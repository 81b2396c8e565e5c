"""Carries steps out, one after the other. Interrupted anywhere, the next plan goes on from what is there by then."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial, singledispatchmethod
from typing import Any, Protocol

from ...errors import GpuError
from ...state import StateFile
from ..base import Step
from . import steps
from .changes import Birth, Changes
from .inventory import Inventory
from .session import Denied, Gone, NotYet, Spent
from .waiting import BUSY_SECONDS, Waiting, gone_is_well, patiently, terminated


class Tokens(Protocol):
    """Client tokens: the same for the same request, written down before it is sent."""

    def of(self, purpose: str, request: str) -> str: ...

    def forget(self, purpose: str) -> None: ...


class KeptTokens:
    def __init__(self, state: StateFile) -> None:
        self._state = state

    def of(self, purpose: str, request: str) -> str:
        digest = hashlib.sha256(request.encode()).hexdigest()
        return self._state.token(purpose, digest=digest, new=lambda: str(uuid.uuid4()))

    def forget(self, purpose: str) -> None:
        self._state.forget_token(purpose)


class NoTokens:
    """For plans that are only shown."""

    def of(self, purpose: str, request: str) -> str:
        del request
        return purpose

    def forget(self, purpose: str) -> None:
        del purpose


@dataclass(frozen=True)
class Local:
    """What the executor needs of this computer."""

    tokens: Tokens
    public_key: Callable[[], str]
    user_data: Callable[[], str]
    say: Callable[[str], None]


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
    image: str = ""
    snapshots: tuple[str, ...] = ()

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

    def __init__(self, changes: Changes, waiting: Waiting, local: Local, made: Made) -> None:
        self._changes = changes
        self._waiting = waiting
        self._local = local
        self._made = made

    def carry_out(self, plan: Iterable[Step]) -> None:
        for step in plan:
            self._local.say(step.sentence())
            self.do(step)

    @singledispatchmethod
    def do(self, step: Any) -> None:
        raise TypeError(f"no way to carry out {type(step).__name__}")

    # --- the network

    @do.register
    def _(self, _: steps.CreateVpc) -> None:
        self._made.vpc = self._changes.create_vpc()

    @do.register
    def _(self, _: steps.EnableDns) -> None:
        patiently(lambda: self._changes.enable_dns(self._made.vpc), Gone)

    @do.register
    def _(self, _: steps.CreateGateway) -> None:
        self._made.gateway = self._changes.create_gateway()

    @do.register
    def _(self, _: steps.AttachGateway) -> None:
        patiently(lambda: self._changes.attach_gateway(self._made.gateway, self._made.vpc), Gone)

    @do.register
    def _(self, step: steps.CreateSubnet) -> None:
        self._made.subnet = patiently(lambda: self._changes.create_subnet(self._made.vpc, step.zone), Gone)

    @do.register
    def _(self, _: steps.CreateTable) -> None:
        token = self._local.tokens.of("table", self._made.vpc)
        self._made.table = patiently(lambda: self._changes.create_table(self._made.vpc, token), Gone)
        self._local.tokens.forget("table")

    @do.register
    def _(self, step: steps.AddRoute) -> None:
        patiently(lambda: self._changes.add_route(self._made.table, self._made.gateway, instead=step.instead), Gone)

    @do.register
    def _(self, _: steps.LinkTable) -> None:
        patiently(lambda: self._changes.link_table(self._made.table, self._made.subnet), Gone)

    @do.register
    def _(self, _: steps.CreateGroup) -> None:
        self._made.group = patiently(lambda: self._changes.create_group(self._made.vpc), Gone)

    @do.register
    def _(self, step: steps.OpenSsh) -> None:
        patiently(lambda: self._changes.open_ssh(self._made.group, step.port, step.cidr), Gone)

    @do.register
    def _(self, step: steps.CloseSsh) -> None:
        gone_is_well(lambda: self._changes.close_ssh(self._made.group, step.rule))

    @do.register
    def _(self, step: steps.ImportKey) -> None:
        self._changes.import_key(step.name, self._local.public_key())

    @do.register
    def _(self, _: steps.AllocateAddress) -> None:
        self._made.address = self._changes.allocate_address(self._made.kind)

    # --- the machine

    @do.register
    def _(self, step: steps.RunInstance) -> None:
        birth = Birth(
            step.kind,
            type=step.type,
            image=step.image or self._made.image,
            root_device=step.root_device,
            disk_gb=step.disk_gb,
            key_name=step.key_name,
            subnet=self._made.subnet,
            group=self._made.group,
            user_data=self._local.user_data(),
            spot=step.spot,
            replaces=step.replaces,
        )
        self._made.machine = self._run(f"machine {step.kind}", self._changes.birth_request(birth))

    def _run(self, purpose: str, request: dict[str, Any]) -> str:
        content = json.dumps(request, sort_keys=True)

        def run() -> str:
            return self._changes.run_instance(request, self._local.tokens.of(purpose, content))

        try:
            return patiently(run, Gone)
        except Spent:
            # An interrupted start had made a machine, and somebody has terminated it since.
            self._local.tokens.forget(purpose)
            return patiently(run, Gone)

    @do.register
    def _(self, step: steps.StartInstance) -> None:
        try:
            patiently(lambda: self._changes.start_instance(step.machine), NotYet, seconds=BUSY_SECONDS)
        except NotYet as error:
            if error.code != "IncorrectSpotRequestState":
                raise
            # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/interruption-behavior.html
            raise NotYet(
                f"EC2 has taken the spot machine {step.machine} back: it starts it again by itself when it can",
                "Wait for that with `gpu start`, or take another type: gpu resize TYPE",
                error.code,
            ) from error

    @do.register
    def _(self, step: steps.StopInstance) -> None:
        self._changes.stop_instance(step.machine or self._made.machine)

    @do.register
    def _(self, step: steps.AwaitStopped) -> None:
        machine = step.machine or self._made.machine
        if self._waiting.machine(machine, "stopped", unless=("terminated",)) != "stopped":
            raise terminated(machine)

    @do.register
    def _(self, _: steps.AwaitRunning) -> None:
        # Its token has done its work: the same request made after this machine has gone would get the dead one back.
        machine = self._made.machine
        reached = self._waiting.machine(machine, "running", unless=("terminated", "shutting-down", "stopped"))
        self._local.tokens.forget(f"machine {self._made.kind}")
        if reached in ("terminated", "shutting-down"):
            raise terminated(machine)
        if reached != "running":
            raise GpuError(
                f"the machine {machine} went to {reached} instead of running",
                "See its state reason in the EC2 console; `gpu start` tries again",
            )

    @do.register
    def _(self, _: steps.AssociateAddress) -> None:
        associate = partial(self._changes.associate_address, self._made.address, self._made.machine)
        patiently(associate, Gone, NotYet, seconds=BUSY_SECONDS)

    @do.register
    def _(self, step: steps.ChangeType) -> None:
        self._changes.change_type(step.machine, step.type)

    @do.register
    def _(self, step: steps.ChangeKind) -> None:
        self._changes.change_kind(step.resources, step.kind)

    @do.register
    def _(self, step: steps.SaveDisk) -> None:
        # A name that is new each time: one that was deregistered a moment ago may still count.
        name = f"gpu-{step.machine}-{uuid.uuid4().hex[:8]}"
        self._made.image = self._changes.create_image(step.machine, kind=step.kind, name=name)

    @do.register
    def _(self, step: steps.AwaitImage) -> None:
        self._made.image = step.image or self._made.image
        self._made.snapshots = self._waiting.image(self._made.image)

    # --- removing

    @do.register
    def _(self, step: steps.CancelSpot) -> None:
        gone_is_well(lambda: self._changes.cancel_spot(step.request))

    @do.register
    def _(self, step: steps.Unprotect) -> None:
        try:
            gone_is_well(lambda: self._changes.unprotect(step.machine))
        except (Denied, NotYet) as error:
            # One that was made without protection can be terminated all the same; otherwise the next step says so.
            self._local.say(error.what)

    @do.register
    def _(self, step: steps.Terminate) -> None:
        gone_is_well(lambda: self._changes.terminate(step.machines))
        for machine in step.machines:
            self._waiting.machine(machine, "terminated")

    @do.register
    def _(self, step: steps.DeregisterImage) -> None:
        gone_is_well(lambda: self._changes.deregister_image(step.image))

    @do.register
    def _(self, _: steps.DeregisterSaved) -> None:
        self.do(steps.DeregisterImage(self._made.image))
        for snapshot in self._made.snapshots:
            self.do(steps.DeleteSnapshot(snapshot))

    @do.register
    def _(self, step: steps.DeleteSnapshot) -> None:
        gone_is_well(lambda: self._changes.delete_snapshot(step.snapshot))

    @do.register
    def _(self, step: steps.ReleaseAddress) -> None:
        if step.association:
            gone_is_well(partial(self._changes.disassociate_address, step.association))
        gone_is_well(lambda: self._changes.release_address(step.address))

    @do.register
    def _(self, step: steps.DeleteKey) -> None:
        gone_is_well(lambda: self._changes.delete_key(step.name))

    @do.register
    def _(self, step: steps.DeleteGroup) -> None:
        gone_is_well(lambda: self._changes.delete_group(step.group))

    @do.register
    def _(self, step: steps.DeleteSubnet) -> None:
        gone_is_well(lambda: self._changes.delete_subnet(step.subnet))

    @do.register
    def _(self, step: steps.DeleteTable) -> None:
        for link in step.links:
            gone_is_well(partial(self._changes.unlink_table, link))
        gone_is_well(lambda: self._changes.delete_table(step.table))

    @do.register
    def _(self, step: steps.DeleteGateway) -> None:
        if step.vpc:
            gone_is_well(partial(self._changes.detach_gateway, step.gateway, step.vpc))
        gone_is_well(lambda: self._changes.delete_gateway(step.gateway))

    @do.register
    def _(self, step: steps.DeleteVpc) -> None:
        gone_is_well(lambda: self._changes.delete_vpc(step.vpc))
