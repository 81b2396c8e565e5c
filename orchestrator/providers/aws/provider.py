"""A profile's machine of one kind on EC2: what is wanted becomes a plan, and a plan becomes true."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

from ... import __version__
from ...errors import GpuError, MachineAbsent, MachineStopped
from ...prices import price, types_of
from ...settings import Home, Profile
from ...state import StateFile, lock
from ..base import Address, Finding, Item, Market, Plan, Price, State, Wish
from . import caller, images, keys, planner
from .ec2 import Ec2
from .executor import Executor, Local, Made
from .inventory import Inventory, Machine, Tags
from .session import NoCapacity, Session
from .steps import RunInstance


@dataclass(frozen=True)
class AwsPlan(Plan):
    """A plan that remembers its wish: it is made anew, under the lock, from what exists by then."""

    wish: Wish = field(default_factory=lambda: Wish(""))


class AwsProvider:
    def __init__(
        self, profile: Profile, *, kind: str, home: Home, session: Session, say: Callable[[str], None]
    ) -> None:
        self._profile = profile
        self._kind = kind
        self._home = home
        self._session = session
        self._say = say
        self._endpoint: str | None = None

    @classmethod
    def open(
        cls, profile: Profile, *, kind: str, home: Home, endpoint_url: str | None, say: Callable[[str], None]
    ) -> AwsProvider:
        """Asks nobody yet. UsageError for a kind that there is not."""
        types_of(kind)
        if profile.emulated and endpoint_url is None:
            raise GpuError(f"the profile {profile.name} needs the sandbox, which is not up", "gpu sandbox up")
        provider = cls(profile, kind=kind, home=home, session=Session(profile, endpoint_url), say=say)
        provider._endpoint = endpoint_url
        return provider

    # --- the seam

    def plan(self, wish: Wish) -> Plan:
        return self._plan(wish, self._ec2.inventory(), ())

    def start(self, plan: Plan) -> Address:
        wish = plan.wish if isinstance(plan, AwsPlan) else Wish(self._kind)
        host_key = keys.host_key(self._home, self._profile.name, wish.kind)
        with lock(self._home, self._profile.name, self._say):
            full: tuple[str, ...] = ()
            while True:
                have = self._ec2.inventory()
                fresh = self._plan(wish, have, full)
                if fresh.spends and not plan.spends:
                    raise GpuError("the machine has changed since the plan was shown", "Run the same command again")
                if any(isinstance(step, RunInstance) for step in fresh.steps):
                    keys.ensure(host_key)
                try:
                    self._executor(Made.already(wish.kind, have), wish.kind).carry_out(fresh.steps)
                    break
                except NoCapacity as error:
                    full = (*full, self._zone_without(fresh, full, error))
        return self._address_of(wish.kind)

    def stop(self) -> None:
        with lock(self._home, self._profile.name, self._say):
            machine = self._machine()
            if machine is None:
                raise MachineAbsent(self._kind, self._profile.name)
            executor = self._executor(Made(self._kind, machine=machine.id), self._kind)
            if machine.phase == "pending":
                executor.await_phase(machine.id, "running", unless=("terminated", "stopped"))
            if machine.phase in ("pending", "running"):
                self._say(f"stopping {machine.id}")
                self._ec2.stop_instance(machine.id)
            executor.await_phase(machine.id, "stopped", unless=("terminated",))

    def state(self) -> State:
        machine = self._machine()
        address = Inventory(addresses=self._ec2.addresses(self._kind)).address(self._kind)
        ip = address.ip if address else None
        if machine is None:
            return State(self._kind, "absent", ip=ip)
        return State(
            self._kind,
            machine.phase,
            machine_id=machine.id,
            ip=ip,
            machine_type=machine.type,
            launched=machine.launched,
            price=self._price(machine.type),
        )

    def address(self) -> Address:
        return self._address_of(self._kind)

    def plan_removal(self) -> Plan:
        return Plan(planner.plan_removal(self._ec2.inventory()))

    def remove(self, plan: Plan) -> None:
        del plan  # What exists by now is removed, not what existed when it was shown.
        with lock(self._home, self._profile.name, self._say):
            have = self._ec2.inventory()
            self._executor(Made(self._kind), self._kind).carry_out(planner.plan_removal(have))
            self._forget(have)

    def market(self) -> Market:
        from .market import AwsMarket

        return AwsMarket(self._session, self._ec2, self._home)

    def examine(self) -> Iterator[Finding]:
        from .examination import examine

        return examine(self._session, self._profile, self._home, self._kind)

    def audit(self) -> Iterator[Item]:
        from .audit import audit

        return audit(self._session, caller.owner(self._session))

    # --- how

    @cached_property
    def _ec2(self) -> Ec2:
        return Ec2(self._session, Tags(self._profile.name, caller.owner(self._session), __version__))

    def _plan(self, wish: Wish, have: Inventory, full: tuple[str, ...]) -> AwsPlan:
        machine = have.machine(wish.kind)
        choice = None if machine else self._choose(wish, full)
        request = planner.Request(
            wish.kind,
            port=self._profile.ssh_port,
            cidr=caller.address(self._endpoint),
            key_name=self._key_name(),
            disk_gb=self._profile.disk_gb,
            choice=choice,
            type=wish.instance_type,
        )
        steps = planner.plan_start(request, have)
        spends = any(isinstance(step, planner.SPENDING) for step in steps)
        kept = choice.type if choice else machine.type if machine else ""
        return AwsPlan(steps, price=self._price(kept), spends=spends, wish=wish)

    def _choose(self, wish: Wish, full: tuple[str, ...]) -> planner.Choice:
        types = (wish.instance_type,) if wish.instance_type else types_of(wish.kind)
        choice = images.choose(self._session, self._ec2, self._profile, types)
        return replace(choice, zones=tuple(zone for zone in choice.zones if zone not in full))

    def _zone_without(self, plan: AwsPlan, full: tuple[str, ...], error: NoCapacity) -> str:
        """The zone to leave out of the next plan; raises `error` when it was the last that has the type."""
        step = next((s for s in plan.steps if isinstance(s, RunInstance)), None)
        if step is None:
            raise error
        if set(self._ec2.zones(step.type)) <= {*full, step.zone}:
            raise error
        self._say(f"{step.zone} has no {step.type} free at the moment; trying the next zone")
        return step.zone

    def _executor(self, made: Made, kind: str) -> Executor:
        name = self._profile.name
        host_key = keys.host_key(self._home, name, kind)
        local = Local(
            state=StateFile(self._home, name, self._say),
            client_key=keys.client_key(self._home, name),
            host_key=host_key,
            port=self._profile.ssh_port,
            say=self._say,
        )
        return Executor(self._ec2, local, made)

    def _key_name(self) -> str:
        file = keys.client_key(self._home, self._profile.name)
        return keys.pair_name(self._profile.name, keys.ensure(file))

    def _machine(self) -> Machine | None:
        return Inventory(machines=self._ec2.machines(self._kind)).machine(self._kind)

    def _price(self, instance_type: str) -> Price | None:
        return price(instance_type, region=self._profile.region, disk_gb=self._profile.disk_gb)

    def _address_of(self, kind: str) -> Address:
        machine = Inventory(machines=self._ec2.machines(kind)).machine(kind)
        if machine is None:
            raise MachineAbsent(kind, self._profile.name)
        address = Inventory(addresses=self._ec2.addresses(kind)).address(kind)
        if machine.phase != "running" or address is None or address.machine != machine.id:
            raise MachineStopped(kind, machine.phase if machine.phase != "running" else "running without its address")
        name, port = self._profile.name, self._profile.ssh_port
        known = keys.known_hosts(self._home, name, kind)
        public = keys.public(keys.host_key(self._home, name, kind))
        keys.write_known_hosts(known, ip=address.ip, port=port, public_key=public)
        user = pwd.getpwuid(os.getuid()).pw_name if self._profile.emulated else self._profile.user
        return Address(address.ip, port, user, keys.client_key(self._home, name), known)

    def _forget(self, have: Inventory) -> None:
        """What this computer kept of machines that are gone: each new one gets a host key of its own."""
        state = StateFile(self._home, self._profile.name, self._say)
        for kind in {m.kind for m in have.machines} | {a.kind for a in have.addresses} | {self._kind}:
            keys.known_hosts(self._home, self._profile.name, kind).unlink(missing_ok=True)
            keys.host_key(self._home, self._profile.name, kind).unlink(missing_ok=True)
            state.forget_token(f"machine {kind}")
