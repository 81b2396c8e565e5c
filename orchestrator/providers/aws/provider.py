"""A profile's machine of one kind on EC2: what is wanted becomes a plan, and a plan becomes true."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from functools import cached_property

from ... import __version__
from ...errors import GpuError, MachineAbsent, MachineStopped
from ...prices import types_of
from ...settings import Home, Profile
from ...state import Belonging, StateFile, Unlockable, lock
from ..base import Address, Finding, Imaging, Item, Market, Plan, State, Wish
from . import caller, keys, removal
from .api import Live
from .changes import Changes
from .ec2 import Ec2
from .executor import Executor, KeptTokens, Local, NoTokens
from .inventory import ALIVE, BUILDER, Inventory, Machine, Tags
from .memory import Memory
from .plans import AwsPlan, Plans
from .scribe import Scribe, mention
from .session import Gone, NoCapacity, NoQuota, Session
from .shortage import Shortage
from .steps import ChangeKind, RunInstance, StartInstance
from .turns import baking
from .userdata import user_data
from .waiting import Watch, Written, persistently, terminated


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
        if kind != BUILDER:
            types_of(kind)
        if profile.emulated and endpoint_url is None:
            raise GpuError(f"the profile {profile.name} needs the sandbox, which is not up", "gpu sandbox up")
        provider = cls(profile, kind=kind, home=home, session=Session(profile, endpoint_url), say=say)
        provider._endpoint = endpoint_url
        return provider

    # --- the seam

    def plan(self, wish: Wish) -> AwsPlan:
        have = self._ec2.inventory()
        self._memory.check_finished(have)
        plan = self._plans.start(wish, have)
        self._check_known(plan)
        return plan

    def start(self, plan: Plan) -> Address:
        wish = replace(plan.wish, rest=False) if isinstance(plan, AwsPlan) else Wish(self._kind)
        full: list[str] = []

        def attempt() -> None:
            have = self._ec2.inventory()
            self._memory.check_finished(have)
            fresh = self._plans.start(wish, have, tuple(full))
            _check_as_shown(plan, fresh)
            self._check_known(fresh)
            try:
                self._carry_out(fresh, wish.kind)
            except (NoCapacity, NoQuota) as refusal:
                zone = self._shortage.full_zone(refusal, fresh, full)
                if zone is None:
                    raise self._shortage.in_words(refusal, fresh, have.machine(wish.kind)) from refusal
                self._say(f"{zone} has no such machine free at the moment; trying the next zone")
                full.append(zone)
                attempt()

        with self._alone():
            self._state.belong(self._belonging)
            persistently(attempt, self._say)
            self._memory.forget()
        return self._address_of(wish.kind)

    def stop(self) -> None:
        def attempt() -> None:
            machine = self._machine()
            if machine is None:
                raise MachineAbsent(self._kind, self._profile.name)
            watch = Watch(self._ec2, self._say)
            phase = machine.phase
            if phase == "pending":
                phase = watch.machine(machine.id, "running", unless=("shutting-down", "terminated", "stopped"))
            if phase == "running":
                self._say(f"stopping {machine.id}")
                self._changes.stop_instance(machine.id)
            if watch.machine(machine.id, "stopped", unless=("terminated",)) == "terminated":
                raise terminated(machine.id)

        with ExitStack() as alone:
            try:
                alone.enter_context(self._alone())
            except Unlockable as error:
                self._say(f"stopping it without a lock: {error.what}")
            persistently(attempt, self._say)
            try:
                self._memory.forget()
            except GpuError as error:
                self._say(f"an interrupted resize is not forgotten: {error.what}")

    def state(self) -> State:
        machine = self._machine()
        address = Inventory(addresses=self._ec2.addresses(self._kind)).address(self._kind)
        ip = address.ip if address else machine.public_ip if machine else None
        if machine is None:
            return State(self._kind, "absent", ip=ip)
        return State(
            self._kind,
            machine.phase,
            machine_id=machine.id,
            ip=ip,
            machine_type=machine.type,
            launched=machine.launched,
            price=self._plans.price(machine.type, spot=machine.spot),
            spot=machine.spot,
            stopped=machine.stopped,
            stop_reason=machine.reason,
            disk_gb=self._profile.disk_gb,
        )

    def address(self) -> Address:
        return self._address_of(self._kind)

    # --- what only a cloud has

    def kind_of(self, machine_id: str) -> str | None:
        alive = (machine for machine in self._ec2.machines() if machine.phase in ALIVE)
        return next((machine.kind for machine in alive if machine.id == machine_id), None)

    def others(self) -> list[State]:
        return [
            State(m.kind, m.phase, m.id, None, m.type, m.launched, self._plans.price(m.type, spot=m.spot), m.spot)
            for m in self._ec2.machines()
            if m.phase in ALIVE and m.kind not in ("", BUILDER, self._kind)
        ]

    def admit(self) -> bool:
        # Looked at before the lock: a door that is open needs nobody to wait for another command.
        if not self._plans.entrance(self._kind, self._ec2.inventory()).steps:
            return False
        with self._alone():
            plan = self._plans.entrance(self._kind, self._ec2.inventory())
            self._carry_out(plan, self._kind)
        return bool(plan.steps)

    def plan_resize(self, wish: Wish) -> AwsPlan:
        return self._plans.resize(wish, self._kind, self._ec2.inventory(), ran=self._memory.ran)

    def resize(self, plan: Plan) -> str:
        assert isinstance(plan, AwsPlan)

        def attempt() -> str:
            have = self._ec2.inventory()
            fresh = self._plans.resize(plan.wish, self._kind, have, ran=self._memory.ran)
            machine = next((m for m in have.machines if m.id == fresh.made.machine), None)
            if machine and fresh.steps:
                self._memory.keep(machine)
            if any(isinstance(step, ChangeKind) and fresh.made.machine in step.resources for step in fresh.steps):
                keys.hand_on(self._home, self._profile.name, self._kind, fresh.wish.kind)
            try:
                self._carry_out(fresh, fresh.wish.kind)
            except (NoCapacity, NoQuota) as refusal:
                now = self._ec2_machine(fresh.wish.kind) or machine
                raise self._shortage.in_words(refusal, fresh, now) from refusal
            except Gone as gone:
                if machine and not (self._machine() or self._ec2_machine(fresh.wish.kind)):
                    raise terminated(machine.id) from gone
                raise
            return fresh.wish.kind

        with self._alone():
            kind = persistently(attempt, self._say)
            self._memory.forget()
            if self._ec2_machine(kind) is None:
                raise terminated(plan.made.machine)
            if kind != self._kind:
                keys.forget_host_key(self._home, self._profile.name, self._kind)
        return kind

    def kinds(self) -> Sequence[str]:
        return sorted({m.kind for m in self._ec2.machines() if m.phase in ALIVE and m.kind != BUILDER})

    def plan_removal(self, only: str | None = None) -> AwsPlan:
        return AwsPlan(removal.plan_removal(self._going(only)))

    def remove(self, plan: Plan, check: Callable[[], None] = lambda: None, only: str | None = None) -> None:
        del plan  # What exists by now is removed, not what existed when it was shown.
        # Whoever bakes has a machine of its own, in the network that stays with the machines of other kinds.
        with nullcontext() if only else baking(self._home, self._profile.name, self._say), self._alone():

            def attempt() -> Inventory:
                have = self._going(only)
                harmless, final = removal.parted(removal.plan_removal(have))
                self._carry_out(AwsPlan(harmless), self._kind)
                if any(machine.phase in ALIVE for machine in have.machines):
                    try:
                        check()
                    except BaseException:
                        for step in harmless:
                            self._changes.protect(step.machine)
                        raise
                self._carry_out(AwsPlan(final), self._kind)
                return have

            have = persistently(attempt, self._say)
            self._forget(have)
            if only is None:
                self._state.belong(None)
            if kept := [image for image in have.baked if image.state == "available"]:
                month = sum(image.per_month for image in kept)
                names = ", ".join(image.id for image in kept)
                self._say(
                    f"images of your own stay, at most ${month:.2f} a month: {names}; see: gpu ami prune --keep 0"
                )

    def _going(self, only: str | None) -> Inventory:
        have = self._ec2.inventory()
        return removal.of_kind(have, only) if only else have

    def script(self, plan: Plan) -> Iterator[tuple[str, tuple[str, ...]]]:
        assert isinstance(plan, AwsPlan)
        scribe = Scribe(self._profile.region)
        made = replace(plan.made)
        local = Local(NoTokens(), self._public_key, user_data=lambda: mention("user_data"), say=lambda _: None)
        executor = Executor(Changes(scribe, self._tags), Written(scribe), local, made)
        for step in plan.steps:
            executor.do(step)
            yield step.sentence(), scribe.take()

    def imaging(self) -> Imaging:
        from .imaging import Workshop

        return Workshop(
            self._profile, self._home, self._session, self._say, endpoint=self._endpoint, belonging=self._owner_here
        )

    def _owner_here(self) -> Belonging:
        return self._belonging

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
    def _tags(self) -> Tags:
        return Tags(self._profile.name, self._belonging.owner, __version__)

    @cached_property
    def _belonging(self) -> Belonging:
        """Who calls, and where; refuses another account or region than the profile's things are in."""
        mine = Belonging(caller.owner(self._session), self._profile.region)
        before = self._state.belonging()
        if before and before != mine:
            raise GpuError(
                f"the things of the profile {self._profile.name} belong to {before.owner} in {before.region}, and "
                f"this would be {mine.owner} in {mine.region}",
                "Use those credentials and that region, or give the other account a profile of its own",
            )
        return mine

    @cached_property
    def _ec2(self) -> Ec2:
        return Ec2(self._session, self._tags)

    @cached_property
    def _changes(self) -> Changes:
        return Changes(Live(self._session), self._tags)

    @cached_property
    def _plans(self) -> Plans:
        return Plans(self._session, self._ec2, self._profile, self._home, self._endpoint)

    @cached_property
    def _shortage(self) -> Shortage:
        return Shortage(self._ec2, self._plans)

    @cached_property
    def _memory(self) -> Memory:
        return Memory(self._state, self._kind)

    @cached_property
    def _state(self) -> StateFile:
        return StateFile(self._home, self._profile.name, self._say)

    def _alone(self) -> AbstractContextManager[None]:
        return lock(self._home, self._profile.name, self._say)

    def _check_known(self, plan: AwsPlan) -> None:
        """Before it costs: a machine that this computer would not know again is started for nothing."""
        if any(isinstance(step, StartInstance) for step in plan.steps):
            keys.public_host_keys(self._home, self._profile.name, plan.wish.kind)

    def _carry_out(self, plan: AwsPlan, kind: str) -> None:
        profile = self._profile
        host_key = keys.host_key(self._home, profile.name, kind)
        birth = next((step for step in plan.steps if isinstance(step, RunInstance)), None)
        if birth:
            keys.fresh_host_key(self._home, profile.name, kind, beside=birth.replaces is not None)
        local = Local(
            KeptTokens(self._state),
            self._public_key,
            user_data=lambda: user_data(
                host_key,
                keys.public(host_key),
                port=profile.ssh_port,
                user=self._user,
                autostop=profile.autostop,
                max_hours=profile.max_hours,
            ),
            say=self._say,
        )
        Executor(self._changes, Watch(self._ec2, self._say), local, plan.made).carry_out(plan.steps)

    @property
    def _user(self) -> str:
        """Who one is on the machine: in the sandbox whoever runs it."""
        return pwd.getpwuid(os.getuid()).pw_name if self._profile.emulated else self._profile.user

    def _public_key(self) -> str:
        return keys.public(keys.client_key(self._home, self._profile.name))

    def _machine(self) -> Machine | None:
        return self._ec2_machine(self._kind)

    def _ec2_machine(self, kind: str) -> Machine | None:
        return Inventory(machines=self._ec2.machines(kind)).machine(kind)

    def _address_of(self, kind: str) -> Address:
        machine = self._ec2_machine(kind)
        if machine is None:
            raise MachineAbsent(kind, self._profile.name)
        address = Inventory(addresses=self._ec2.addresses(kind)).address(kind)
        if machine.phase != "running" or address is None or address.machine != machine.id:
            raise MachineStopped(kind, machine.phase if machine.phase != "running" else "running without its address")
        name, port = self._profile.name, self._profile.ssh_port
        known = keys.write_known_hosts(self._home, name, kind, ip=address.ip, port=port)
        return Address(address.ip, port, self._user, keys.client_key(self._home, name), known)

    def _forget(self, have: Inventory) -> None:
        """What this computer kept of machines that are gone: each new one gets a host key of its own."""
        for kind in {m.kind for m in have.machines} | {a.kind for a in have.addresses} | {self._kind}:
            keys.forget_host_key(self._home, self._profile.name, kind)
            self._state.forget_token(f"machine {kind}")
            Memory(self._state, kind).forget()


def _check_as_shown(shown: Plan, fresh: AwsPlan) -> None:
    """What was not agreed to is not begun: a start that costs, or a new machine instead of the one that was there."""
    if any(isinstance(step, RunInstance) for step in fresh.steps) and shown.steps:
        same = any(isinstance(step, RunInstance) for step in shown.steps)
    else:
        same = shown.spends or not fresh.spends
    if not same:
        raise GpuError("the machine has changed since the plan was shown", "Run the same command again")
