"""The machine's life: make, start, look, stop, change its type, remove."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from .. import prices
from ..errors import Declined, GpuError, MachineAbsent, NotOffered
from ..providers.base import Address, LeftAlone, Plan, Price, Provider, Removable, Resizable, Scripted, State, Wish
from ..remote import jobs, ssh
from ..remote.awake import look
from ..remote.job import Job
from ..settings import Profile
from . import awake, cost, entrance, environment, own
from .desk import BOOT_SECONDS, Desk

LOOK_SECONDS = 15.0
"""Between two looks at whether a machine that does not answer still runs."""


@dataclass(frozen=True)
class Cost:
    """US dollars since the machine last began to run, and what goes on when it is stopped."""

    hours: float
    session: float
    per_month_stopped: float


@dataclass(frozen=True)
class Status:
    state: State
    cost: Cost | None
    address: Address | None
    runs: tuple[Job, ...]
    unfetched: tuple[str, ...]
    """Runs whose results are not home yet."""
    awake: tuple[str, ...] = ()
    """What keeps it awake, and when it would stop by itself."""
    trouble: str = ""
    """Why the machine's own runs could not be read, when it is running and they could not."""


def start(desk: Desk, wish: Wish) -> State:
    """Create what is missing, start it, and return once SSH answers."""
    provider = desk.provider(wish.kind)
    if isinstance(provider, LeftAlone):
        return own.greet(desk, wish)
    cost.note(desk, provider.state())
    plan = provider.plan(wish)
    if plan.spends:
        cost.check_budget(desk, plan.price)
        agree(desk, plan, "Go ahead?")
    address = provider.start(plan)
    # At once: from here on it costs, whatever becomes of this computer while it waits.
    state = provider.state()
    cost.note(desk, state)
    _enter(desk, address, plan.price)
    desk.state_file.forget_token(_begun(wish))
    return state


def init(desk: Desk, wish: Wish) -> State:
    """Create what is missing and leave the machine stopped; one that is there stays as it is."""
    wish = replace(wish, rest=True)
    provider = desk.provider(wish.kind)
    own.refuse(provider, "is there already", "See that it answers with: gpu start")
    before = provider.state()
    interrupted = desk.state_file.kept_token(_begun(wish)) is not None
    if before.machine_id and not interrupted:
        return before
    if before.phase not in ("stopping", "stopped"):
        plan = provider.plan(wish)
        cost.check_budget(desk, plan.price)
        agree(desk, plan, "Go ahead?")
        desk.state_file.token(_begun(wish), digest="", new=lambda: "begun")
        address = provider.start(plan)
        cost.note(desk, provider.state())
        _enter(desk, address, plan.price)
    provider.stop()
    desk.state_file.forget_token(_begun(wish))
    state = provider.state()
    cost.note(desk, state)
    return state


def _begun(wish: Wish) -> str:
    """Under this name an interrupted `init` is remembered: the machine it made is still to be stopped."""
    return f"init {wish.kind}"


def _enter(desk: Desk, address: Address, price: Price | None) -> None:
    """The first checked connection since it has been started."""
    desk.reporter.line(f"waiting until SSH answers at {address.host} port {address.port}")
    with _first_connection(desk, address) as connection:
        awake.arm(desk, connection, cost.deadline(desk, price))
        entrance.settle_host_key(desk, connection)
        environment.check(desk, connection)
    desk.remember(address)


def _first_connection(desk: Desk, address: Address) -> ssh.Connection:
    """As long as the machine runs: one that somebody has ended in the meantime is not waited for."""
    deadline = time.monotonic() + BOOT_SECONDS
    while True:
        try:
            return ssh.connect(address, wait=LOOK_SECONDS, say=desk.reporter.line)
        except ssh.Unreachable:
            if time.monotonic() > deadline:
                raise
            # Raises, with the remedy, when it does not run any more.
            desk.provider().address()


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


def preview_removal(desk: Desk) -> Preview:
    provider = desk.provider()
    return preview(provider, removable(desk, provider).plan_removal())


def preview(provider: Provider, plan: Plan) -> Preview:
    lines = provider.script(plan) if isinstance(provider, Scripted) else ((text, ()) for text in plan.sentences())
    return Preview(plan, tuple(lines))


def resize(desk: Desk, wish: Wish) -> State:
    """The same disk under another type; a machine that ran runs again. The kind that it is of now is selected."""
    provider = resizable(desk)
    cost.note(desk, desk.provider().state())
    plan = provider.plan_resize(wish)
    if plan.steps:
        cost.check_budget(desk, plan.price)
        agree(desk, plan, "Go ahead?")
        environment.expect_change(replace(desk, kind=wish.kind))
    kind = provider.resize(plan)
    desk.state_file.select_kind(kind)
    for entry in desk.ledger.unfetched(desk.kind) if kind != desk.kind else ():
        desk.ledger.add(entry.run_id, kind=kind, runs=Path(entry.folder))
    desk.forget_address()
    desk = replace(desk, kind=kind)
    resized = desk.provider()
    state = resized.state()
    cost.note(desk, state)
    if state.phase == "running":
        _enter(desk, resized.address(), state.price)
    return state


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
        price = describe_price(plan.price, free=False) if plan.price else "not known here; see EC2's price list"
        desk.reporter.line(f"  price: {price}")


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


def stop(desk: Desk) -> State:
    """Stop, wait until stopped, and say what the session cost and what goes on costing."""
    provider = desk.provider()
    if isinstance(provider, LeftAlone):
        return own.leave(desk)
    before = provider.state()
    if before.phase == "absent":
        raise MachineAbsent(desk.kind, desk.profile.name)
    cost.note(desk, before)
    desk.forget_address()
    provider.stop()
    state = provider.state()
    cost.note(desk, state)
    _say_cost(desk, before)
    return state


def _say_cost(desk: Desk, before: State) -> None:
    spent = cost_of(before)
    if before.phase == "stopped":
        desk.reporter.line("it was stopped already")
    elif spent:
        free = "; the sandbox is free, AWS would have taken that" if desk.profile.emulated else ""
        desk.reporter.line(f"this session: {spent.hours:.2f} hours, ${spent.session:.2f}{free}")
    desk.reporter.line(cost.stop_sentence(desk, before))


def cost_of(state: State, now: datetime | None = None) -> Cost | None:
    """None where the price or the time of launch is not known, rather than an invented figure."""
    if state.price is None:
        return None
    hours = 0.0
    if state.phase in ("pending", "running", "stopping") and state.launched:
        hours = max(0.0, ((now or datetime.now(timezone.utc)) - state.launched).total_seconds() / 3600)
    return Cost(hours, hours * state.price.per_hour, state.price.per_month_stopped)


def status(desk: Desk) -> Status:
    """What is true now, the runs on the machine included when it answers."""
    provider = desk.provider()
    if isinstance(provider, LeftAlone):
        return _own_status(desk, provider.whose())
    state = provider.state()
    if cost.enforce(desk, state):
        desk.reporter.line(f"the budget of the profile {desk.profile.name} is spent, so the machine is being stopped")
        provider.stop()
        state = provider.state()
        cost.note(desk, state)
    unfetched = tuple(entry.run_id for entry in desk.ledger.unfetched(desk.kind))
    if state.phase != "running":
        return Status(state, cost_of(state), None, (), unfetched)
    address = None
    try:
        address = provider.address()
        with ssh.connect(address, wait=0) as connection:
            runs, wakefulness = tuple(jobs.jobs(connection)), look(connection)
    except GpuError as error:
        return Status(state, cost_of(state), address, (), unfetched, trouble=str(error))
    return Status(state, cost_of(state), address, runs, unfetched, awake=tuple(awake.sentences(wakefulness)))


def _own_status(desk: Desk, whose: str) -> Status:
    """Of a machine of one's own: nothing is paid, and nothing stops it. Whether it runs is known once it is entered."""
    provider = desk.provider()
    state, address = provider.state(), provider.address()
    unfetched = tuple(entry.run_id for entry in desk.ledger.unfetched(desk.kind))
    seen = replace(state, phase="unknown")
    try:
        with ssh.connect(address, wait=0) as connection:
            seen = state
            runs = tuple(jobs.jobs(connection))
    except GpuError as error:
        return Status(seen, None, address, (), unfetched, trouble=str(error))
    return Status(state, None, address, runs, unfetched, awake=(f"{whose}: gpu neither starts nor stops it",))


def destroy(desk: Desk, *, abandon: bool = False) -> bool:
    """Remove all that carries the profile's tags; False when there was nothing. Refuses while results are not home."""
    provider = removable(desk, desk.provider())
    plan = provider.plan_removal()
    waiting = desk.ledger.unfetched()
    if plan.steps and waiting and not abandon:
        names = ", ".join(entry.run_id for entry in waiting)
        raise GpuError(
            f"results are not home yet, and would be lost with the machine: {names}",
            "Bring them home with `gpu pull`, or give them up with `gpu destroy --abandon`",
        )
    if plan.steps:
        agree(desk, plan, "Delete all of this?")
        cost.note(desk, desk.provider().state())
        desk.forget_address()
        provider.remove(plan)
    cost.removed(desk)
    desk.ledger.forget()
    return bool(plan.steps)
