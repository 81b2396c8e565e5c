"""From what is wanted and what exists to the steps between. Pure: asks nobody, changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...errors import GpuError, UsageError
from ..base import Step
from . import removal, steps
from .inventory import ALIVE, Inventory, Machine


@dataclass(frozen=True)
class Choice:
    """What a new machine would be; the zones are those that offer its type, in the order to try them."""

    type: str
    zones: tuple[str, ...]
    image: str
    root_device: str
    why: str = ""
    """Why this image."""


@dataclass(frozen=True)
class Request:
    """What is wanted. `choice` is needed only where the machine is not there yet."""

    kind: str
    port: int
    cidr: str
    key_name: str
    disk_gb: int
    choice: Choice | None = None
    type: str | None = None
    """The type that was named, if one was."""
    spot: bool | None = None
    """None: as it is, and on demand where it is new."""


SPENDING = (steps.RunInstance, steps.StartInstance, steps.AllocateAddress)


def plan_start(request: Request, have: Inventory) -> tuple[Step, ...]:
    """The steps from `have` to one running machine with its address, in order; none when it is so already."""
    machine = have.machine(request.kind)
    if machine:
        _check(request, machine)
    else:
        _check_replaced(request, have)
    return (
        *plan_network(request, have, machine),
        *plan_entrance(request, have),
        *_address(request, have),
        *_machine(request, have, machine),
        *removal.twins(have, request.kind),
        *removal.old_copies(have, stale=machine.id if machine and machine.phase != "running" else None),
    )


def _check(request: Request, machine: Machine) -> None:
    if request.type and request.type != machine.type:
        raise UsageError(
            f"the {request.kind} machine {machine.id} is a {machine.type}, not a {request.type}",
            "Leave --type out, or name another kind with --kind",
        )
    if request.spot is not None and request.spot != machine.spot:
        what = "a spot machine" if machine.spot else "an on-demand machine"
        raise UsageError(
            f"the {request.kind} machine {machine.id} is {what}",
            "That is settled when a machine is made: leave --spot out, or begin anew after `gpu destroy`",
        )
    if machine.key_name != request.key_name:
        raise GpuError(
            f"the {request.kind} machine {machine.id} was made with another key ({machine.key_name})",
            "Copy gpu's keys folder from the computer that made it, or remove it with: gpu destroy",
        )


def _check_replaced(request: Request, have: Inventory) -> None:
    """No second machine beside one that an interrupted resize is still to remove."""
    for machine in have.machines:
        successor = have.successor(machine.id)
        if machine.kind == request.kind and machine.phase in ALIVE and successor:
            raise GpuError(
                f"the {request.kind} machine {machine.id} is being replaced by the {successor.kind} one "
                f"{successor.id}, and that was interrupted",
                f"Finish it with: gpu resize {successor.kind}",
            )


def plan_network(request: Request, have: Inventory, machine: Machine | None) -> Iterator[Step]:
    """To a network with a subnet that `machine`, or a new one of the request, can be in."""
    vpc = have.vpc()
    if vpc is None:
        yield steps.CreateVpc()
    if vpc is None or not vpc.dns:
        yield steps.EnableDns()
    gateway = have.gateway(vpc.id) if vpc else min(have.gateways, key=lambda g: (g.vpc is not None, g.id), default=None)
    if gateway is not None and vpc is None and gateway.vpc is not None:
        gateway = None
    if gateway is None:
        yield steps.CreateGateway()
    if gateway is None or gateway.vpc is None:
        yield steps.AttachGateway()
    subnet = have.subnet(vpc.id) if vpc else None
    if subnet and not machine and subnet.zone not in _zones(request):
        # A network of sixteen addresses has one subnet: for another zone it is made anew, unless a machine is in it.
        if any(m.subnet == subnet.id and m.phase in ALIVE for m in have.machines):
            raise GpuError(
                f"the profile's subnet is in {subnet.zone}, where a new {request.kind} machine cannot be had now",
                "Name another type with --type, or try again later",
            )
        yield steps.DeleteSubnet(subnet.id)
        subnet = None
    if subnet is None:
        yield steps.CreateSubnet(_zones(request)[0])
    table = have.table(vpc.id) if vpc else None
    if table is None:
        yield steps.CreateTable()
    if table is None or table.gateway is None or gateway is None or table.gateway != gateway.id:
        yield steps.AddRoute(instead=table is not None and table.gateway is not None)
    if table is None or subnet is None or subnet.id not in [s for _, s in table.links]:
        yield steps.LinkTable()


def _zones(request: Request) -> tuple[str, ...]:
    if request.choice is None or not request.choice.zones:
        raise GpuError(f"no zone of the region can have the {request.kind} machine", "Choose another region or type")
    return request.choice.zones


def plan_entrance(request: Request, have: Inventory) -> Iterator[Step]:
    """To one rule that lets the caller of today in, and nobody else; and to an imported public key."""
    vpc = have.vpc()
    group = have.group(vpc.id) if vpc else None
    if group is None:
        yield steps.CreateGroup()
    rules = group.rules if group else ()
    wanted = (request.port, request.cidr)
    if wanted not in [(rule.port, rule.cidr) for rule in rules]:
        yield steps.OpenSsh(*wanted)
    for rule in rules:
        if (rule.port, rule.cidr) != wanted:
            yield steps.CloseSsh(rule.id, rule.port, rule.cidr)
    if request.key_name not in have.keys:
        yield steps.ImportKey(request.key_name)


def _address(request: Request, have: Inventory) -> Iterator[Step]:
    if have.address(request.kind) is None:
        yield steps.AllocateAddress()


def _machine(request: Request, have: Inventory, machine: Machine | None) -> Iterator[Step]:
    address = have.address(request.kind)
    if machine is None:
        yield plan_birth(request, have)
        yield steps.AwaitRunning()
    elif machine.phase != "running":
        if machine.phase == "stopping":
            yield steps.AwaitStopped(machine.id)
        if machine.phase in ("stopping", "stopped"):
            yield steps.StartInstance(machine.id)
        yield steps.AwaitRunning()
    if machine is None or address is None or address.machine != machine.id:
        yield steps.AssociateAddress()


def plan_birth(request: Request, have: Inventory) -> steps.RunInstance:
    """The machine that is not there yet."""
    zones, choice = _zones(request), request.choice
    assert choice is not None
    vpc = have.vpc()
    subnet = have.subnet(vpc.id) if vpc else None
    zone = subnet.zone if subnet and subnet.zone in zones else zones[0]
    return steps.RunInstance(
        request.kind,
        choice.type,
        zone,
        choice.image,
        choice.root_device,
        request.disk_gb,
        request.key_name,
        spot=bool(request.spot),
        why=choice.why,
    )
