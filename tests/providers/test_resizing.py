"""From one type of machine to another in a small simulation of EC2: interrupted after any step, it is gone on with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import GpuError, NotOffered
from orchestrator.providers.aws import planner, resizing, steps
from orchestrator.providers.aws.executor import Made
from orchestrator.providers.aws.inventory import (
    ALIVE,
    Build,
    ElasticIp,
    Hardware,
    Inventory,
    Loose,
    Machine,
    Snapshot,
    SpotRequest,
)
from orchestrator.providers.base import Step

T2, P2 = "t2.micro", "p2.xlarge"
FIRST = datetime(2026, 1, 1, tzinfo=timezone.utc)


def hardware(of: str = P2, **more: object) -> Hardware:
    usual = {
        "architectures": frozenset({"x86_64"}),
        "virtualizations": frozenset({"hvm"}),
        "boot_modes": frozenset({"legacy-bios", "uefi"}),
        "needs_ena": False,
    }
    return Hardware(of, **{**usual, **more})  # type: ignore[arg-type]


def wish(kind: str = "t2", becomes: str = "p2", *, ran: bool = True, of: Hardware | None = None) -> resizing.Resize:
    return resizing.Resize(
        kind, becomes=becomes, hardware=of or hardware(), zones=("a",), disk_gb=8, key_name="k", ran=ran
    )


def a_machine(phase: str = "running", *, spot: bool = False) -> Machine:
    return Machine(
        "i-0",
        "t2",
        phase,
        T2,
        "s",
        "k",
        launched=FIRST,
        zone="a",
        spot=spot,
        spot_request="sir-0" if spot else None,
        parts=("vol-0", "eni-0"),
    )


@dataclass
class World:
    """EC2 as far as a resize goes, and what is written on each disk: the numbers of the moments it was used."""

    machines: dict[str, Machine]
    addresses: dict[str, ElasticIp] = field(default_factory=dict)
    requests: dict[str, SpotRequest] = field(default_factory=dict)
    images: dict[str, Snapshot] = field(default_factory=dict)
    loose: dict[str, Loose] = field(default_factory=dict)
    disks: dict[str, int] = field(default_factory=dict)
    """Of machines and images: how often its machine had run when it was as it is."""
    now: datetime = FIRST
    made: Made = field(default_factory=lambda: Made(""))

    @classmethod
    def with_one(cls, phase: str, *, spot: bool) -> World:
        machine = a_machine(phase, spot=spot)
        world = cls({machine.id: machine}, {"e": ElasticIp("e", "192.0.2.9", "t2", "as", machine.id)})
        world.disks[machine.id] = 1
        if spot:
            world.requests["sir-0"] = SpotRequest("sir-0", machine.id, "active")
        return world

    @property
    def have(self) -> Inventory:
        return Inventory(
            machines=tuple(self.machines.values()),
            addresses=tuple(self.addresses.values()),
            spot_requests=tuple(self.requests.values()),
            images=tuple(self.images.values()),
            loose=tuple(self.loose.values()),
        )

    @property
    def alive(self) -> list[Machine]:
        return [m for m in self.machines.values() if m.phase in ALIVE]

    def use(self, machine: str) -> None:
        """Somebody starts it, if it has stopped, and works on it."""
        if self.machines[machine].phase == "stopped":
            self.put(machine, phase="running", launched=self.tick())
        if self.machines[machine].phase == "running":
            self.disks[machine] += 1

    def tick(self) -> datetime:
        self.now += timedelta(minutes=1)
        return self.now

    def put(self, machine: str, **what: object) -> None:
        self.machines[machine] = replace(self.machines[machine], **what)  # type: ignore[arg-type]

    def copies(self) -> int:
        """The newest state of the disk that can still be had."""
        usable = [i.image for i in self.images.values()]
        return max((self.disks[name] for name in [*(m.id for m in self.alive), *usable]), default=0)

    def do(self, step: Step) -> None:
        before = self.copies()
        getattr(self, "_" + type(step).__name__)(step)
        assert self.copies() == before, f"{step} loses the disk"

    def _AwaitStopped(self, step: steps.AwaitStopped) -> None:
        machine = step.machine or self.made.machine
        assert self.machines[machine].phase in ("stopping", "stopped")
        self.put(machine, phase="stopped")

    def _AwaitRunning(self, _: steps.AwaitRunning) -> None:
        assert self.machines[self.made.machine].phase in ("pending", "running")
        self.put(self.made.machine, phase="running")

    def _StopInstance(self, step: steps.StopInstance) -> None:
        machine = step.machine or self.made.machine
        assert self.machines[machine].phase in ("running", "stopping", "stopped")
        self.put(machine, phase="stopping")

    def _StartInstance(self, step: steps.StartInstance) -> None:
        assert self.machines[step.machine].phase == "stopped"
        self.put(step.machine, phase="pending", launched=self.tick())

    def _ChangeType(self, step: steps.ChangeType) -> None:
        machine = self.machines[step.machine]
        assert machine.phase == "stopped" and not machine.spot, "EC2 refuses that"
        self.put(step.machine, type=step.type)

    def _ChangeKind(self, step: steps.ChangeKind) -> None:
        for name in step.resources:
            if name in self.machines:
                self.put(name, kind=step.kind)
            if name in self.addresses:
                self.addresses[name] = replace(self.addresses[name], kind=step.kind)

    def _SaveDisk(self, step: steps.SaveDisk) -> None:
        assert self.machines[step.machine].phase == "stopped", "a disk that is written to is copied half"
        name = f"ami-{len(self.disks)}"
        self.made.image = name
        self.images[name] = Snapshot(name, step.machine, "pending", self.tick(), "/dev/sda1", (f"snap-{name}",))
        self.disks[name] = self.disks[step.machine]

    def _AwaitImage(self, step: steps.AwaitImage) -> None:
        image = self.images[step.image or self.made.image]
        self.images[image.image] = replace(image, state="available")
        self.made.image, self.made.snapshots = image.image, image.snapshots

    def _RunInstance(self, step: steps.RunInstance) -> None:
        image = self.images[self.made.image]
        assert image.state == "available" and step.spot and step.replaces
        name = f"i-{len(self.machines)}"
        request = f"sir-{len(self.machines)}"
        self.machines[name] = Machine(
            name, step.kind, "pending", step.type, "s", "k", self.tick(), "a", spot=True, spot_request=request
        )
        self.put(name, replaces=step.replaces)
        self.requests[request] = SpotRequest(request, name, "active")
        self.disks[name] = self.disks[image.image]
        self.made.machine = name

    def _AssociateAddress(self, _: steps.AssociateAddress) -> None:
        assert self.machines[self.made.machine].phase in ("running", "stopping", "stopped")
        self.addresses[self.made.address] = replace(self.addresses[self.made.address], machine=self.made.machine)

    def _CancelSpot(self, step: steps.CancelSpot) -> None:
        machine = self.requests.pop(step.request).machine
        if machine and self.machines[machine].phase in ("stopping", "stopped"):
            self._end(machine)

    def _Terminate(self, step: steps.Terminate) -> None:
        for machine in step.machines:
            standing = [r for r in self.requests.values() if r.machine == machine]
            assert not standing, "EC2 makes another machine for a request that outlives its own"
            self._end(machine)

    def _end(self, machine: str) -> None:
        self.put(machine, phase="terminated")
        for address in list(self.addresses.values()):
            if address.machine == machine:
                self.addresses[address.id] = replace(address, machine=None, association=None)

    def _DeregisterImage(self, step: steps.DeregisterImage) -> None:
        image = self.images.pop(step.image)
        self.loose.update({name: Loose(name, image.replaces) for name in image.snapshots})

    def _DeleteSnapshot(self, step: steps.DeleteSnapshot) -> None:
        del self.loose[step.snapshot]

    def _DeregisterSaved(self, _: steps.DeregisterSaved) -> None:
        for snapshot in self.images[self.made.image].snapshots:
            self._DeregisterImage(steps.DeregisterImage(self.made.image))
            self._DeleteSnapshot(steps.DeleteSnapshot(snapshot))


def plan(world: World, kind: str, becomes: str, *, ran: bool, of: str) -> tuple[Step, ...]:
    """As the provider makes it: the machine is looked for under both names."""
    kind = kind if world.have.machine(kind) else becomes
    wanted = wish(kind, becomes, ran=ran, of=hardware(of))
    world.made = Made.already(kind, world.have)
    address = resizing.address_of(wanted, world.have)
    world.made.address = address.id if address else ""
    return resizing.plan_resize(wanted, world.have)


def resize(world: World, becomes: str = "p2", *, ran: bool, of: str = P2, most: int | None = None) -> bool:
    """Carry out at most so many steps; True when it came to its end."""
    for number, step in enumerate(plan(world, "t2", becomes, ran=ran, of=of)):
        if number == most:
            return False
        world.do(step)
    return True


def check_end(world: World, *, kind: str, of: str, ran: bool, spot: bool) -> None:
    [machine] = world.alive
    assert (machine.kind, machine.type, machine.spot) == (kind, of, spot)
    assert machine.phase == ("running" if ran else "stopped")
    [address] = world.addresses.values()
    assert (address.kind, address.machine) == (kind, machine.id)
    assert [r.machine for r in world.requests.values()] == ([machine.id] if spot else [])
    assert not world.images and not world.loose


PHASES = ("pending", "running", "stopping", "stopped")


@given(
    phase=st.sampled_from(PHASES),
    spot=st.booleans(),
    becomes=st.sampled_from([("p2", P2), ("t2", "t3.micro")]),
    strikes=st.lists(st.integers(0, 14), max_size=4),
)
def test_interrupted_anywhere_it_comes_to_its_end(
    phase: str, spot: bool, becomes: tuple[str, str], strikes: list[int]
) -> None:
    kind, of = becomes
    world = World.with_one(phase, spot=spot)
    ran = phase in ("pending", "running")
    for most in strikes:
        resize(world, kind, ran=ran, of=of, most=most)
    assert resize(world, kind, ran=ran, of=of)
    check_end(world, kind=kind, of=of, ran=ran, spot=spot)
    assert plan(world, "t2", kind, ran=ran, of=of) == ()


@given(spot=st.booleans(), strikes=st.lists(st.integers(1, 14), min_size=1, max_size=3))
def test_what_was_written_between_two_attempts_is_kept(spot: bool, strikes: list[int]) -> None:
    world = World.with_one("stopped", spot=spot)
    for most in strikes:
        resize(world, ran=True, most=most)
        # The one that the next attempt finds: of two, the new one.
        found = world.have.machine("t2") or world.have.machine("p2")
        assert found
        world.use(found.id)
    newest = world.disks[found.id]
    assert resize(world, ran=True)
    check_end(world, kind="p2", of=P2, ran=True, spot=spot)
    assert world.disks[world.alive[0].id] == newest


@pytest.mark.parametrize("stopped", [False, True])
def test_an_old_machine_that_ran_again_is_not_removed(stopped: bool) -> None:
    world = World.with_one("stopped", spot=True)
    whole = [type(step) for step in plan(world, "t2", "p2", ran=True, of=P2)]
    resize(world, ran=True, most=whole.index(steps.RunInstance) + 1)
    world.use("i-0")
    if stopped:
        world.put("i-0", phase="stopped")
    with pytest.raises(GpuError, match="i-0 has run again"):
        resize(world, ran=True)
    assert len(world.alive) == 2


@pytest.mark.parametrize("spot", [False, True])
def test_every_single_interruption(spot: bool) -> None:
    for ran, phase in ((True, "running"), (False, "stopped")):
        whole = len(plan(World.with_one(phase, spot=spot), "t2", "p2", ran=ran, of=P2))
        assert whole > 1
        for most in range(whole):
            world = World.with_one(phase, spot=spot)
            assert not resize(world, ran=ran, most=most)
            assert resize(world, ran=ran)
            check_end(world, kind="p2", of=P2, ran=ran, spot=spot)


def test_an_image_that_failed_is_made_anew() -> None:
    world = World.with_one("stopped", spot=True)
    resize(world, ran=False, most=1)
    [image] = world.images.values()
    world.images[image.image] = replace(image, state="failed")
    world.disks[image.image] = 0
    assert resize(world, ran=False)
    check_end(world, kind="p2", of=P2, ran=False, spot=True)


def test_the_only_copy_of_a_disk_is_kept() -> None:
    """Its machine was terminated by somebody else while the copy was made: another machine's resize leaves it."""
    lost = Snapshot("ami-9", "i-9", "available", FIRST, "/dev/sda1", ("snap-9",))
    world = World.with_one("stopped", spot=False)
    world.images["ami-9"] = lost
    world.loose["snap-8"] = Loose("snap-8", "i-8")
    world.disks["ami-9"] = 0
    assert resize(world, ran=False)
    assert list(world.images) == ["ami-9"] and list(world.loose) == ["snap-8"]


def test_an_abandoned_resize_leaves_no_copy_that_costs() -> None:
    world = World.with_one("stopped", spot=True)
    resize(world, ran=False, most=2)
    assert world.images
    request = planner.Request("t2", port=22, cidr="192.0.2.1/32", key_name="k", disk_gb=8)
    removed = list(_without_network(request, world.have))
    assert [type(step).__name__ for step in removed] == ["DeregisterImage", "DeleteSnapshot"]


def _without_network(request: planner.Request, have: Inventory) -> Iterator[Step]:
    from orchestrator.providers.aws.removal import old_copies

    machine = have.machine(request.kind)
    assert machine
    return old_copies(have, stale=machine.id)


def test_no_second_machine_is_made_beside_one_that_is_being_replaced() -> None:
    world = World.with_one("stopped", spot=True)
    whole = [type(step) for step in plan(world, "t2", "p2", ran=True, of=P2)]
    resize(world, ran=True, most=whole.index(steps.RunInstance) + 1)
    request = planner.Request("t2", port=22, cidr="192.0.2.1/32", key_name="k", disk_gb=8)
    with pytest.raises(GpuError, match="Finish it with: gpu resize p2"):
        planner.plan_start(request, world.have)


@pytest.mark.parametrize(
    ("build", "of", "word"),
    [
        (Build(architecture="x86_64"), hardware("g5g.xlarge", architectures=frozenset({"arm64"})), "architecture"),
        (Build(virtualization="paravirtual"), hardware(), "virtualisation"),
        (Build(boot_mode="uefi"), hardware(boot_modes=frozenset({"legacy-bios"})), "boot mode"),
        (Build(ena=False), hardware("g6.xlarge", needs_ena=True), "ENA"),
    ],
)
@pytest.mark.parametrize("spot", [False, True])
def test_what_does_not_fit_is_refused_before_anything_changes(
    build: Build, of: Hardware, word: str, spot: bool
) -> None:
    have = Inventory(machines=(replace(a_machine(spot=spot), build=build),))
    with pytest.raises(NotOffered, match=word) as refusal:
        resizing.plan_resize(wish(of=of), have)
    assert "Nothing was changed" in str(refusal.value)


def test_another_zone_is_refused_with_those_that_have_it() -> None:
    have = Inventory(machines=(replace(a_machine(), zone="b"),))
    with pytest.raises(NotOffered, match="a does"):
        resizing.plan_resize(wish(), have)


def test_a_kind_that_is_taken_is_refused() -> None:
    other = replace(a_machine(), id="i-1", kind="p2", type=P2)
    with pytest.raises(GpuError, match="i-1"):
        resizing.plan_resize(wish(), Inventory(machines=(a_machine(), other)))
