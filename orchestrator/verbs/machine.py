"""The machine's life: make, start, look, stop, change its type."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from ..errors import GpuError, MachineAbsent
from ..providers.base import Address, LeftAlone, Price, Provider, State, Wish
from ..remote import jobs, notebook, ssh
from ..remote.awake import look
from ..remote.failures import Unreachable
from ..remote.job import Job
from ..remote.notebook import Notebook
from . import aboard, awake, cost, entrance, environment, notes, own, selection
from .desk import BOOT_SECONDS, Desk
from .plans import agree, resizable

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
    notebook: Notebook | None = None
    """Whether Jupyter runs there; None where the machine was not asked."""
    newer: tuple[str, ...] = ()
    """Notebooks that are not home as they are on the machine, or, where it was not asked, may not be."""
    trouble: str = ""
    """Why the machine's own runs could not be read, when it is running and they could not."""
    others: tuple[str, ...] = ()
    """A sentence on each machine of another kind that the profile has."""


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
    with _owned_up(desk, provider, "gpu start"):
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
        with _owned_up(desk, provider, "gpu init"):
            address = provider.start(plan)
            cost.note(desk, provider.state())
            _enter(desk, address, plan.price, to_work=False)
    provider.stop()
    desk.state_file.forget_token(_begun(wish))
    state = provider.state()
    cost.note(desk, state)
    return state


@contextmanager
def _owned_up(desk: Desk, provider: Provider, command: str) -> Iterator[None]:
    """What is left running by a command that fails or is interrupted is noted and said: it costs."""
    try:
        yield
    except BaseException:
        with suppress(GpuError):
            state = provider.state()
            cost.note(desk, state)
            if state.phase in cost.RUNNING:
                price = f" at ${state.price.per_hour:.4g} an hour" if state.price else ""
                free = ", which is free here" if desk.profile.emulated else ""
                desk.reporter.line(
                    f"{state.machine_id} runs{price}{free}: `{command}` goes on with it, `gpu stop` ends it"
                )
        raise


def _begun(wish: Wish) -> str:
    """Under this name an interrupted `init` is remembered: the machine it made is still to be stopped."""
    return f"init {wish.kind}"


def _enter(desk: Desk, address: Address, price: Price | None, *, to_work: bool = True) -> None:
    """The first checked connection since it has been started. `to_work`: training shall be possible afterwards."""
    desk.reporter.line(f"waiting until SSH answers at {address.host} port {address.port}")
    with _first_connection(desk, address) as connection:
        awake.arm(desk, connection, cost.deadline(desk, price))
        entrance.settle_host_key(desk, connection)
        # Known from now on: whatever becomes of the rest, one can go and see.
        desk.remember(address)
        if to_work:
            environment.make_fit(desk, connection)


def _first_connection(desk: Desk, address: Address) -> ssh.Connection:
    """As long as the machine runs: one that somebody has ended in the meantime is not waited for."""
    deadline = time.monotonic() + BOOT_SECONDS
    while True:
        try:
            return ssh.connect(address, wait=LOOK_SECONDS, say=desk.reporter.line)
        except Unreachable:
            if time.monotonic() > deadline:
                raise
            # Raises, with the remedy, when it does not run any more.
            desk.provider().address()


def resize(desk: Desk, wish: Wish) -> State:
    """The same disk under another type; a machine that ran runs again. The kind that it is of now is selected."""
    provider = resizable(desk)
    before = desk.provider().state()
    cost.note(desk, before)
    plan = provider.plan_resize(wish)
    if plan.steps:
        if before.phase == "running":
            aboard.say_what_ends(desk)
        cost.check_budget(desk, plan.price)
        agree(desk, plan, "Go ahead?")
        environment.expect_change(replace(desk, kind=wish.kind))
    kind = provider.resize(plan)
    desk.state_file.select_kind(kind)
    for entry in desk.ledger.unfetched(desk.kind) if kind != desk.kind else ():
        desk.ledger.add(entry.run_id, kind=kind, runs=Path(entry.folder))
    if kind != desk.kind:
        desk.notebooks.move(desk.kind, kind)
    desk.forget_address()
    desk = replace(desk, kind=kind)
    resized = desk.provider()
    state = resized.state()
    cost.note(desk, state)
    if state.phase == "running":
        with _owned_up(desk, resized, "gpu start"):
            _enter(desk, resized.address(), state.price)
    return state


def stop(desk: Desk) -> State:
    """Stop, wait until stopped, and say what the session cost and what goes on costing."""
    provider = desk.provider()
    if isinstance(provider, LeftAlone):
        notes.before_stop(desk, ending=False)
        return own.leave(desk)
    before = provider.state()
    cost.note(desk, before)
    if before.phase == "absent":
        for line in (*cost.left_behind(desk, before), *selection.others(desk, desk.kind)):
            desk.reporter.line(line)
        raise MachineAbsent(desk.kind, desk.profile.name)
    if before.phase == "running":
        aboard.before_stop(desk)
        notes.before_stop(desk)
    try:
        desk.forget_address()
    except GpuError as error:
        # A full disk must not keep a machine from being stopped.
        desk.reporter.line(f"its address is not forgotten: {error}")
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
    return replace(_rented_status(desk, provider), others=tuple(selection.others(desk, desk.kind)))


def _rented_status(desk: Desk, provider: Provider) -> Status:
    state = provider.state()
    if cost.enforce(desk, state):
        desk.reporter.line(f"the budget of the profile {desk.profile.name} is spent, so the machine is being stopped")
        provider.stop()
        state = provider.state()
        cost.note(desk, state)
    unfetched = tuple(entry.run_id for entry in desk.ledger.unfetched(desk.kind))
    unseen = notes.unseen(desk)
    if state.phase != "running":
        return Status(state, cost_of(state), None, (), unfetched, newer=unseen)
    address = None
    try:
        address = provider.address()
        with ssh.connect(address, wait=0) as connection:
            runs, wakefulness = tuple(jobs.jobs(connection)), look(connection)
            lab = notebook.state(connection)
    except GpuError as error:
        return Status(state, cost_of(state), address, (), unfetched, newer=unseen, trouble=str(error))
    status = Status(state, cost_of(state), address, runs, unfetched, awake=tuple(awake.sentences(wakefulness)))
    return replace(status, notebook=lab, newer=notes.newer(desk, lab))


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
            lab = notebook.state(connection)
    except GpuError as error:
        return Status(seen, None, address, (), unfetched, newer=notes.unseen(desk), trouble=str(error))
    status = Status(state, None, address, runs, unfetched, awake=(f"{whose}: gpu neither starts nor stops it",))
    return replace(status, notebook=lab, newer=notes.newer(desk, lab))
