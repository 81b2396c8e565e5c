"""What would be done, shown before it is: its steps, its price, and the question whether to go on."""

from __future__ import annotations

from dataclasses import dataclass

from .. import prices
from ..errors import Declined, NotOffered
from ..providers.base import Plan, Price, Provider, Removable, Resizable, Scripted, Wish
from ..settings import Profile
from . import own
from .desk import Desk


@dataclass(frozen=True)
class Preview:
    """A plan that is only shown: each step's sentence, and the shell lines that would do the same."""

    plan: Plan
    script: tuple[tuple[str, tuple[str, ...]], ...]


def preview_start(desk: Desk, wish: Wish) -> Preview:
    provider = desk.provider(wish.kind)
    own.refuse(
        provider, "nothing of it would be made or started", "Leave --dry-run out: gpu only looks whether it answers"
    )
    if wish.rest and provider.state().machine_id:
        return Preview(Plan(()), ())
    return preview(provider, provider.plan(wish))


def preview_resize(desk: Desk, wish: Wish) -> Preview:
    provider = resizable(desk)
    return preview(desk.provider(), provider.plan_resize(wish))


def preview(provider: Provider, plan: Plan) -> Preview:
    lines = provider.script(plan) if isinstance(provider, Scripted) else ((text, ()) for text in plan.sentences())
    return Preview(plan, tuple(lines))


def resizable(desk: Desk) -> Resizable:
    provider = desk.provider()
    if not isinstance(provider, Resizable):
        raise NotOffered(
            f"the machine of the profile {desk.profile.name} is your own",
            "gpu cannot change what it is; name another host in its profile",
        )
    return provider


def removable(desk: Desk, provider: Provider) -> Removable:
    if not isinstance(provider, Removable):
        raise NotOffered(
            f"the machine of the profile {desk.profile.name} is your own, and gpu removes nothing from it",
            "What gpu put there is in ~/gpu: see it with `gpu ssh -- ls gpu`, and remove it yourself",
        )
    return provider


def agree(desk: Desk, plan: Plan, question: str) -> None:
    """Show a plan and ask; raises `Declined`. The sandbox, where nothing is paid or lost, never asks."""
    if desk.profile.emulated:
        return
    show_plan(desk, plan)
    if not desk.reporter.confirm(question):
        raise Declined("nothing was changed", "Answer y, or give -y, to go ahead")


def show_plan(desk: Desk, plan: Plan) -> None:
    desk.reporter.line("the plan:")
    for sentence in plan.sentences():
        desk.reporter.line(f"  {sentence}")
    if plan.spends:
        desk.reporter.line(f"  price: {plan_price(plan, free=False)}")


def plan_price(plan: Plan, *, free: bool) -> str:
    """What carrying the plan out costs; in the sandbox it says that nothing is paid."""
    if plan.costs:
        return f"nothing, this is the sandbox; on AWS it would be {plan.costs}" if free else plan.costs
    return describe_price(plan.price, free=free) if plan.price else "not known here; see EC2's price list"


def describe_price(price: Price, *, free: bool) -> str:
    """«$0.90 an hour running, $13.89 a month stopped»; in the sandbox it says that nothing is paid."""
    text = f"${price.per_hour:.4g} an hour running, ${price.per_month_stopped:.2f} a month stopped"
    if free:
        # What the emulated region tells comes from the package's own table, whatever day it is asked on.
        return f"nothing, this is the sandbox; on AWS it would be about {text} (prices of {prices.table().date})"
    return f"{text} ({price.source})"


def list_price(profile: Profile, kind: str | None) -> str:
    """«$0.9 an hour» for the first type of the kind that has a list price in the profile's region."""
    for machine_type in prices.types_of(kind or profile.kind):
        if price := prices.price(machine_type, region=profile.region, disk_gb=profile.disk_gb):
            return f"about ${price.per_hour:.4g} an hour ({machine_type}, {price.source})"
    return "a price that is not in the table"
