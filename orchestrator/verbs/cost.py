"""What it has cost, what it costs now, and the budget: from a ledger that is checked against what EC2 says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from .. import bill, prices
from ..bill import Charge
from ..errors import GpuError
from ..providers.base import HasImages, Price, State
from ..sessions import Holding, Session, Sessions
from . import own
from .desk import Desk

RUNNING = ("pending", "running")
ENDED = ("stopping", "stopped")
GONE = ("absent", "shutting-down", "terminated")
FOREVER = timedelta(days=3650)


@dataclass(frozen=True)
class Report:
    """US dollars. In the sandbox it is what AWS would have taken."""

    sessions: tuple[Charge, ...]
    kept: tuple[Charge, ...]
    """Disks and addresses."""
    months: Mapping[str, float]
    total: float
    unpriced: int
    """Sessions without a known price: the total lacks them."""
    per_hour: float
    """What it costs from now on, as it is."""
    per_month_stopped: float
    """Of what exists, 730 hours, nothing running."""
    per_month_left_on: float | None
    """Of the selected machine, 730 hours, disk and address included; None where its price is not known."""
    per_month_images: float
    """At most, of the owner's images in the region: EC2 counts the blocks that are used. In no other number."""
    budget: float | None
    damaged: tuple[str, ...]
    """Entries of the ledger that cannot be read: the total lacks them."""
    unchecked: str
    """Why EC2 could not be asked; empty when it was."""

    @property
    def rest(self) -> float | None:
        """What is left of the budget; never below nothing."""
        return None if self.budget is None else max(0.0, self.budget - self.total)


def note(desk: Desk, state: State, *, now: datetime | None = None) -> None:
    """Take down what EC2 says of a machine: opens, closes and corrects its sessions. Noted twice it is there once.

    Raises nothing for a ledger that cannot be written: a full disk must not keep a machine from being stopped.
    """
    with _said(desk):
        _note(desk, state, _now(now))


def _note(desk: Desk, state: State, moment: datetime) -> None:
    book = _book(desk)
    if state.machine_id is None or state.phase in GONE:
        book.absent(state.kind, at=moment, released=state.ip is None)
        return
    book.absent(state.kind, at=moment, but=state.machine_id, released=False)
    book.note(*_seen(desk, state, moment))


def removed(desk: Desk, kind: str | None = None, *, now: datetime | None = None) -> None:
    """All of the profile, or of the kind, is gone: nothing of it costs from now on."""
    with _said(desk):
        _book(desk).absent(kind, at=_now(now), released=True)


@contextmanager
def _said(desk: Desk) -> Iterator[None]:
    try:
        yield
    except GpuError as error:
        desk.reporter.line(f"this is not in the ledger of costs: {error}")


def report(desk: Desk, *, now: datetime | None = None) -> Report:
    """The whole bill, after EC2 has been asked how things stand; where it cannot be asked, from the ledger alone."""
    _refuse_own(desk)
    unchecked = _check(desk, now)
    moment, book = _now(now), _book(desk)
    found = bill.charges(book.sessions(), book.holdings(), moment)
    open_ones = [charge for charge in found if charge.ended is None]
    kept_hour = sum(charge.per_hour or 0.0 for charge in open_ones if charge.what != "machine")
    return Report(
        sessions=tuple(charge for charge in found if charge.what == "machine"),
        kept=tuple(charge for charge in found if charge.what != "machine"),
        months=bill.by_month(found),
        total=bill.total(found),
        unpriced=sum(charge.usd is None for charge in found),
        per_hour=sum(charge.per_hour or 0.0 for charge in open_ones),
        per_month_stopped=kept_hour * prices.HOURS_A_MONTH,
        per_month_left_on=_left_on(desk, found),
        per_month_images=0.0 if unchecked else _images(desk),
        budget=desk.profile.budget,
        damaged=tuple(str(file) for file in book.damaged()),
        unchecked=unchecked,
    )


def check_budget(desk: Desk, price: Price | None, *, now: datetime | None = None) -> None:
    """Before a start. GpuError where the budget is spent, or cannot be kept since the price is not known."""
    budget, name, file = desk.profile.budget, desk.profile.name, desk.home.config_file
    if budget is None:
        return
    spent = _spent(desk, now)
    if spent >= budget:
        raise GpuError(
            f"the budget of the profile {name} is spent: ${spent:.2f} of ${budget:.2f}",
            f"Raise `budget:` of {name} in {file}; `gpu cost` shows what it went for",
        )
    if price is None:
        raise GpuError(
            f"the price of this machine is not known, so the budget of the profile {name} could not be kept",
            f"Name another type with --type, or take `budget:` of {name} out of {file}",
        )


def deadline(desk: Desk, price: Price | None, *, now: datetime | None = None) -> datetime | None:
    """When a machine that is started now will have spent the rest of the budget, disk, address and what else of the
    profile costs included. None without a budget or a price, and where it would take ten years."""
    budget, moment = desk.profile.budget, _now(now)
    if budget is None or price is None:
        return None
    found = _charges(desk, moment)
    others = [charge.per_hour or 0.0 for charge in found if charge.ended is None and charge.kind != desk.kind]
    rate = price.per_hour + price.per_month_stopped / prices.HOURS_A_MONTH + sum(others)
    rest = max(0.0, budget - bill.total(found))
    if rate * FOREVER.total_seconds() / 3600 <= rest:
        return None
    return moment + timedelta(hours=rest / rate)


def enforce(desk: Desk, state: State, *, now: datetime | None = None) -> bool:
    """True when the machine runs although the budget is spent: it is to be stopped."""
    note(desk, state, now=now)
    budget = desk.profile.budget
    return budget is not None and state.phase in RUNNING and _spent(desk, now) >= budget


def stop_sentence(desk: Desk, state: State) -> str:
    """What goes on costing once the machine has stopped."""
    size = state.disk_gb or desk.profile.disk_gb
    month = _storage(desk).per_month(size)
    where = " on AWS; here it is free" if desk.profile.emulated else ""
    return f"its disk of {size} GB and its address go on costing ${month:.2f} a month until `gpu destroy`{where}"


def left_behind(desk: Desk, state: State) -> list[str]:
    """What a machine that is gone has left: an address that goes on costing, and runs that went with it."""
    lost = [entry.run_id for entry in desk.ledger.unfetched(desk.kind)]
    where = " on AWS; here it is free" if desk.profile.emulated else ""
    lines = []
    if state.ip:
        month = _storage(desk).per_month(0)
        lines.append(f"its address {state.ip} goes on costing ${month:.2f} a month until `gpu destroy`{where}")
    if lost:
        lines.append(f"not home, and lost with the machine: {', '.join(lost)}")
        lines.append("give them up, and remove what is left, with: gpu destroy --abandon")
    return lines


def _refuse_own(desk: Desk) -> None:
    try:
        provider = desk.provider()
    except GpuError:
        return  # who cannot be asked has rented all the same what is in the ledger
    own.refuse(provider, "what it costs is between you and its owner", "gpu counts only what it rents itself")


def _book(desk: Desk) -> Sessions:
    return Sessions(desk.home.state / "sessions" / desk.profile.name)


def _now(now: datetime | None) -> datetime:
    return (now or datetime.now(timezone.utc)).astimezone(timezone.utc)


def _storage(desk: Desk) -> prices.Storage:
    return prices.storage(desk.profile.region, desk.home.cache / "prices")


def _seen(desk: Desk, state: State, moment: datetime) -> list[Session | Holding]:
    """What a state says of the machine's disk and address, and of its last session."""
    assert state.machine_id is not None
    launched = state.launched.astimezone(timezone.utc).replace(microsecond=0) if state.launched else None
    size, storage = state.disk_gb or desk.profile.disk_gb, _storage(desk)
    holding = Holding(
        state.machine_id,
        state.kind,
        since=min(launched or moment, moment),
        disk_gb=size,
        disk_hour=size * storage.disk_gb_month / prices.HOURS_A_MONTH,
        address_hour=storage.address_hour,
        seen=moment,
        address_seen=moment if state.ip else None,
    )
    if launched is None:
        return [holding]
    stopped = state.stopped.astimezone(timezone.utc) if state.stopped and state.phase in ENDED else None
    # The time of an earlier stop says nothing of this session.
    told = stopped if stopped and stopped >= launched else None
    session = Session(
        state.machine_id,
        state.kind,
        state.machine_type or "?",
        state.spot,
        began=launched,
        per_hour=state.price.per_hour if state.price else None,
        seen=moment if state.phase in RUNNING else None,
        stopped=told,
        over=max(moment, launched) if state.phase in ENDED and told is None else None,
    )
    return [holding, session]


def _charges(desk: Desk, moment: datetime) -> list[Charge]:
    book = _book(desk)
    return bill.charges(book.sessions(), book.holdings(), moment)


def _spent(desk: Desk, now: datetime | None) -> float:
    return bill.total(_charges(desk, _now(now)))


def _check(desk: Desk, now: datetime | None) -> str:
    """Ask EC2 about every kind that the ledger has an open entry of, and the selected one."""
    moment = _now(now)
    kinds = {charge.kind for charge in _charges(desk, moment) if charge.ended is None}
    try:
        for kind in sorted({*kinds, desk.kind}):
            note(desk, desk.provider(kind).state(), now=now)
    except GpuError as error:
        return str(error)
    return ""


def _images(desk: Desk) -> float:
    provider = desk.provider()
    if not isinstance(provider, HasImages):
        return 0.0
    try:
        return sum(image.per_month for image in provider.imaging().images())
    except GpuError as error:
        desk.reporter.line(f"what images cost could not be asked: {error}")
        return 0.0


def _left_on(desk: Desk, found: list[Charge]) -> float | None:
    mine = [charge for charge in found if charge.kind == desk.kind]
    last = [charge for charge in mine if charge.what == "machine"][-1:]
    open_now = any(charge.ended is None for charge in mine)
    if last and open_now and last[0].per_hour is not None:
        kept = sum(charge.per_hour or 0.0 for charge in mine if charge.what != "machine" and charge.ended is None)
        return (last[0].per_hour + kept) * prices.HOURS_A_MONTH
    for name in prices.types_of(desk.kind):
        cache = desk.home.cache / "prices"
        price = prices.price(name, region=desk.profile.region, disk_gb=desk.profile.disk_gb, cache=cache)
        if price:
            return price.per_hour * prices.HOURS_A_MONTH + price.per_month_stopped
    return None
