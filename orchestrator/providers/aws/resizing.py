"""From a machine to one of another type with the same disk. Pure, as the planner is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ...errors import GpuError, NotOffered
from ..base import Step
from . import steps
from .inventory import Build, ElasticIp, Hardware, Inventory, Machine, Snapshot
from .removal import old_copies


@dataclass(frozen=True)
class Resize:
    """What is wanted of the `kind` machine: to be of `type`, and of kind `becomes`."""

    kind: str
    becomes: str
    hardware: Hardware
    zones: tuple[str, ...]
    """Those that offer the type."""
    disk_gb: int
    key_name: str
    ran: bool
    """It ran before the first attempt, and shall run again."""


def plan_resize(wish: Resize, have: Inventory) -> tuple[Step, ...]:
    """The steps to a machine of the wished type; none when it is so. Refuses what cannot be before anything changes."""
    machine = have.machine(wish.kind)
    assert machine is not None
    old = have.replaced(machine)
    _check_free(wish, have, machine)
    if old is not None:
        way = _replaced(wish, have, machine, old)
    elif machine.spot and machine.type != wish.hardware.type:
        way = _by_snapshot(wish, have, machine)
    else:
        way = _in_place(wish, have, machine)
    return (*way, *old_copies(have))


def check_fits(build: Build, hardware: Hardware) -> None:
    """NotOffered when a disk that was made for `build` cannot be started on `hardware`."""
    wrong = [
        f"its {what} is {is_!r}, a {hardware.type} has {', '.join(sorted(can))}"
        for what, is_, can in (
            ("architecture", build.architecture, hardware.architectures),
            ("virtualisation", build.virtualization, hardware.virtualizations),
            ("boot mode", build.boot_mode, hardware.boot_modes),
        )
        if can and is_ not in can
    ]
    if hardware.needs_ena and not build.ena:
        wrong.append(f"it has no driver for the network card of a {hardware.type} (ENA)")
    if wrong:
        raise NotOffered(
            f"this machine's disk cannot be started on a {hardware.type}: {'; '.join(wrong)}",
            "Name another type; `gpu types` lists them. Nothing was changed",
        )


def _check_free(wish: Resize, have: Inventory, machine: Machine) -> None:
    if machine.type != wish.hardware.type:
        check_fits(machine.build, wish.hardware)
        if machine.zone and machine.zone not in wish.zones:
            raise NotOffered(
                f"{machine.zone}, where the machine's disk is, does not offer {wish.hardware.type}; "
                f"{', '.join(wish.zones) or 'no zone of the region'} does",
                "Name another type. Nothing was changed",
            )
    other = have.machine(wish.becomes) if wish.becomes != wish.kind else None
    if other is not None:
        raise GpuError(
            f"there is a {wish.becomes} machine already: {other.id} ({other.type}, {other.phase})",
            f"Use that one with `gpu get {wish.becomes}`, or remove one of the two first: "
            f"`gpu -k {wish.becomes} destroy` or `gpu -k {wish.kind} destroy`",
        )


def _in_place(wish: Resize, have: Inventory, machine: Machine) -> Iterator[Step]:
    changes = machine.type != wish.hardware.type
    if changes:
        yield from _stopped(machine)
        yield steps.ChangeType(machine.id, machine.type, wish.hardware.type)
    if machine.kind != wish.becomes:
        yield _renamed(wish, have, (machine.id, *machine.parts))
    yield from _at_rest_or_not(wish, machine, phase="stopped" if changes else machine.phase)


def _at_rest_or_not(wish: Resize, machine: Machine, *, phase: str) -> Iterator[Step]:
    """Running again if it ran before, and stopped again if it did not."""
    if not wish.ran:
        yield from _stopped(replace(machine, phase=phase))
        return
    if phase == "stopping":
        yield steps.AwaitStopped(machine.id)
    if phase in ("stopping", "stopped"):
        yield steps.StartInstance(machine.id)
    if phase != "running":
        yield steps.AwaitRunning()


def _stopped(machine: Machine) -> Iterator[Step]:
    if machine.phase == "pending":
        yield steps.AwaitRunning()
    if machine.phase in ("pending", "running"):
        yield steps.StopInstance(machine.id)
    if machine.phase != "stopped":
        yield steps.AwaitStopped(machine.id)


def address_of(wish: Resize, have: Inventory) -> ElasticIp | None:
    """The machine's address, whichever of the two kinds and of the two machines it is at by now."""
    machine = have.machine(wish.kind)
    old = have.replaced(machine) if machine else None
    mine = {m.id for m in (machine, old) if m}
    return next((a for a in have.addresses if a.machine in mine), have.address(wish.kind))


def _renamed(wish: Resize, have: Inventory, resources: tuple[str, ...]) -> Step:
    address = address_of(wish, have)
    return steps.ChangeKind((*resources, *([address.id] if address else [])), wish.kind, wish.becomes)


def _by_snapshot(wish: Resize, have: Inventory, machine: Machine) -> Iterator[Step]:
    """A spot machine: the new one is there, with a copy of the disk, before the old one goes.

    EC2 does not change the type of a stopped spot machine (ModifyInstanceAttribute: UnsupportedOperation).
    """
    yield from _copied(wish, have, machine)
    yield from _handed_over(wish, have, machine)
    yield steps.DeregisterSaved()
    yield from _loose(have, machine)
    if not wish.ran:
        yield steps.StopInstance()
        yield steps.AwaitStopped()


def _replaced(wish: Resize, have: Inventory, machine: Machine, old: Machine) -> Iterator[Step]:
    """The new one is there; an interrupted attempt left the old one."""
    _check_unused(have, machine, old)
    if machine.phase == "pending":
        yield steps.AwaitRunning()
    yield from _handed_over(wish, have, old)
    for image in have.images:
        if image.replaces == old.id:
            yield from _removed(image)
    yield from _loose(have, old)
    yield from _at_rest_or_not(wish, machine, phase="running" if machine.phase == "pending" else machine.phase)


def _check_unused(have: Inventory, machine: Machine, old: Machine) -> None:
    """Nothing has been written to the old disk that is not on the new one."""
    copied = [image.created for image in have.images if image.replaces == old.id]
    since = max(copied) if copied else machine.launched
    if old.phase in ("pending", "running") or (since and old.launched and old.launched > since):
        raise GpuError(
            f"{old.id} has run again since its disk was copied to {machine.id}: what was written then is on it alone",
            f"Save what you need of it, terminate it in the EC2 console, and run `gpu resize {machine.kind}` again",
        )


def _handed_over(wish: Resize, have: Inventory, old: Machine) -> Iterator[Step]:
    """The address goes to the new machine, and the old one goes."""
    address = address_of(wish, have)
    if address is not None and address.machine in (None, old.id):
        yield steps.AssociateAddress()
    if address is not None and address.kind != wish.becomes:
        yield _renamed(wish, have, ())
    if old.spot_request in {request.id for request in have.spot_requests}:
        yield steps.CancelSpot(str(old.spot_request))
    yield steps.Terminate((old.id,))


def _removed(image: Snapshot) -> Iterator[Step]:
    yield steps.DeregisterImage(image.image)
    yield from (steps.DeleteSnapshot(snapshot) for snapshot in image.snapshots)


def _loose(have: Inventory, old: Machine) -> Iterator[Step]:
    """What an interrupted attempt has left of earlier images."""
    yield from (steps.DeleteSnapshot(snapshot.id) for snapshot in have.loose if snapshot.replaces == old.id)


def _copied(wish: Resize, have: Inventory, machine: Machine) -> Iterator[Step]:
    yield from _stopped(machine)
    # One that is older than the machine's last start lacks what was written since.
    begun = machine.launched if machine.phase == "stopped" else None
    images = [i for i in have.images if i.replaces == machine.id]
    fresh = [i for i in images if begun and i.usable and i.created > begun]
    for image in images:
        if image not in fresh[-1:]:
            yield from _removed(image)
    if fresh:
        yield steps.AwaitImage(fresh[-1].image)
    else:
        yield steps.SaveDisk(machine.id, wish.becomes)
        yield steps.AwaitImage()
    yield steps.RunInstance(
        wish.becomes,
        wish.hardware.type,
        machine.zone,
        "",
        machine.root_device,
        wish.disk_gb,
        wish.key_name,
        spot=True,
        replaces=machine.id,
    )
    yield steps.AwaitRunning()
