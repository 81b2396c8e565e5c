"""The kinds of machines, and what they cost: `machines.yaml`, read once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml

from .errors import UsageError, nearest
from .providers.base import Price

HOURS_A_MONTH = 730
_FILE = Path(__file__).with_name("machines.yaml")
_TYPE = re.compile(r"[a-z][a-z0-9-]*\.[a-z0-9-]+")


@dataclass(frozen=True)
class MachineType:
    """What an instance type is; `hour` has its price in US dollars by region."""

    gpu: str | None
    vcpus: int
    memory_gb: int
    hour: Mapping[str, float]


@dataclass(frozen=True)
class Table:
    """The whole file."""

    kinds: Mapping[str, tuple[str, ...]]
    types: Mapping[str, MachineType]
    disk_gb_month: float
    address_hour: float
    source: str


@lru_cache(maxsize=1)
def table() -> Table:
    document = yaml.safe_load(_FILE.read_text())
    return Table(
        kinds={name: tuple(types) for name, types in document["kinds"].items()},
        types={name: MachineType(**entry) for name, entry in document["types"].items()},
        disk_gb_month=document["disk_gb_month"],
        address_hour=document["address_hour"],
        source=f"{document['source']}, {document['date']}",
    )


def types_of(kind: str) -> tuple[str, ...]:
    """The instance types of a kind in order; a type's own name stands for itself. UsageError for neither."""
    kinds = table().kinds
    if kind in kinds:
        return kinds[kind]
    if _TYPE.fullmatch(kind):
        return (kind,)
    hint = nearest(kind, [*kinds, *table().types])
    known = f"The kinds are {', '.join(kinds)}, and any instance type such as g5.xlarge"
    raise UsageError(f"there is no kind of machine called {kind}", f"{hint} {known}".strip())


def price(instance_type: str, *, region: str, disk_gb: int) -> Price | None:
    """An hour of the instance, and a month of its disk and address; None where the table does not have it."""
    prices = table()
    known = prices.types.get(instance_type)
    if known is None or region not in known.hour:
        return None
    kept = disk_gb * prices.disk_gb_month + HOURS_A_MONTH * prices.address_hour
    return Price(known.hour[region], kept, f"{prices.source}, {region}")
