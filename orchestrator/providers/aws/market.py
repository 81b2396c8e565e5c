"""What the region offers to this account: types, prices, quotas."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from ... import prices
from ...pricelist import PriceList
from ...settings import Home
from ..base import Need, Offer, Quota, QuotaRequest
from .ec2 import Ec2
from .pricing import PriceTag
from .quotas import Quotas
from .session import Session, in_words

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import FilterTypeDef, InstanceTypeInfoTypeDef

ARCHITECTURE = "x86_64"
"""Of the images that machines of ours begin from."""
MOST_VALUES = 200
"""That EC2 takes for one filter; for more it is asked without."""


class AwsMarket:
    def __init__(self, session: Session, ec2: Ec2, home: Home) -> None:
        del ec2  # The market is the account's, whatever tags its machines carry.
        self._session = session
        self._tag = PriceTag(session, home.cache / "prices")
        self._quotas = Quotas(session)

    def offers(self, *, gpu_only: bool = True) -> Sequence[Offer]:
        types = [one for one in self._types(gpu_only) if not gpu_only or _has_our_gpu(one)]
        zones = self._zones([str(one["InstanceType"]) for one in types])
        names = list(zones)
        told = self._tag.with_spot(self._tag.known(_of_kinds(), whole=not gpu_only), names)
        offers = [_offer(one, zones[str(one["InstanceType"])], told) for one in types if one["InstanceType"] in zones]
        return sorted(offers, key=lambda o: (o.on_demand is None, o.on_demand or 0.0, o.machine_type))

    def refresh(self) -> None:
        """The next prices are AWS's own of now, whatever is in the cache."""
        self._tag.distrust()

    def freshen(self, types: Sequence[str], *, spot: bool = False) -> None:
        """Bring the cache up to date for `types`, if it is not: `prices.price` reads it. Never raises for AWS."""
        known = self._tag.known((*_of_kinds(), *types))
        if spot:
            self._tag.with_spot(known, types)

    @property
    def troubles(self) -> Sequence[str]:
        """Why AWS did not tell its prices, in words; the last known figures stand in."""
        return tuple(self._tag.troubles)

    def quotas(self) -> Sequence[Quota]:
        return self._quotas.all()

    def need(self, machine_type: str, *, spot: bool) -> Need:
        return self._quotas.need(machine_type, spot=spot)

    def request(self, code: str, vcpus: float) -> QuotaRequest:
        return self._quotas.request(code, vcpus)

    def requests(self) -> Sequence[QuotaRequest]:
        return self._quotas.requests()

    @in_words
    def _types(self, gpu_only: bool) -> list[InstanceTypeInfoTypeDef]:
        # Only G and P have NVIDIA's GPUs; DescribeInstanceTypes has no filter for them.
        names: list[FilterTypeDef] = [{"Name": "instance-type", "Values": ["g*", "p*"]}] if gpu_only else []
        pages = self._session.ec2.get_paginator("describe_instance_types").paginate(Filters=names)
        return [one for page in pages for one in page["InstanceTypes"]]

    @in_words
    def _zones(self, types: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Of those that the region offers, where."""
        filters: list[FilterTypeDef] = [{"Name": "instance-type", "Values": types}]
        pages = self._session.ec2.get_paginator("describe_instance_type_offerings").paginate(
            LocationType="availability-zone", Filters=filters if len(types) <= MOST_VALUES else []
        )
        found: dict[str, set[str]] = {}
        for one in (one for page in pages for one in page["InstanceTypeOfferings"]):
            found.setdefault(str(one["InstanceType"]), set()).add(one["Location"])
        return {name: tuple(sorted(zones)) for name, zones in found.items()}


def _of_kinds() -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for types in prices.table().kinds.values() for name in types))


def _has_our_gpu(one: InstanceTypeInfoTypeDef) -> bool:
    gpus = one.get("GpuInfo", {}).get("Gpus", [])
    architectures = one.get("ProcessorInfo", {}).get("SupportedArchitectures", [])
    return any(gpu.get("Manufacturer") == "NVIDIA" for gpu in gpus) and ARCHITECTURE in architectures


def _offer(one: InstanceTypeInfoTypeDef, zones: tuple[str, ...], told: PriceList) -> Offer:
    gpu = next(iter(one.get("GpuInfo", {}).get("Gpus", [])), None)
    name = str(one["InstanceType"])
    usd, source = prices.on_demand(name, told.region, told)
    shown = told.spot_shown(datetime.now(timezone.utc))
    return Offer(
        machine_type=name,
        gpu=gpu.get("Name") if gpu else None,
        # A slice of a GPU has a count of none.
        gpus=gpu.get("Count", 0) if gpu else 0,
        gpu_memory_gb=gpu.get("MemoryInfo", {}).get("SizeInMiB", 0) / 1024 if gpu else 0.0,
        vcpus=one.get("VCpuInfo", {}).get("DefaultVCpus", 0),
        memory_gb=one.get("MemoryInfo", {}).get("SizeInMiB", 0) / 1024,
        on_demand=usd,
        spot=told.spot.get(name) if shown else None,
        zones=zones,
        source=source if usd is not None else "",
    )
