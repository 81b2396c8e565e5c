"""What goes: all of it with `destroy`, and what interrupted commands have left behind. Pure, as the planner is."""

from __future__ import annotations

from collections.abc import Iterator

from ..base import Step
from . import steps
from .inventory import ALIVE, BUILDER, Inventory, SpotRequest


def plan_removal(have: Inventory) -> tuple[Step, ...]:
    """Everything in `have` removed, what depends on another thing before it."""
    leaving = tuple(m for m in have.machines if m.phase != "terminated")
    gone = {m.id for m in leaving}
    return (
        *(steps.Unprotect(m.id) for m in leaving if not m.spot and m.phase != "shutting-down"),
        # Before its machine: EC2 makes another one for a spot request that outlives its own.
        *(steps.CancelSpot(r.id) for r in have.spot_requests),
        *([steps.Terminate(tuple(m.id for m in leaving))] if leaving else []),
        *(steps.DeregisterImage(i.image) for i in have.images),
        *(steps.DeleteSnapshot(s) for i in have.images for s in i.snapshots),
        *(steps.DeleteSnapshot(s.id) for s in have.loose),
        *unfinished(have),
        # A machine that is terminated lets go of its address by itself.
        *(steps.ReleaseAddress(a.id, a.ip, a.association if a.machine not in gone else None) for a in have.addresses),
        *(steps.DeleteKey(name) for name in have.keys),
        *without(have),
    )


def of_kind(have: Inventory, kind: str) -> Inventory:
    """What only the kind's machine has. The network, the key and the images stay, for the machines of other kinds."""
    machines = tuple(m for m in have.machines if m.kind == kind)
    mine, others = {m.id for m in machines}, {m.id for m in have.machines if m.kind != kind}
    asked = {m.spot_request for m in machines}

    def ours(request: SpotRequest) -> bool:
        free = request.kind == kind and request.machine not in others
        return free or request.machine in mine or request.id in asked

    return Inventory(
        machines=machines,
        addresses=tuple(a for a in have.addresses if a.kind == kind),
        spot_requests=tuple(r for r in have.spot_requests if ours(r)),
        images=tuple(i for i in have.images if i.replaces in mine),
        loose=tuple(s for s in have.loose if s.replaces in mine),
    )


def parted(plan: tuple[Step, ...]) -> tuple[tuple[steps.Unprotect, ...], tuple[Step, ...]]:
    """What of a removal can be taken back, which comes first, and the rest."""
    harmless = tuple(step for step in plan if isinstance(step, steps.Unprotect))
    return harmless, plan[len(harmless) :]


def unfinished(have: Inventory) -> Iterator[Step]:
    """The images for machines to begin with that are not whole, and the snapshots that are under none. Finished ones
    are not of a machine's life: they go with `gpu ami prune`."""
    for image in have.baked:
        if image.state != "available":
            yield steps.DeregisterImage(image.id)
            yield from (steps.DeleteSnapshot(snapshot) for snapshot in image.snapshots)
    # As long as an image is being made, EC2 may not tell which snapshot is under it: those have our tags too.
    yield from (steps.DeleteSnapshot(snapshot) for snapshot in have.layers)


def leftovers(have: Inventory) -> Iterator[Step]:
    """What an interrupted bake leaves of its own: all but its image, when that is whole."""
    builders = tuple(m.id for m in have.machines if m.kind == BUILDER and m.phase != "terminated")
    if builders:
        yield steps.Terminate(builders)
    yield from unfinished(have)


def after_bake(have: Inventory) -> Iterator[Step]:
    """All that a bake takes, the network too where nobody else is in it."""
    yield from leftovers(have)
    if not lived_in(have):
        yield from (steps.DeleteKey(name) for name in have.keys)
        yield from without(have)


def lived_in(have: Inventory) -> bool:
    """Something of the profile's own is there, for which the network is kept."""
    machines = [m for m in have.machines if m.kind != BUILDER and m.phase != "terminated"]
    return bool(machines or have.addresses or have.spot_requests or have.images or have.loose)


def without(have: Inventory) -> Iterator[Step]:
    """The networks removed, when nothing runs in them any more."""
    yield from (steps.DeleteGroup(g.id) for g in have.groups)
    yield from (steps.DeleteTable(t.id, tuple(link for link, _ in t.links)) for t in have.tables)
    yield from (steps.DeleteSubnet(s.id) for s in have.subnets)
    yield from (steps.DeleteGateway(g.id, g.vpc) for g in have.gateways)
    yield from (steps.DeleteVpc(v.id) for v in have.vpcs)


def twins(have: Inventory, kind: str) -> Iterator[Step]:
    """What an interrupted start made twice, EC2 not having told the second one yet of what the first one made."""
    kept = have.address(kind)
    for address in have.addresses:
        if address.kind == kind and address is not kept and address.machine is None:
            yield steps.ReleaseAddress(address.id, address.ip, address.association)
    vpc = have.vpc()
    inhabited = {s.vpc for s in have.subnets if any(m.subnet == s.id and m.phase in ALIVE for m in have.machines)}
    for spare in have.vpcs:
        if vpc and spare.id != vpc.id and spare.id not in inhabited:
            yield from without(_inside(have, spare.id))
    for gateway in have.gateways:
        if gateway.vpc is None and gateway is not (have.gateway(vpc.id) if vpc else None) and len(have.gateways) > 1:
            yield steps.DeleteGateway(gateway.id, None)


def _inside(have: Inventory, vpc: str) -> Inventory:
    """What belongs to one network."""
    return Inventory(
        vpcs=tuple(v for v in have.vpcs if v.id == vpc),
        gateways=tuple(g for g in have.gateways if g.vpc == vpc),
        subnets=tuple(s for s in have.subnets if s.vpc == vpc),
        tables=tuple(t for t in have.tables if t.vpc == vpc),
        groups=tuple(g for g in have.groups if g.vpc == vpc),
    )


def old_copies(have: Inventory, *, stale: str | None = None) -> Iterator[Step]:
    """The copies of disks that an interrupted resize has left behind and nothing will be made from any more.

    Those of a machine that is gone and whose place another one has taken; and those of `stale`, a machine that has
    gone on without having been replaced. A copy is kept where it is the only one.
    """
    alive = {m.id for m in have.machines if m.phase in ALIVE}

    def useless(machine: str) -> bool:
        return machine == stale or (machine not in alive and have.successor(machine) is not None)

    for image in have.images:
        if useless(image.replaces):
            yield steps.DeregisterImage(image.image)
            yield from (steps.DeleteSnapshot(snapshot) for snapshot in image.snapshots)
    if not any(image.state == "pending" for image in have.images):
        # As long as an image is being made, EC2 does not tell which snapshot is under it.
        yield from (steps.DeleteSnapshot(snapshot.id) for snapshot in have.loose if useless(snapshot.replaces))
