"""From a wish to a plan: what the region says of types, zones, images and prices goes into the pure planners."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ami import bake

from ...errors import MachineAbsent, UsageError
from ...prices import price, table, types_of
from ...settings import Home, Profile
from ..base import BakeWish, Plan, Price, Step, Wish
from . import baking, caller, keys, planner, resizing, steps
from .ec2 import Ec2
from .executor import Made
from .images import Images
from .inventory import ALIVE, BUILDER, Hardware, Inventory, Machine
from .market import AwsMarket
from .memory import RUNNING
from .quotas import Quotas
from .session import NoQuota, Session


@dataclass(frozen=True)
class AwsPlan(Plan):
    """A plan that remembers its wish: it is made anew, under the lock, from what exists by then."""

    wish: Wish = field(default_factory=lambda: Wish(""))
    made: Made = field(default_factory=lambda: Made(""))
    """What the steps can count on."""


class Plans:
    def __init__(self, session: Session, ec2: Ec2, profile: Profile, home: Home, endpoint: str | None) -> None:
        self._session = session
        self._ec2 = ec2
        self._profile = profile
        self._home = home
        self._endpoint = endpoint
        self._images = Images(session, ec2, profile)

    def start(self, wish: Wish, have: Inventory, full: tuple[str, ...] = ()) -> AwsPlan:
        """To a running machine; `full` are the zones that have just turned it down."""
        # No machine of gpu's own making up: the one that bakes an image is nobody's to start.
        types_of(wish.kind)
        machine = have.machine(wish.kind)
        choice = None if machine else self._choose(wish, full)
        request = planner.Request(
            wish.kind,
            port=self._profile.ssh_port,
            cidr=caller.address(self._endpoint),
            key_name=self.key_name(),
            disk_gb=self._profile.disk_gb,
            choice=choice,
            type=wish.instance_type,
            spot=self._profile.spot if wish.spot is None and machine is None else wish.spot,
        )
        made = planner.plan_start(request, have)
        spot = machine.spot if machine else bool(request.spot)
        kept = choice.type if choice else machine.type if machine else ""
        spends = any(isinstance(step, planner.SPENDING) for step in made)
        if spends:
            # Shown before it is agreed to: from the price list of these days, where that can be read.
            AwsMarket(self._session, self._ec2, self._home).freshen((kept,), spot=spot)
        if wish.rest and _begins(made):
            made = (*made, steps.StopInstance(), steps.AwaitStopped())
        return AwsPlan(
            made,
            price=self.price(kept, spot=spot),
            spends=spends,
            wish=wish,
            made=Made.already(wish.kind, have),
        )

    def bake(self, wish: BakeWish, have: Inventory, name: str, full: tuple[str, ...] = ()) -> AwsPlan:
        """All of a bake, to be shown."""
        request = self._builder(wish, baking.without_leftovers(have), full)
        made = Made.already(BUILDER, baking.without_leftovers(have))
        return self._spending(request, baking.plan_bake(request, have, name), made)

    def builder(self, wish: BakeWish, have: Inventory, full: tuple[str, ...] = ()) -> AwsPlan:
        """To a machine that bakes, when what earlier ones left is gone."""
        request = self._builder(wish, have, full)
        return self._spending(request, baking.plan_builder(request, have), Made.already(BUILDER, have))

    def _spending(self, request: planner.Request, made: tuple[Step, ...], known: Made) -> AwsPlan:
        assert request.choice is not None
        AwsMarket(self._session, self._ec2, self._home).freshen((request.choice.type,))
        price = self.price(request.choice.type, spot=False)
        return AwsPlan(made, price=price, spends=True, wish=Wish(BUILDER), made=known)

    def _builder(self, wish: BakeWish, have: Inventory, full: tuple[str, ...]) -> planner.Request:
        """On demand: a spot machine may go before its image is made."""
        vpc = have.vpc()
        subnet = have.subnet(vpc.id) if vpc else None
        # The network's one subnet is in one zone, as long as a machine is in it.
        taken = subnet is not None and any(m.subnet == subnet.id and m.phase in ALIVE for m in have.machines)
        zone = subnet.zone if subnet and taken else None
        machine_type, zones = self._images.first_offered(self._builder_types(wish), zone)
        source = self._images.source(wish.source)
        free = tuple(one for one in zones if one not in full)
        return planner.Request(
            BUILDER,
            port=self._profile.ssh_port,
            cidr=caller.address(self._endpoint),
            key_name=self.key_name(),
            disk_gb=self._profile.disk_gb,
            choice=planner.Choice(machine_type, free, source.id, source.root_device, source.name),
            spot=False,
        )

    def _builder_types(self, wish: BakeWish) -> tuple[str, ...]:
        if wish.machine_type or wish.kind:
            return types_of(wish.machine_type or wish.kind or "")
        known, region = table().types, self._profile.region
        enough = [n for n, t in known.items() if t.gpu is None and t.memory_gb >= bake.LEAST_MEMORY_GB]
        return tuple(sorted(enough, key=lambda name: known[name].hour.get(region, float("inf"))))

    def image_of(self, kind: str) -> tuple[str, str]:
        """With which image a new machine of the kind would begin, and why."""
        choice = self._images.choose(types_of(kind))
        return choice.image, choice.why

    def entrance(self, kind: str, have: Inventory) -> AwsPlan:
        """To a security group that lets this computer's address of today in, where there is one."""
        request = planner.Request(
            kind,
            port=self._profile.ssh_port,
            cidr=caller.address(self._endpoint),
            key_name=self.key_name(),
            disk_gb=self._profile.disk_gb,
        )
        made = Made.already(kind, have)
        return AwsPlan(tuple(planner.plan_entrance(request, have)) if made.group else (), made=made)

    def resize(self, wish: Wish, kind: str, have: Inventory, *, ran: Callable[[Machine], bool | None]) -> AwsPlan:
        """From the machine of `kind` to the wish; `ran` is what an interrupted attempt remembers of it."""
        # Only the name of a kind changes the kind: a type that was named is other hardware under the same name.
        becomes = kind if wish.instance_type else wish.kind
        machine = have.machine(kind)
        if machine is None and becomes != kind:
            kind, machine = becomes, have.machine(becomes)
        if machine is None:
            raise MachineAbsent(kind, self._profile.name)
        hardware = self._hardware(wish, machine)
        remembered = ran(machine)
        runs = machine.phase in RUNNING if remembered is None else remembered
        request = resizing.Resize(
            kind,
            becomes=becomes,
            hardware=hardware,
            zones=self._ec2.zones(hardware.type),
            disk_gb=self._profile.disk_gb,
            key_name=self.key_name(),
            ran=runs,
        )
        made = Made.already(kind, have)
        address = resizing.address_of(request, have)
        made.address = address.id if address else ""
        planned = resizing.plan_resize(request, have)
        if machine.type != hardware.type:
            self._check_quota(hardware, spot=machine.spot)
        return AwsPlan(
            planned,
            price=self.price(hardware.type, spot=machine.spot),
            spends=True,
            wish=replace(wish, kind=becomes),
            made=made,
        )

    def price(self, instance_type: str, *, spot: bool) -> Price | None:
        return price(
            instance_type,
            region=self._profile.region,
            disk_gb=self._profile.disk_gb,
            spot=spot,
            cache=self._home.cache / "prices",
        )

    def key_name(self) -> str:
        file = keys.client_key(self._home, self._profile.name)
        return keys.pair_name(self._profile.name, keys.ensure(file))

    def alternatives(self, machine_type: str, kind: str, zone: str) -> list[str]:
        """Up to four types that `zone` offers and that the machine could be, its kind's own first."""
        known, offered = table().types, self._ec2.offered(zone)
        has_gpu = machine_type in known and known[machine_type].gpu is not None
        fitting = [t for t in dict.fromkeys((*types_of(kind), *known)) if t != machine_type and t in offered]
        return [t for t in fitting if t in known and (known[t].gpu is not None) == has_gpu][:4]

    def _choose(self, wish: Wish, full: tuple[str, ...]) -> planner.Choice:
        types = (wish.instance_type,) if wish.instance_type else types_of(wish.kind)
        choice = self._images.choose(types)
        return replace(choice, zones=tuple(zone for zone in choice.zones if zone not in full))

    def _check_quota(self, hardware: Hardware, *, spot: bool) -> None:
        """Before the stop: a new account may have no GPU machine until it has asked for one."""
        if not Quotas(self._session).allows(hardware.type, hardware.vcpus, spot=spot):
            raise NoQuota(
                f"this account may not have a {hardware.type}{' at the spot price' if spot else ''}: "
                f"its quota is less than the {hardware.vcpus} vCPUs that it needs",
                "See it with `gpu quota`, and ask for more with: gpu quota --request. Nothing was changed",
            )

    def _hardware(self, wish: Wish, machine: Machine) -> Hardware:
        """Of the named type; of a kind, the first type that the region offers, or the one that the machine has."""
        types = (wish.instance_type,) if wish.instance_type else types_of(wish.kind)
        if machine.type in types:
            types = (machine.type,)
        for name in types:
            if self._ec2.zones(name) and (hardware := self._ec2.hardware(name)):
                return hardware
        raise UsageError(
            f"the region {self._profile.region} does not offer {' or '.join(types)}", "See what it has: gpu types"
        )


def _begins(made: tuple[object, ...]) -> bool:
    return any(isinstance(step, steps.RunInstance) for step in made)
