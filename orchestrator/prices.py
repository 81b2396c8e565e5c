"""The kinds of machines, and what they cost: `machines.yaml`, read once, and what the region has told since."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from . import pricelist
from .errors import UsageError, nearest
from .providers.base import Price

HOURS_A_MONTH = 730
SNAPSHOT_GB_MONTH = 0.05
"""US dollars in us-west-2, 2025-06, https://aws.amazon.com/ebs/pricing/ ; only blocks that differ from the snapshot
before are counted, so a disk's size times this is the most that it can be."""
TRANSFER_GB = 0.02
"""US dollars for a gigabyte from us-west-2 into another region, 2025-06,
https://aws.amazon.com/ec2/pricing/on-demand/#Data_Transfer """
_FILE = Path(__file__).with_name("machines.yaml")
_TYPE = re.compile(r"[a-z][a-z0-9-]*\.[a-z0-9-]+")


@dataclass(frozen=True)
class MachineType:
    """What an instance type is; `hour` has its price in US dollars by region."""

    gpu: str | None
    gpus: int
    gpu_memory_gb: float
    """GiB of one GPU."""
    capability: str | None
    """The GPU's architecture as torch names it: sm_37."""
    vcpus: int
    memory_gb: int
    quota: str
    """The family of vCPU quotas that it counts against: standard, G and VT, P."""
    architecture: str
    hour: Mapping[str, float]


@dataclass(frozen=True)
class Table:
    """The whole file."""

    kinds: Mapping[str, tuple[str, ...]]
    types: Mapping[str, MachineType]
    disk_gb_month: float
    address_hour: float
    source: str
    date: str
    """ISO, perhaps without its day."""


@dataclass(frozen=True)
class Storage:
    """US dollars for what goes on costing while a machine is stopped."""

    disk_gb_month: float
    address_hour: float

    def per_month(self, disk_gb: int) -> float:
        """730 hours of one address and of a disk."""
        return disk_gb * self.disk_gb_month + HOURS_A_MONTH * self.address_hour


@lru_cache(maxsize=1)
def table() -> Table:
    # The loader in C, where PyYAML has it: every command of a cloud reads this.
    document = yaml.load(_FILE.read_text("utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    families: dict[str, dict[str, Any]] = document["families"]
    return Table(
        kinds={name: tuple(types) for name, types in document["kinds"].items()},
        types={
            name: MachineType(**families[name.partition(".")[0]], **entry) for name, entry in document["types"].items()
        },
        disk_gb_month=document["disk_gb_month"],
        address_hour=document["address_hour"],
        source=f"{document['source']}, {document['date']}",
        date=document["date"],
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


def price(
    instance_type: str, *, region: str, disk_gb: int, spot: bool = False, cache: Path | None = None
) -> Price | None:
    """An hour of the instance, and a month of its disk and address; None where nobody has told it.

    `cache` is the folder of what regions have told; without it, or with nothing in it, the dated table speaks.
    """
    told = _told(region, cache)
    hour, source = _spot(instance_type, told) if spot else on_demand(instance_type, region, told)
    if hour is None:
        return None
    return Price(hour, storage(region, cache).per_month(disk_gb), f"{source}, {region}")


def storage(region: str, cache: Path | None = None) -> Storage:
    """What disk and address cost; from the dated table where the region has not told."""
    told, known = _told(region, cache), table()
    disk = told.disk_gb_month if told else None
    address = told.address_hour if told else None
    return Storage(
        known.disk_gb_month if disk is None else disk,
        known.address_hour if address is None else address,
    )


def _told(region: str, cache: Path | None) -> pricelist.PriceList | None:
    return pricelist.read(cache, region) if cache else None


def _spot(instance_type: str, told: pricelist.PriceList | None) -> tuple[float | None, str]:
    if told is None or told.spot_asked is None or not told.spot_shown(datetime.now(timezone.utc)):
        return None, ""
    return told.spot.get(instance_type), f"EC2 spot price, cheapest zone, {told.spot_asked:%Y-%m-%d %H:%M} UTC"


def on_demand(instance_type: str, region: str, told: pricelist.PriceList | None) -> tuple[float | None, str]:
    known = table()
    # A cache from before this package was made would hide newer figures.
    if told and told.asked and told.asked.date().isoformat() >= known.date and instance_type in told.hour:
        return told.hour[instance_type], f"EC2 on-demand list price for Linux, {told.asked:%Y-%m-%d}"
    entry = known.types.get(instance_type)
    return (entry.hour.get(region) if entry else None), known.source
