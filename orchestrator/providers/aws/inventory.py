"""What exists: everything that carries the profile's and the owner's tags, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ...errors import GpuError
from ..base import MachineImage

ALIVE = frozenset({"pending", "running", "stopping", "stopped"})
BUILDER = "builder"
"""The kind that a machine which bakes an image goes by. No command can name it as one to make or start, so that a
builder is never taken for a machine of the profile."""


@dataclass(frozen=True)
class Tags:
    """Whose things they are. `kind` is for what only one kind of machine has."""

    profile: str
    owner: str
    version: str

    def pairs(self, kind: str | None = None, replaces: str | None = None) -> dict[str, str]:
        """`replaces` is the machine whose place the thing shall take."""
        name = f"gpu-{self.profile}" + (f"-{kind}" if kind else "")
        tags = {"Name": name, "gpu:profile": self.profile, "gpu:owner": self.owner, "gpu:version": self.version}
        more = {"gpu:kind": kind, "gpu:replaces": replaces, "gpu:role": BUILDER if kind == BUILDER else None}
        return {**tags, **{key: value for key, value in more.items() if value}}


@dataclass(frozen=True)
class Vpc:
    id: str
    dns: bool = True
    """Host names are switched on."""


@dataclass(frozen=True)
class Gateway:
    id: str
    vpc: str | None = None


@dataclass(frozen=True)
class Subnet:
    id: str
    vpc: str
    zone: str


@dataclass(frozen=True)
class Table:
    id: str
    vpc: str
    gateway: str | None = None
    """Where 0.0.0.0/0 goes."""
    links: tuple[tuple[str, str], ...] = ()
    """(association, subnet)"""


@dataclass(frozen=True)
class Rule:
    """Who may come in by SSH. Only those that gpu itself has written are listed."""

    id: str
    port: int
    cidr: str


@dataclass(frozen=True)
class Group:
    id: str
    vpc: str
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True)
class Build:
    """What a disk expects of the hardware that it is started on, in EC2's words."""

    architecture: str = "x86_64"
    virtualization: str = "hvm"
    boot_mode: str = "legacy-bios"
    ena: bool = True


@dataclass(frozen=True)
class Hardware:
    """What an instance type can start."""

    type: str
    architectures: frozenset[str]
    virtualizations: frozenset[str]
    boot_modes: frozenset[str]
    needs_ena: bool
    vcpus: int = 0


@dataclass(frozen=True)
class Machine:
    id: str
    kind: str
    phase: str
    type: str
    subnet: str | None = None
    key_name: str | None = None
    launched: datetime | None = None
    zone: str = ""
    build: Build = Build()
    root_device: str = "/dev/sda1"
    spot: bool = False
    spot_request: str | None = None
    stopped: datetime | None = None
    reason: str = ""
    """EC2's own words for its last change of state."""
    parts: tuple[str, ...] = ()
    """Its volumes and network interfaces, which carry its kind's tags too."""
    replaces: str | None = None
    image: str = ""
    """What its disk began as."""
    public_ip: str | None = None


@dataclass(frozen=True)
class Snapshot:
    """An image made of a machine's disk on the way from one type to another, with the snapshots under it."""

    image: str
    replaces: str
    state: str
    created: datetime
    root_device: str
    snapshots: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """A machine can be made from it, or will be."""
        return self.state in ("pending", "available")


@dataclass(frozen=True)
class Loose:
    """A snapshot whose image is gone, or not yet known to have it."""

    id: str
    replaces: str


@dataclass(frozen=True)
class SpotRequest:
    id: str
    machine: str | None
    state: str
    """`open active disabled` are alive: EC2 may start something for them."""
    kind: str = ""
    """Of the machine that it was made for; that may be of another one by now."""


@dataclass(frozen=True)
class ElasticIp:
    id: str
    ip: str
    kind: str
    association: str | None = None
    machine: str | None = None


@dataclass(frozen=True)
class Inventory:
    """All of it, surplus included: what was made twice when a reply was lost is at least removed with the rest."""

    vpcs: tuple[Vpc, ...] = ()
    gateways: tuple[Gateway, ...] = ()
    subnets: tuple[Subnet, ...] = ()
    tables: tuple[Table, ...] = ()
    groups: tuple[Group, ...] = ()
    keys: tuple[str, ...] = ()
    machines: tuple[Machine, ...] = ()
    addresses: tuple[ElasticIp, ...] = ()
    spot_requests: tuple[SpotRequest, ...] = ()
    """Those that are alive."""
    images: tuple[Snapshot, ...] = ()
    loose: tuple[Loose, ...] = ()
    baked: tuple[MachineImage, ...] = ()
    """Images for machines to begin with, finished or not."""
    layers: tuple[str, ...] = ()
    """Snapshots that were made for such an image and are under none."""

    def machine(self, kind: str) -> Machine | None:
        """The kind's one machine that is not on its way out; refuses to choose between several.

        Of one that is being replaced and the one that takes its place it is the latter.
        """
        replaced = {m.replaces for m in self.machines if m.phase in ALIVE}
        alive = [m for m in self.machines if m.kind == kind and m.phase in ALIVE and m.id not in replaced]
        if len(alive) > 1:
            names = ", ".join(f"{m.id} ({m.phase})" for m in alive)
            raise GpuError(f"there are several {kind} machines: {names}", "Terminate all but one in the EC2 console")
        return alive[0] if alive else None

    def replaced(self, machine: Machine) -> Machine | None:
        """The one whose place `machine` takes, while it is still there."""
        return next((m for m in self.machines if m.id == machine.replaces and m.phase in ALIVE), None)

    def successor(self, machine: str) -> Machine | None:
        """The one that has been made to take the machine's place."""
        return next((m for m in self.machines if m.replaces == machine and m.phase in ALIVE), None)

    def address(self, kind: str) -> ElasticIp | None:
        """The kind's address; of several the one that is in use."""
        mine = sorted((a for a in self.addresses if a.kind == kind), key=lambda a: (a.machine is None, a.id))
        return mine[0] if mine else None

    def vpc(self) -> Vpc | None:
        """Of several the one that has the subnet: what has been begun is gone on with."""
        used = {s.vpc for s in self.subnets}
        ordered = sorted(self.vpcs, key=lambda v: (v.id not in used, v.id))
        return ordered[0] if ordered else None

    def subnet(self, vpc: str) -> Subnet | None:
        used = {m.subnet for m in self.machines if m.phase in ALIVE}
        inside = [s for s in self.subnets if s.vpc == vpc]
        return min(inside, key=lambda s: (s.id not in used, s.id), default=None)

    def gateway(self, vpc: str) -> Gateway | None:
        """The one that is attached to the network, otherwise one that is attached to none."""
        fit = [g for g in self.gateways if g.vpc in (vpc, None)]
        return min(fit, key=lambda g: (g.vpc is None, g.id), default=None)

    def table(self, vpc: str) -> Table | None:
        inside = [t for t in self.tables if t.vpc == vpc]
        return min(inside, key=lambda t: (not t.links, t.id), default=None)

    def group(self, vpc: str) -> Group | None:
        return min((g for g in self.groups if g.vpc == vpc), key=lambda g: g.id, default=None)
