"""`gpu destroy`: all of it removed, and no result with it that nobody has given up."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from ..errors import GpuError
from ..ledger import UNKNOWN
from ..providers.base import Removable
from . import aboard, cost, notes, plans
from .desk import Desk
from .plans import Preview, agree, removable


@dataclass(frozen=True)
class Removed:
    anything: bool
    stays: tuple[str, ...]
    """The kinds of the machines that were not meant."""


def preview(desk: Desk, *, alone: bool = False) -> Preview:
    provider = desk.provider()
    only, _ = _meant(desk, removable(desk, provider), alone=alone)
    return plans.preview(provider, removable(desk, provider).plan_removal(only))


def destroy(desk: Desk, *, abandon: bool = False, alone: bool = False) -> Removed:
    """Remove all that carries the profile's tags, and refuse while results are not home. `alone`: where there are
    machines of other kinds, only what the machine of the desk's kind has."""
    provider = removable(desk, desk.provider())
    only, stays = _meant(desk, provider, alone=alone)
    plan = provider.plan_removal(only)
    stakes = _Stakes(desk, [kind for kind in provider.kinds() if kind not in stays], only)
    waiting = stakes.runs()
    if plan.steps and not abandon:
        stakes.refuse(waiting)
        stakes.refuse_notebooks()

    def look_again() -> None:
        """What has come into being since it was asked for was agreed to by nobody."""
        now = stakes.runs()
        stakes.refuse({run_id: kind for run_id, kind in now.items() if run_id not in waiting})
        if not abandon:
            stakes.refuse_notebooks()

    if plan.steps:
        agree(desk, plan, "Delete all of this?")
        cost.note(desk, desk.provider().state())
        desk.forget_address()
        provider.remove(plan, look_again, only)
    cost.removed(desk, only)
    desk.ledger.forget(waiting)
    if only is None:
        desk.ledger.forget_homecomings()
    desk.notebooks.forget(only)
    return Removed(bool(plan.steps), stays)


def _meant(desk: Desk, provider: Removable, *, alone: bool) -> tuple[str | None, tuple[str, ...]]:
    """The kind that goes alone, None for all of it; and the kinds that stay."""
    others = tuple(kind for kind in provider.kinds() if kind != desk.kind)
    return (desk.kind, others) if alone and others else (None, ())


@dataclass(frozen=True)
class _Stakes:
    """What would be lost, looked at anew each time."""

    desk: Desk
    kinds: Collection[str]
    """Those of which there is a machine."""
    only: str | None = None
    """The kind that is meant; None: all of them."""
    silent: set[str] = field(default_factory=set)
    """Those whose machine could not be asked: that takes its time, and is said, once."""

    def runs(self) -> dict[str, str]:
        """Every run that is not home, with the kind of its machine: by the ledger, and by the machines' own word."""
        found = {entry.run_id: entry.kind for entry in self.desk.ledger.unfetched(self.only)}
        for kind in self.kinds:
            found = {**dict.fromkeys(self._told(kind), kind), **found}
        return found

    def _told(self, kind: str) -> list[str]:
        if kind in self.silent:
            return []
        desk = replace(self.desk, kind=kind)
        try:
            return [job.run_id for job in aboard.runs(desk) if not aboard.is_home(desk, job)]
        except GpuError as error:
            self.silent.add(kind)
            self.desk.reporter.line(
                f"the {kind} machine could not be asked for its runs; this computer's own list has to do: {error.what}"
            )
            return []

    @property
    def _command(self) -> str:
        return f"gpu -k {self.only} destroy --abandon" if self.only else "gpu destroy --abandon"

    def refuse(self, waiting: Mapping[str, str]) -> None:
        """GpuError where there are any."""
        here = [run_id for run_id, kind in waiting.items() if kind in self.kinds or (kind == UNKNOWN and self.kinds)]
        if here:
            kinds = {waiting[run_id] for run_id in here} - {self.desk.kind, UNKNOWN}
            pull = " and ".join(f"`gpu -k {kind} pull`" for kind in sorted(kinds)) or "`gpu pull`"
            raise GpuError(
                f"results are not home yet, and would be lost with the machine: {', '.join(here)}",
                f"Bring them home with {pull}, or give them up with `{self._command}`",
            )
        if waiting:
            raise GpuError(
                f"results that were not home are lost with their machine, which is gone: {', '.join(waiting)}",
                f"Give them up, and remove what is left, with: {self._command}",
            )

    def refuse_notebooks(self) -> None:
        if unsaved := notes.waiting(self.desk, self.only):
            raise GpuError(
                f"notebooks are not home yet, and would be lost with the machine: {'; '.join(unsaved)}",
                f"Bring them home with `gpu notebook pull` while it runs, or give them up with `{self._command}`",
            )
