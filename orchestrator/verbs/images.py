"""Images of one's own: which there are, which of them go, and a copy of one in another region."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .. import prices
from ..errors import GpuError, NotOffered
from ..providers.base import HasImages, Imaging, MachineImage, Plan, Pruned, State, Told
from .desk import Desk
from .plans import Preview, agree


@dataclass(frozen=True)
class Shelf:
    """Newest first."""

    images: tuple[MachineImage, ...]
    chosen: str
    """With which the next new machine of the selected kind begins; it may be none of these."""
    why: str
    builder: State
    """The machine that bakes: at this moment, or left by a bake that was broken off."""

    @property
    def per_month(self) -> float:
        """US dollars at most."""
        return sum(image.per_month for image in self.images)


@dataclass(frozen=True)
class Copied:
    image: MachineImage
    was_there: bool

    @property
    def transfer(self) -> float:
        """US dollars at most, once."""
        return 0.0 if self.was_there else self.image.size_gb * prices.TRANSFER_GB


def imaging(desk: Desk, region: str | None = None) -> Imaging:
    """In the profile's region, otherwise in another one."""
    provider = desk.provider()
    if not isinstance(provider, HasImages):
        raise NotOffered(
            f"the machine of the profile {desk.profile.name} is your own, and begins with no image",
            "Make it ready as it is with: gpu doctor --fix",
        )
    return provider.imaging().elsewhere(region or desk.profile.region)


def shelf(desk: Desk, region: str | None = None) -> Shelf:
    there = imaging(desk, region)
    images = tuple(there.images())
    try:
        chosen, why = there.choice(desk.kind)
    except GpuError as error:
        # What there is can be listed all the same.
        chosen, why = "", str(error)
    return Shelf(images, chosen, why, there.builder())


def preview_prune(desk: Desk, keep: int, region: str | None = None) -> Preview:
    there = imaging(desk, region)
    plan, _ = there.plan_prune(keep)
    return Preview(plan, tuple(there.script(plan)))


def prune(desk: Desk, keep: int, region: str | None = None) -> Pruned:
    """Remove all but the newest `keep`, with their snapshots. Asks first."""
    there = imaging(desk, region)
    with there.turn():
        plan, stays = there.plan_prune(keep)
        for sentence in stays:
            desk.reporter.line(sentence)
        if not plan.steps:
            return Pruned(0, 0)
        agree(desk, plan, "Delete these?")
        return there.prune(plan)


def preview_copy(desk: Desk, region: str, image: str | None) -> Preview:
    there = imaging(desk)
    plan = there.plan_copy(region, image)
    return Preview(plan, tuple(there.script(plan)))


def copy(desk: Desk, region: str, image: str | None) -> Copied:
    """A copy of an image in another region, encrypted; one that is there, or on its way, is not made twice. Told to
    stop, it removes what is not finished."""
    there = imaging(desk)
    with there.turn():
        plan = there.plan_copy(region, image)
        if plan.steps:
            agree(desk, plan, "Go ahead?")
        return Copied(_copy(desk, there, region, plan), was_there=not plan.steps)


def _copy(desk: Desk, there: Imaging, region: str, plan: Plan) -> MachineImage:
    done = False
    try:
        with watched(desk, f"copying to {region}") as told:
            copied = there.copy(plan, told)
        done = True
        return copied
    finally:
        if not done:
            see_through(desk, lambda: _clear_copies(desk, there, region))


def see_through(desk: Desk, removal: Callable[[], None]) -> None:
    """Remove what costs, Ctrl-C or not: it is heard when that is done. A second one ends it."""
    try:
        removal()
    except KeyboardInterrupt:
        desk.reporter.line("still removing, so that nothing goes on costing; Ctrl-C again leaves the rest of it there")
        removal()
        raise


def _clear_copies(desk: Desk, there: Imaging, region: str) -> None:
    desk.reporter.line(f"removing what is not finished in {region}")
    try:
        there.clear_copies(region)
    except GpuError as error:
        desk.reporter.line(f"not all of it could be removed: {error.what}; the next `gpu ami copy {region}` goes on")


@contextmanager
def watched(desk: Desk, title: str) -> Iterator[Told]:
    with desk.reporter.progress(title, 100, "%") as bar:
        yield bar.update
