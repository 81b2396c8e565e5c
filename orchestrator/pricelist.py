"""Prices that a region has told, kept with their date: one small file a region, which may be deleted at any time."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from .state import write_atomically

VERSION = 1
LASTING = timedelta(days=7)
"""List prices change a few times a year."""
SPOT_LASTING = timedelta(hours=1)
"""Spot prices move several times a day: older ones are asked for anew."""
SPOT_SHOWN = timedelta(days=1)
"""Older ones are not shown at all."""
PATIENCE = timedelta(hours=1)
"""After a refusal, or where AWS was not to be reached: not every command shall wait for that again."""


@dataclass(frozen=True)
class PriceList:
    """US dollars: an hour of each type; a month of a GB of gp3; an hour of a public IPv4 address. None: not told."""

    region: str
    asked: datetime | None = None
    """When the list prices were asked for, in UTC; None: they have to be asked for."""
    whole: bool = False
    """It has the types without a GPU too."""
    hour: Mapping[str, float] = field(default_factory=dict)
    spot_asked: datetime | None = None
    spot: Mapping[str, float] = field(default_factory=dict)
    """In each type's cheapest zone."""
    disk_gb_month: float | None = None
    address_hour: float | None = None
    refused: datetime | None = None
    """When the list prices were last asked for in vain."""
    reason: str = ""

    def fresh(self, now: datetime, *, whole: bool = False) -> bool:
        return _young(self.asked, now, LASTING) and (self.whole or not whole)

    def spot_fresh(self, now: datetime) -> bool:
        return _young(self.spot_asked, now, SPOT_LASTING)

    def refused_lately(self, now: datetime) -> bool:
        return _young(self.refused, now, PATIENCE)

    def spot_shown(self, now: datetime) -> bool:
        return _young(self.spot_asked, now, SPOT_SHOWN)


def _young(asked: datetime | None, now: datetime, lasting: timedelta) -> bool:
    # A date that lies ahead, from a clock that was wrong then, must not keep a price for ever.
    return asked is not None and timedelta(0) <= now - asked + timedelta(minutes=5) and now - asked <= lasting


def read(folder: Path, region: str) -> PriceList | None:
    """None where there is none, or none that can be trusted: it is fetched anew then."""
    try:
        return _parse(json.loads(_file(folder, region).read_text("utf-8")), region)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return None


def write(folder: Path, prices: PriceList) -> None:
    document = {"version": VERSION, **asdict(prices)}
    write_atomically(_file(folder, prices.region), json.dumps(document, indent=1, default=_text) + "\n", mode=0o600)


def _file(folder: Path, region: str) -> Path:
    return folder / f"{region}.json"


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).isoformat(timespec="seconds")
    raise TypeError(f"{value!r} has no place in a price list")


def _parse(document: Any, region: str) -> PriceList:
    if document["version"] != VERSION or document["region"] != region:
        raise ValueError("of another version or region")
    return PriceList(
        region,
        asked=_moment(document["asked"]),
        whole=document["whole"] is True,
        hour=_prices(document["hour"]),
        spot_asked=_moment(document["spot_asked"]),
        spot=_prices(document["spot"]),
        disk_gb_month=_price(document["disk_gb_month"]),
        address_hour=_price(document["address_hour"]),
        refused=_moment(document["refused"]),
        reason=str(document["reason"]),
    )


def _moment(text: Any) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(timezone.utc)


def _prices(document: Any) -> dict[str, float]:
    prices = {str(name): _price(value) for name, value in document.items()}
    return {name: value for name, value in prices.items() if value is not None}


def _price(value: Any) -> float | None:
    if value is None:
        return None
    price = float(value)
    if not math.isfinite(price) or price < 0:
        raise ValueError(f"{value!r} is no price")
    return price
