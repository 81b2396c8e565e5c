"""The seam: all that a verb may ask of whoever has the machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Address:
    """All that SSH needs. `None` for a file means: as the user's own SSH configuration says."""

    host: str
    port: int
    user: str
    key_file: Path | None = None
    known_hosts: Path | None = None
    proxy: str | None = None


@dataclass(frozen=True)
class Wish:
    """What kind of machine is wanted; `instance_type` overrides the kind's own list."""

    kind: str
    instance_type: str | None = None
    spot: bool | None = None
    """Spare capacity at the spot price, which EC2 may stop at two minutes' notice; None: as the profile says, or as it
    was made."""
    rest: bool = False
    """A machine that is made shall be stopped in the end."""


@dataclass(frozen=True)
class Price:
    """US dollars: per hour running, and per month (730 hours) for what goes on costing while stopped."""

    per_hour: float
    per_month_stopped: float
    source: str
    """Whose figure it is and of which day."""


class Step(Protocol):
    """One change to an account, as data."""

    def sentence(self) -> str:
        """What it does, for the plan that is shown: «create a subnet 10.0.0.0/28»."""


@dataclass(frozen=True)
class Plan:
    """What would be done, in order. No steps: it is so already."""

    steps: tuple[Step, ...]
    price: Price | None = None
    spends: bool = False
    """True when carrying it out begins to cost money."""
    costs: str = ""
    """What, in words, where it is not a machine's price alone."""

    def sentences(self) -> Sequence[str]:
        return [step.sentence() for step in self.steps]


@dataclass(frozen=True)
class State:
    """What is true now. `phase` is EC2's word (`pending running stopping stopped terminated`) or `absent`."""

    kind: str
    phase: str
    machine_id: str | None = None
    ip: str | None = None
    machine_type: str | None = None
    launched: datetime | None = None
    """When the machine last began to run, in UTC."""
    price: Price | None = None
    spot: bool = False
    stopped: datetime | None = None
    """When it was last told to stop, in UTC, where EC2 tells."""
    stop_reason: str = ""
    """EC2's own words for why it does not run."""
    disk_gb: int = 0


class Provider(Protocol):
    """One profile's machine of one kind."""

    def plan(self, wish: Wish) -> Plan:
        """What `start` would do; changes nothing."""

    def start(self, plan: Plan) -> Address:
        """Carry the plan out and return where the machine is; at once if it runs already. SSH may not answer yet."""

    def stop(self) -> None:
        """Stop and wait until stopped; safe to repeat."""

    def state(self) -> State:
        """What is true now, not what was remembered."""

    def address(self) -> Address:
        """Where the running machine is; raises `MachineAbsent` or `MachineStopped` with the remedy."""


@runtime_checkable
class LeftAlone(Protocol):
    """A provider whose machine is somebody's own: gpu works in a home folder there, and neither starts, stops, pays
    for, changes nor removes the machine."""

    def whose(self) -> str:
        """The beginning of a sentence: «box is a machine of your own»."""


@runtime_checkable
class Removable(Protocol):
    """A provider whose machine can be removed altogether."""

    def kinds(self) -> Sequence[str]:
        """Those of which the profile has a machine."""

    def plan_removal(self, only: str | None = None) -> Plan:
        """What `remove` would delete, in order; empty when nothing with our tags is left. `only`: what the machine of
        that kind alone has."""

    def remove(self, plan: Plan, check: Callable[[], None] = lambda: None, only: str | None = None) -> None:
        """Delete it, waiting where the order needs it; safe to repeat. `check` is called at the last moment at which
        nothing is lost yet, with a machine still there; where it raises, nothing is removed."""


@runtime_checkable
class Numbered(Protocol):
    """A provider whose machines have ids."""

    def kind_of(self, machine_id: str) -> str | None:
        """The kind that the profile's machine of this id is of now; None where the profile has no such machine."""

    def others(self) -> Sequence[State]:
        """The profile's machines of other kinds that there are now, running or not; without their addresses."""


@runtime_checkable
class Admitting(Protocol):
    """A provider with a door that is open to known addresses alone."""

    def admit(self) -> bool:
        """Makes sure that this computer's address of today may come in; True when something had to be changed."""


@runtime_checkable
class Resizable(Protocol):
    """A provider whose machine can change its type and keep its disk."""

    def plan_resize(self, wish: Wish) -> Plan:
        """To a machine of `wish` (its `instance_type`, otherwise the first type of its `kind` that is offered); refuses
        what cannot be before anything is stopped."""

    def resize(self, plan: Plan) -> str:
        """Carry it out, and return the kind that the machine is of now. One that ran runs again afterwards. Safe to
        repeat after an interruption."""


@runtime_checkable
class Scripted(Protocol):
    """A provider that can show its plans as commands for another tool."""

    def script(self, plan: Plan) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Each step's sentence with the shell lines that would do the same; changes nothing."""


@dataclass(frozen=True)
class Offer:
    """An instance type that the region offers. Dollars an hour; None: not known."""

    machine_type: str
    gpu: str | None
    gpus: int
    gpu_memory_gb: float
    """Of one GPU."""
    vcpus: int
    memory_gb: float
    on_demand: float | None
    spot: float | None
    """In the cheapest zone."""
    zones: tuple[str, ...] = ()
    source: str = ""
    """Whose figures the prices are, and of which day."""


@dataclass(frozen=True)
class Quota:
    """How many vCPUs of some family of types may run at once; `used` is None where it is not known."""

    code: str
    name: str
    vcpus: float
    used: float | None = None


@dataclass(frozen=True)
class QuotaRequest:
    """An increase that has been asked for. `status` is AWS's word: PENDING, CASE_OPENED, APPROVED, DENIED, ..."""

    id: str
    code: str
    vcpus: float
    status: str
    asked: datetime | None = None


@dataclass(frozen=True)
class Need:
    """What one machine takes of which quota."""

    machine_type: str
    code: str
    vcpus: int


class Market(Protocol):
    """What the region offers to this account."""

    def offers(self, *, gpu_only: bool = True) -> Sequence[Offer]:
        """Cheapest on-demand price first; those without a known price last."""

    def quotas(self) -> Sequence[Quota]:
        """Those that a machine of ours can need: G and VT, P, standard, each on demand and spot."""

    def need(self, machine_type: str, *, spot: bool) -> Need:
        """Which quota the type counts against, and how much of it."""

    def request(self, code: str, vcpus: float) -> QuotaRequest:
        """Ask for an increase; one that is open already is returned instead of asked again."""

    def requests(self) -> Sequence[QuotaRequest]:
        """Those of the past, newest first."""


@runtime_checkable
class HasMarket(Protocol):
    def market(self) -> Market:
        """Types, prices and quotas of the profile's region."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `good` is None where it could not be looked at."""

    name: str
    good: bool | None
    what: str
    remedy: str = ""


@runtime_checkable
class Examinable(Protocol):
    def examine(self) -> Iterator[Finding]:
        """Everything of the account and the computer that a machine depends on, each with its remedy. Never raises
        GpuError: what cannot be looked at is a finding."""


@dataclass(frozen=True)
class Item:
    """Something of ours in an account, in any region and of any profile."""

    region: str
    resource: str
    """EC2's word: instance, volume, snapshot, elastic-ip, image, security-group, key-pair, ..."""
    id: str
    profile: str
    about: str
    per_month: float | None
    """Dollars for 730 hours as it is now; 0 for what is free; None where the price is not known."""
    removal: str
    """The shell line that would remove it."""
    orphaned: bool = False
    """Nothing uses it: it was left behind."""


@runtime_checkable
class Auditable(Protocol):
    def audit(self) -> Iterator[Item]:
        """Every resource with our tags in every region, in the order in which it can be removed."""


@dataclass(frozen=True)
class MachineImage:
    """An image of one's own: a disk on which all that a run needs is ready, for new machines to begin with."""

    id: str
    name: str
    region: str
    profile: str
    state: str
    """EC2's word: `pending`, `available`, `failed`, ..."""
    made: datetime
    size_gb: int
    architecture: str = "x86_64"
    environment: str = ""
    """The build of `ami/environments.yaml` that is on it."""
    recipe: str = ""
    """The digest of the files that made it: `provision.sh` and what lies beside it."""
    version: str = ""
    """Of the `gpu` that baked it."""
    source: str = ""
    source_name: str = ""
    copied_from: str = ""
    per_month: float = 0.0
    """US dollars at most: EC2 counts the blocks that are used, and does not tell how many those are."""
    snapshots: tuple[str, ...] = ()
    root_device: str = "/dev/sda1"
    builder: str = ""
    """The machine whose disk it was."""


@dataclass(frozen=True)
class Pruned:
    """How many went."""

    images: int
    snapshots: int


@dataclass(frozen=True)
class BakeWish:
    """What to bake on and from. Neither `kind` nor `machine_type`: the cheapest type without a GPU that is enough."""

    kind: str | None = None
    machine_type: str | None = None
    source: str | None = None
    """`ubuntu`, `deep-learning`, or an image's id; None: what a machine without an image of its own begins with."""


Told = Callable[[float], None]
"""Hears how many per cent of an image have been copied."""


class Imaging(Protocol):
    """Images of one's own. What a bake takes is found by its tags: `clear` removes it however the bake has ended."""

    def turn(self) -> AbstractContextManager[None]:
        """One command at a time bakes, or removes what bakes leave."""

    def plan_bake(self, wish: BakeWish) -> Plan:
        """From what earlier bakes have left to a finished image and nothing else; changes nothing."""

    def make_builder(self, plan: Plan) -> Address:
        """Remove what earlier bakes have left, and make the plan's machine. SSH may not answer yet."""

    def builder(self) -> State:
        """The machine that bakes, as the ledger of costs wants it."""

    def source(self) -> tuple[str, str]:
        """Id and name of the image that the builder began with."""

    def reboot(self) -> None:
        """Ask the builder to boot again; it goes on answering for a moment."""

    def make_image(self, labels: Mapping[str, str], told: Told) -> MachineImage:
        """Stop the builder and make an image of its disk, waiting until it can be started from."""

    def clear(self) -> None:
        """Remove the builder, images that are not finished, and a network that nobody else uses; safe to repeat."""

    def images(self) -> Sequence[MachineImage]:
        """All of the owner's in the region, newest first, unfinished ones too."""

    def choice(self, kind: str) -> tuple[str, str]:
        """The image with which a new machine of the kind would begin, and why that one."""

    def elsewhere(self, region: str) -> Imaging:
        """The same for the images of another region."""

    def plan_prune(self, keep: int) -> tuple[Plan, Sequence[str]]:
        """To the newest `keep` of the owner's images in the region; and why some others stay, in sentences."""

    def prune(self, plan: Plan) -> Pruned:
        """Deregister them and delete their snapshots; safe to repeat."""

    def plan_copy(self, region: str, image: str | None) -> Plan:
        """To a copy of `image`, otherwise of the newest one, in another region; empty when it is there."""

    def copy(self, plan: Plan, told: Told) -> MachineImage:
        """Carry it out, waiting until it can be started from. A copy that was begun before is gone on with."""

    def clear_copies(self, region: str) -> None:
        """Remove copies there that are not finished; safe to repeat."""

    def script(self, plan: Plan) -> Iterator[tuple[str, tuple[str, ...]]]:
        """As `Scripted` has it."""


@runtime_checkable
class HasImages(Protocol):
    def imaging(self) -> Imaging:
        """Images of one's own in the profile's region."""
