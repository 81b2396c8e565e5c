"""Which machine is meant: where its id was given instead of a kind, and where the selected one is not there."""

from __future__ import annotations

from dataclasses import replace

from ..errors import UsageError
from ..providers.base import Numbered, State
from . import own
from .desk import Desk


def is_id(kind: str) -> bool:
    """Whether the word for a kind is the id of a machine."""
    return kind.startswith("i-")


def of_machine(desk: Desk, machine_id: str) -> Desk:
    """The desk of the kind that this machine is of now. UsageError where it is none of the profile's."""
    provider = desk.provider(desk.profile.kind)
    own.refuse(provider, "has no instance id", "Leave it out: every command acts on that one machine")
    kind = provider.kind_of(machine_id) if isinstance(provider, Numbered) else None
    if kind is None:
        raise UsageError(
            f"{machine_id} is no machine of the profile {desk.profile.name}", "See the id of one with: gpu get KIND"
        )
    return replace(desk, kind=kind)


def others(desk: Desk, kind: str) -> list[str]:
    """A sentence on each machine that the profile has beside the one of this kind: none goes on costing unnoticed."""
    provider = desk.provider(kind)
    return [_sentence(desk, state) for state in (provider.others() if isinstance(provider, Numbered) else ())]


def _sentence(desk: Desk, state: State) -> str:
    costs = ""
    if state.phase == "running" and state.price:
        costs = f", ${state.price.per_hour:.4g} an hour{' on AWS' if desk.profile.emulated else ''}"
    return f"the {state.kind} machine is {state.phase}{costs}; to act on it: gpu get {state.kind}"
