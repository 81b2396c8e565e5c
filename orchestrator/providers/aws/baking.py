"""From what there is to an image of one's own, to fewer of them, and to a copy elsewhere. Pure, as the planner is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ami import bake

from ... import prices
from ...errors import UsageError
from ..base import MachineImage, Price, Step
from . import planner, removal, steps
from .inventory import BUILDER, Inventory


@dataclass(frozen=True)
class OverSsh:
    """What is done on the builder itself."""

    what: str

    def sentence(self) -> str:
        return self.what


@dataclass(frozen=True)
class BakeImage:
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def sentence(self) -> str:
        return f"make the image {self.name} of its disk"


@dataclass(frozen=True)
class EndBuilder:
    def sentence(self) -> str:
        return "terminate the builder with its disk"


@dataclass(frozen=True)
class EndNetwork:
    def sentence(self) -> str:
        return "remove the key and the network again, which nothing else is in"


@dataclass(frozen=True)
class CopyImage:
    image: MachineImage
    region: str

    def sentence(self) -> str:
        return f"copy {self.image.id} ({self.image.name}) from {self.image.region} to {self.region}, encrypted"


@dataclass(frozen=True)
class AwaitCopy:
    region: str
    image: str | None = None

    def sentence(self) -> str:
        return f"wait until the copy {self.image + ' ' if self.image else ''}in {self.region} is available"


def plan_builder(request: planner.Request, have: Inventory) -> tuple[Step, ...]:
    """To a builder that runs; what earlier ones have left is gone by now."""
    builder = have.machine(BUILDER)
    if builder is not None:
        return (steps.AwaitRunning(),)
    return (
        *planner.plan_network(request, have, None),
        *planner.plan_entrance(request, have),
        planner.plan_birth(request, have),
        steps.AwaitRunning(),
    )


def plan_bake(request: planner.Request, have: Inventory, name: str) -> tuple[Step, ...]:
    """All of it, to be shown: which of these steps is taken when is the verb's to say."""
    return (
        *removal.leftovers(have),
        *plan_builder(request, without_leftovers(have)),
        *(OverSsh(step.sentence) for step in bake.STEPS),
        *plan_image(without_leftovers(have), name, {}),
        EndBuilder(),
        *([] if removal.lived_in(have) else [EndNetwork()]),
    )


def without_leftovers(have: Inventory) -> Inventory:
    """What there will be once they are removed."""
    return replace(have, machines=tuple(m for m in have.machines if m.kind != BUILDER), baked=(), layers=())


def plan_image(have: Inventory, name: str, labels: Mapping[str, str]) -> tuple[Step, ...]:
    """From a builder that is clean to its image; one whose making lost its answer is waited for."""
    builder = have.machine(BUILDER)
    made = [i for i in have.baked if builder and i.builder == builder.id and i.state in ("pending", "available")]
    if made:
        return (steps.AwaitImage(made[0].id),)
    runs = builder is None or builder.phase not in ("stopping", "stopped")
    stop = [steps.StopInstance()] if runs else []
    return (*stop, steps.AwaitStopped(), BakeImage(name, labels), steps.AwaitImage())


def plan_prune(have: Inventory, keep: int) -> tuple[tuple[Step, ...], list[str]]:
    """The newest `keep` stay, and those of which a machine of the owner's is made; and why each of the latter does.

    EC2 itself would let a machine live on without its image. But `gpu doctor` could not say any more what it was made
    from, and a second one like it could not be had.
    """
    if keep < 0:
        raise UsageError(f"--keep {keep} keeps nothing", "Give 0 or more")
    finished = sorted((i for i in have.baked if i.state == "available"), key=lambda i: (i.made, i.id), reverse=True)
    used = {m.image: m for m in have.machines if m.phase != "terminated"}
    stays = [
        f"{i.id} ({i.name}) stays: the {used[i.id].kind} machine {used[i.id].id} is made of it"
        for i in finished[keep:]
        if i.id in used
    ]
    gone = [i for i in finished[keep:] if i.id not in used]
    return (*_removed(gone), *removal.unfinished(have)), stays


def _removed(images: Sequence[MachineImage]) -> Iterator[Step]:
    # Oldest first: should it break off, the better ones are still there.
    for image in reversed(images):
        yield steps.DeregisterImage(image.id)
        yield from (steps.DeleteSnapshot(snapshot) for snapshot in image.snapshots)


def plan_copy(image: MachineImage, region: str, there: Sequence[MachineImage]) -> tuple[Step, ...]:
    """`there` are the images of the other region; a copy of it among them is enough."""
    if region == image.region:
        raise UsageError(f"{image.id} is in {region} already", "Name another region")
    for copy in there:
        if copy.copied_from == origin(image) and copy.state == "available":
            return ()
        if copy.copied_from == origin(image) and copy.state == "pending":
            return (AwaitCopy(region, copy.id),)
    return (CopyImage(image, region), AwaitCopy(region))


def bake_costs(builder: Price | None, disk_gb: int) -> str:
    hour = f"${builder.per_hour:.4g} an hour ({builder.source})" if builder else "not known here, see EC2's price list,"
    return f"{hour} for the builder until it is removed; {_kept(disk_gb)}"


def copy_costs(image: MachineImage) -> str:
    return f"{_kept(image.size_gb)}; at most ${image.size_gb * prices.TRANSFER_GB:.2f} once for the transfer"


def _kept(size_gb: int) -> str:
    return f"at most ${size_gb * prices.SNAPSHOT_GB_MONTH:.2f} a month for the image until `gpu ami prune`"


def origin(image: MachineImage) -> str:
    """How a copy says what it is a copy of."""
    return f"{image.region}/{image.id}"
