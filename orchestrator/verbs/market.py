"""What the region offers, and whether this account may have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from .. import prices
from ..errors import Declined, NotOffered, UsageError
from ..providers.base import HasMarket, Market, Need, Offer, Provider, Quota, QuotaRequest, State
from .desk import Desk

RUNNING = ("pending", "running")
OPEN = ("PENDING", "CASE_OPENED")


@dataclass(frozen=True)
class Catalogue:
    """Cheapest on-demand price first; those without a known price last."""

    offers: tuple[Offer, ...]
    taken: Mapping[str, tuple[str, ...]]
    """An instance type, and the kinds that would take it here."""
    troubles: tuple[str, ...]
    """Why the provider did not tell its prices of today; older figures stand in."""


@dataclass(frozen=True)
class Allowance:
    quotas: tuple[Quota, ...]
    need: Need
    """What the selected machine takes."""
    spot: bool
    quota: Quota
    """The one that it counts against."""
    others: float | None
    """vCPUs of that quota that other machines use; None where it is not known."""
    requests: tuple[QuotaRequest, ...]
    """Newest first."""

    @property
    def fits(self) -> bool | None:
        """None where it is not known: the quota is large enough, but not who uses it."""
        if self.need.vcpus > self.quota.vcpus:
            return False
        return None if self.others is None else self.others + self.need.vcpus <= self.quota.vcpus

    @property
    def enough(self) -> float:
        """vCPUs with which the machine would fit beside what runs."""
        return (self.others or 0.0) + self.need.vcpus


@runtime_checkable
class Telling(Protocol):
    """A market that keeps what it was told, and says when it was told nothing."""

    @property
    def troubles(self) -> Sequence[str]: ...

    def refresh(self) -> None:
        """Ask anew, whatever is kept."""


def types(desk: Desk, *, everything: bool = False, refresh: bool = False) -> Catalogue:
    """What the region offers; `everything`: also types without a GPU, and those that our images cannot run on."""
    market = _market(desk, desk.provider())
    if refresh and isinstance(market, Telling):
        market.refresh()
    offers = tuple(market.offers(gpu_only=not everything))
    troubles = tuple(market.troubles) if isinstance(market, Telling) else ()
    return Catalogue(offers, _taken({offer.machine_type for offer in offers}), troubles)


def _taken(offered: set[str]) -> dict[str, tuple[str, ...]]:
    taken: dict[str, tuple[str, ...]] = {}
    for kind, names in prices.table().kinds.items():
        first = next((name for name in names if name in offered), None)
        if first:
            taken[first] = (*taken.get(first, ()), kind)
    return taken


def quota(desk: Desk, *, spot: bool | None = None) -> Allowance:
    """The quotas, and whether the selected machine fits. `spot` None: as the machine is, or the profile wishes."""
    provider = desk.provider()
    market, state = _market(desk, provider), provider.state()
    wanted_spot = spot if spot is not None else state.spot if state.machine_id else desk.profile.spot
    need = _need(desk, market, state, spot=wanted_spot)
    quotas = tuple(market.quotas())
    mine = next(one for one in quotas if one.code == need.code)
    # A machine that runs is among what is in use.
    itself = need.vcpus if state.phase in RUNNING and state.spot == wanted_spot else 0
    others = None if mine.used is None else max(0.0, mine.used - itself)
    return Allowance(quotas, need, wanted_spot, mine, others, tuple(market.requests()))


def _need(desk: Desk, market: Market, state: State, *, spot: bool) -> Need:
    """Of the machine that there is, otherwise of the kind's first type that the region offers."""
    names = (state.machine_type,) if state.machine_type else prices.types_of(desk.kind)
    for name in names:
        try:
            return market.need(name, spot=spot)
        except NotOffered:
            continue
    raise NotOffered(
        f"the region {desk.profile.region} offers none of: {', '.join(names)}",
        "See what it offers with: gpu types",
    )


def ask(desk: Desk, vcpus: float | None = None, *, spot: bool | None = None) -> QuotaRequest | None:
    """Ask for an increase to `vcpus`, otherwise to as many as the machine needs; None where it fits already."""
    now = quota(desk, spot=spot)
    wanted = now.enough if vcpus is None else vcpus
    name, has = now.quota.name, now.quota.vcpus
    if wanted <= has:
        if vcpus is None:
            desk.reporter.line(f"{now.need.machine_type} fits into the quota {name}: there is nothing to ask for")
            return None
        raise UsageError(
            f"the quota {name} is {has:g} vCPUs already", "Name a higher number: gpu quota --request VCPUS"
        )
    waiting = next((one for one in now.requests if one.code == now.quota.code and one.status in OPEN), None)
    if waiting:
        desk.reporter.line(f"{waiting.vcpus:g} vCPUs have been asked for already ({waiting.status})")
        return waiting
    question = f"Ask AWS for {wanted:g} vCPUs of {name} in {desk.profile.region} instead of {has:g}?"
    if not desk.profile.emulated and not desk.reporter.confirm(question):
        raise Declined("nothing was asked for", "Answer y, or give -y, to ask")
    return _market(desk, desk.provider()).request(now.quota.code, wanted)


def _market(desk: Desk, provider: Provider) -> Market:
    if not isinstance(provider, HasMarket):
        raise NotOffered(
            f"the machine of the profile {desk.profile.name} is your own",
            "It has no market and no quotas; what it has is listed by: gpu doctor",
        )
    return provider.market()
