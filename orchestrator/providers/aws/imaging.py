"""Images of one's own on EC2: baked on a machine that is made for it, kept, thinned out, copied to other regions."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import cached_property

from ... import __version__
from ...errors import GpuError, UsageError, nearest
from ...settings import Home, Profile
from ...state import Belonging, StateFile, lock
from ..base import Address, BakeWish, MachineImage, Plan, Pruned, State, Told
from . import baking, keys, removal, turns
from .api import Live
from .audit import regions
from .bakery import Bakery, Elsewhere
from .changes import Changes
from .ec2 import Ec2
from .executor import KeptTokens, Local, Made, NoTokens
from .inventory import BUILDER, Inventory, Machine, Tags
from .plans import AwsPlan, Plans
from .scribe import Scribe, mention
from .session import Gone, NoCapacity, Session
from .steps import DeleteSnapshot, DeregisterImage, RunInstance
from .userdata import user_data
from .waiting import Watch, Written, persistently

IDLE_MINUTES, MOST_HOURS = 60, 6
"""After which a builder that was forgotten stops itself, whatever the profile says of its machines."""


@dataclass(frozen=True)
class BakePlan(AwsPlan):
    asked: BakeWish = field(default_factory=BakeWish)


@dataclass(frozen=True)
class CopyPlan(AwsPlan):
    image: MachineImage | None = None
    region: str = ""


class Workshop:
    """One profile's. `belonging` says who calls, and refuses another account than the profile's things are in."""

    def __init__(
        self,
        profile: Profile,
        home: Home,
        session: Session,
        say: Callable[[str], None],
        *,
        endpoint: str | None,
        belonging: Callable[[], Belonging],
    ) -> None:
        self._profile = profile
        self._home = home
        self._session = session
        self._say = say
        self._endpoint = endpoint
        self._belonging = belonging
        self._name = f"gpu-{profile.name}-{datetime.now(timezone.utc):%Y%m%d-%H%M%S}"

    def elsewhere(self, region: str) -> Workshop:
        if region == self._profile.region:
            return self
        self._check(region)
        return Workshop(
            replace(self._profile, region=region),
            self._home,
            self._session.elsewhere(region),
            self._say,
            endpoint=self._endpoint,
            belonging=self._belonging,
        )

    def turn(self) -> AbstractContextManager[None]:
        return turns.baking(self._home, self._profile.name, self._say)

    # --- baking

    def plan_bake(self, wish: BakeWish) -> BakePlan:
        plan = self._plans.bake(wish, self._ec2.inventory(), self._name)
        costs = baking.bake_costs(plan.price, self._profile.disk_gb)
        return BakePlan(plan.steps, plan.price, plan.spends, costs, wish=plan.wish, made=plan.made, asked=wish)

    def make_builder(self, plan: Plan) -> Address:
        assert isinstance(plan, BakePlan)
        full: list[str] = []

        def attempt() -> None:
            fresh = self._plans.builder(plan.asked, self._ec2.inventory(), tuple(full))
            try:
                self._carry_out(fresh)
            except NoCapacity:
                birth = next((step for step in fresh.steps if isinstance(step, RunInstance)), None)
                if birth is None or set(self._ec2.zones(birth.type)) <= {*full, birth.zone}:
                    raise
                self._say(f"{birth.zone} has no such machine free at the moment; trying the next zone")
                full.append(birth.zone)
                attempt()

        with self._alone():
            self._state.belong(self._belonging())
            persistently(lambda: self._carry_out(_plan(removal.leftovers(self._ec2.inventory()))), self._say)
            persistently(attempt, self._say)
        return self._address()

    def builder(self) -> State:
        machine = self._machine()
        if machine is None:
            return State(BUILDER, "absent")
        return State(
            BUILDER,
            machine.phase,
            machine_id=machine.id,
            ip=machine.public_ip,
            machine_type=machine.type,
            launched=machine.launched,
            price=self._plans.price(machine.type, spot=False),
            stopped=machine.stopped,
            stop_reason=machine.reason,
            disk_gb=self._profile.disk_gb,
        )

    def source(self) -> tuple[str, str]:
        image = self._ec2.image(self._running().image)
        return (image.id, image.name) if image else (self._running().image, "")

    def reboot(self) -> None:
        machine = self._running().id
        persistently(lambda: self._changes.reboot(machine), self._say)

    def make_image(self, labels: Mapping[str, str], told: Told) -> MachineImage:
        def attempt() -> MachineImage:
            have = self._ec2.inventory()
            plan = AwsPlan(baking.plan_image(have, self._name, labels), made=Made.already(BUILDER, have))
            if not plan.made.machine:
                raise _lost()
            self._carry_out(plan, told)
            return self._found(plan.made.image)

        # The profile's lock is not held: its machines are none of an image's business, and it takes a while.
        return persistently(attempt, self._say)

    def clear(self) -> None:
        def attempt() -> None:
            have = self._ec2.inventory()
            self._carry_out(_plan(removal.after_bake(have)))
            if not removal.lived_in(have):
                self._state.belong(None)

        with self._alone():
            persistently(attempt, self._say)
            keys.forget_host_key(self._home, self._profile.name, BUILDER)
            self._state.forget_token(f"machine {BUILDER}")

    # --- what there is

    def images(self) -> Sequence[MachineImage]:
        return self._ec2.own_images()

    def choice(self, kind: str) -> tuple[str, str]:
        return self._plans.image_of(kind)

    def plan_prune(self, keep: int) -> tuple[Plan, Sequence[str]]:
        steps, stays = baking.plan_prune(self._ec2.shelf(), keep)
        return AwsPlan(steps, wish=replace(AwsPlan(()).wish, kind=str(keep))), stays

    def prune(self, plan: Plan) -> Pruned:
        assert isinstance(plan, AwsPlan)
        images: set[str] = set()
        snapshots: set[str] = set()

        def attempt() -> None:
            fresh, _ = baking.plan_prune(self._ec2.shelf(), int(plan.wish.kind))
            images.update(step.image for step in fresh if isinstance(step, DeregisterImage))
            snapshots.update(step.snapshot for step in fresh if isinstance(step, DeleteSnapshot))
            self._carry_out(_plan(fresh))

        with self._alone():
            persistently(attempt, self._say)
        return Pruned(len(images), len(snapshots))

    # --- copying

    def plan_copy(self, region: str, image: str | None) -> CopyPlan:
        found = self._to_copy(image)
        self._check(region)
        there = self._elsewhere(region)
        steps = baking.plan_copy(found, region, there.own_images())
        costs = baking.copy_costs(found) if steps else ""
        return CopyPlan(steps, spends=bool(steps), costs=costs, image=found, region=region)

    def copy(self, plan: Plan, told: Told) -> MachineImage:
        assert isinstance(plan, CopyPlan) and plan.image is not None
        image, there = plan.image, self._elsewhere(plan.region)
        elsewhere = Elsewhere(
            Changes(Live(self._session.elsewhere(plan.region)), self._tags), Watch(there, self._say, told=told)
        )

        def attempt() -> MachineImage:
            steps = baking.plan_copy(image, plan.region, there.own_images())
            executor = Bakery(self._changes, elsewhere.waiting, self._local(), Made(""), elsewhere)
            executor.carry_out(steps)
            return _copy_of(image, there)

        return persistently(attempt, self._say)

    def clear_copies(self, region: str) -> None:
        """Of copies that are not finished, nothing stays."""
        there = self._elsewhere(region)
        changes = Changes(Live(self._session.elsewhere(region)), self._tags)
        executor = Bakery(changes, Watch(there, self._say), self._local(), Made(""))
        persistently(lambda: executor.carry_out(removal.unfinished(there.inventory())), self._say)
        self._state.forget_token(f"copy to {region}")

    def script(self, plan: Plan) -> Iterator[tuple[str, tuple[str, ...]]]:
        assert isinstance(plan, AwsPlan)
        scribe = Scribe(self._profile.region)
        local = Local(NoTokens(), self._public_key, user_data=lambda: mention("user_data"), say=lambda _: None)
        there = Scribe(plan.region) if isinstance(plan, CopyPlan) else scribe
        elsewhere = Elsewhere(Changes(there, self._tags), Written(there))
        executor = Bakery(Changes(scribe, self._tags), Written(scribe), local, replace(plan.made), elsewhere)
        for step in plan.steps:
            executor.do(step)
            yield step.sentence(), (*scribe.take(), *there.take())

    # --- how

    def _check(self, region: str) -> None:
        known = regions(self._session)
        if region not in known:
            hint = nearest(region, known) or f"They are {', '.join(known)}"
            raise UsageError(f"there is no region {region}, or not for this account", hint)

    def _to_copy(self, wanted: str | None) -> MachineImage:
        found = [i for i in self._ec2.own_images() if i.state == "available" and wanted in (None, i.id)]
        if not found:
            what = f"no image of your own {wanted}" if wanted else "no image of your own"
            raise UsageError(
                f"there is {what} in {self._profile.region}", "See them with `gpu ami ls`; make one with: gpu ami bake"
            )
        return found[0]

    def _found(self, image: str) -> MachineImage:
        found = next((one for one in self._ec2.own_images() if one.id == image), None)
        if found is None:
            raise Gone(f"the image {image} is not there any more", "Run the same command again to make it anew")
        return found

    def _carry_out(self, plan: AwsPlan, told: Told = lambda _: None) -> None:
        if any(isinstance(step, RunInstance) for step in plan.steps):
            keys.fresh_host_key(self._home, self._profile.name, BUILDER)
        watch = Watch(self._ec2, self._say, told=told)
        Bakery(self._changes, watch, self._local(), plan.made).carry_out(plan.steps)

    def _local(self) -> Local:
        return Local(KeptTokens(self._state), self._public_key, user_data=self._user_data, say=self._say)

    def _user_data(self) -> str:
        host_key = keys.host_key(self._home, self._profile.name, BUILDER)
        return user_data(
            host_key,
            keys.public(host_key),
            port=self._profile.ssh_port,
            user=self._user,
            autostop=IDLE_MINUTES,
            max_hours=MOST_HOURS,
        )

    def _address(self) -> Address:
        name, port, machine = self._profile.name, self._profile.ssh_port, self._running()
        if machine.public_ip is None:
            raise GpuError(f"the builder {machine.id} has no public address", "Run the same command again")
        known = keys.write_known_hosts(self._home, name, BUILDER, ip=machine.public_ip, port=port)
        return Address(machine.public_ip, port, self._user, keys.client_key(self._home, name), known)

    def _running(self) -> Machine:
        machine = self._machine()
        if machine is None:
            raise _lost()
        return machine

    def _machine(self) -> Machine | None:
        return Inventory(machines=self._ec2.machines(BUILDER)).machine(BUILDER)

    def _elsewhere(self, region: str) -> Ec2:
        return Ec2(self._session.elsewhere(region), self._tags)

    def _alone(self) -> AbstractContextManager[None]:
        return lock(self._home, self._profile.name, self._say)

    def _public_key(self) -> str:
        return keys.public(keys.client_key(self._home, self._profile.name))

    @property
    def _user(self) -> str:
        """Who one is on the machine: in the sandbox whoever runs it."""
        return pwd.getpwuid(os.getuid()).pw_name if self._profile.emulated else self._profile.user

    @cached_property
    def _tags(self) -> Tags:
        return Tags(self._profile.name, self._belonging().owner, __version__)

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
    def _state(self) -> StateFile:
        return StateFile(self._home, self._profile.name, self._say)


def _plan(steps: Iterator[object] | Sequence[object]) -> AwsPlan:
    return AwsPlan(tuple(steps))  # type: ignore[arg-type]


def _lost() -> GpuError:
    return GpuError("the builder was terminated by somebody else", "Run the same command again to begin anew")


def _copy_of(image: MachineImage, there: Ec2) -> MachineImage:
    for copy in there.own_images():
        if copy.copied_from == baking.origin(image):
            return copy
    raise Gone(f"the copy of {image.id} is not there any more", "Run the same command again to make it anew")
