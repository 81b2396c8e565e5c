"""What was seen to run and to exist, turned into dollars. Pure: no clock, no files.

EC2 bills Linux by the second, from a launch to its stop, sixty seconds at least, on demand and spot alike:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/concepts.html (billing and purchasing options).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from .sessions import Holding, Session, Span, spans

LEAST_SECONDS = 60.0


@dataclass(frozen=True)
class Charge:
    """One line of the bill. `ended` is None while it goes on; `usd` None where the price is not known."""

    what: str
    """`machine`, `disk` or `address`."""
    kind: str
    machine: str
    machine_type: str
    spot: bool
    began: datetime
    ended: datetime | None
    at_most: bool
    seconds: float
    """As billed, until now where it goes on."""
    per_hour: float | None
    months: Mapping[str, float]
    """Dollars by month (UTC), `2026-11`; none where the price is not known."""

    @property
    def usd(self) -> float | None:
        return None if self.per_hour is None else sum(self.months.values())

    @property
    def hours(self) -> float:
        return self.seconds / 3600


def charges(sessions: Iterable[Session], holdings: Iterable[Holding], now: datetime) -> list[Charge]:
    """All of it, oldest first: the machines' hours, then their disks and addresses."""
    kept = [charge for holding in _succeeded(list(holdings)) for charge in _kept(*holding, now)]
    return [*(_ran(span, now) for span in spans(sessions)), *sorted(kept, key=lambda c: (c.began, c.machine, c.what))]


def total(found: Iterable[Charge]) -> float:
    """Dollars, of what has a price."""
    return sum(charge.usd or 0.0 for charge in found)


def by_month(found: Iterable[Charge]) -> dict[str, float]:
    months: dict[str, float] = {}
    for charge in found:
        for month, usd in charge.months.items():
            months[month] = months.get(month, 0.0) + usd
    return dict(sorted(months.items()))


def _ran(span: Span, now: datetime) -> Charge:
    one = span.session
    end = span.ended or max(now, one.began)
    seconds = max(LEAST_SECONDS, (end - one.began).total_seconds())
    return Charge(
        "machine",
        one.kind,
        one.machine,
        one.machine_type,
        one.spot,
        one.began,
        span.ended,
        span.at_most,
        seconds,
        one.per_hour,
        _months(one.began, one.began + timedelta(seconds=seconds), one.per_hour),
    )


def _succeeded(holdings: list[Holding]) -> Iterator[tuple[Holding, datetime | None]]:
    """Each with the moment from which on a later machine of its kind has the address."""
    for one in holdings:
        later = [other.since for other in holdings if other.kind == one.kind and other.since > one.since]
        yield one, min(later, default=None)


def _kept(one: Holding, heir: datetime | None, now: datetime) -> Iterator[Charge]:
    released = min((moment for moment in (one.released, heir) if moment), default=None)
    for what, ended, rate in (("disk", one.gone, one.disk_hour), ("address", released, one.address_hour)):
        end = max(ended or now, one.since)
        about = f"{one.disk_gb} GB" if what == "disk" else ""
        seconds = (end - one.since).total_seconds()
        yield Charge(
            what, one.kind, one.machine, about, False, one.since, ended, False, seconds, rate,
            _months(one.since, end, rate),
        )  # fmt: skip


def _months(start: datetime, end: datetime, per_hour: float | None) -> dict[str, float]:
    if per_hour is None:
        return {}
    return {month: hours * per_hour for month, hours in split(start, end)}


def split(start: datetime, end: datetime) -> Iterator[tuple[str, float]]:
    """The hours of each month (UTC) that lies between."""
    while start < end:
        ahead = (start.replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        until = min(end, ahead.astimezone(timezone.utc))
        yield f"{start:%Y-%m}", (until - start).total_seconds() / 3600
        start = until
