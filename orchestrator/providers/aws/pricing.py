"""What AWS tells of prices: the Price List's on-demand figures, and EC2's history of spot prices."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ... import pricelist
from ...errors import GpuError
from ...pricelist import PriceList
from .session import Session, in_words

if TYPE_CHECKING:
    from mypy_boto3_pricing.type_defs import FilterTypeDef

T = TypeVar("T")

LINUX = {
    "operatingSystem": "Linux",
    "operation": "RunInstances",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
}
"""The one product of an instance type that a machine of ours takes; a type has dozens: Windows, reserved, dedicated.
Attributes: https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/reading-an-offer.html"""
IN_A_REGION = {"locationType": "AWS Region"}
"""Neither a local zone's nor an Outpost's price."""
GPU = {"instanceFamily": "GPU instance"}
GP3 = {"productFamily": "Storage", "volumeApiName": "gp3"}
IN_USE = "PublicIPv4:InUseAddress"
"""How the usage type of a public IPv4 address ends, after the region's short name."""
TYPES_A_CALL = 100


class PriceTag:
    """The region's prices, from the cache as long as they are fresh."""

    def __init__(self, session: Session, cache: Path) -> None:
        self._session, self._cache = session, cache
        self.troubles: list[str] = []
        """Why AWS did not tell, in words; the last known figures stand in."""
        self._trusted = True

    def known(self, types: Sequence[str] = (), *, whole: bool = False) -> PriceList:
        """List prices of the GPU types, of `types`, and with `whole` of all; asked for where missing or old."""
        now = datetime.now(timezone.utc)
        known = pricelist.read(self._cache, self._session.region) or PriceList(self._session.region)
        if self._trusted and known.fresh(now, whole=whole):
            return self._completed(known, types)
        if self._trusted and known.refused_lately(now):
            self.troubles.append(known.reason)
            return known
        fetched = self._try(lambda: self._list(now, types, whole=whole))
        if fetched is None:
            known = replace(known, refused=now, reason=self.troubles[-1])
        else:
            known = replace(fetched, spot=known.spot, spot_asked=known.spot_asked)
        self._keep(known)
        return known

    def _completed(self, known: PriceList, types: Sequence[str]) -> PriceList:
        missing = () if known.whole else tuple(name for name in types if name not in known.hour)
        more = self._try(lambda: self._hours(missing)) if missing else None
        if more:
            known = replace(known, hour={**known.hour, **more})
            self._keep(known)
        return known

    def with_spot(self, known: PriceList, types: Sequence[str]) -> PriceList:
        """`known` with the spot prices of `types`, asked for where they are missing or older than an hour."""
        now = datetime.now(timezone.utc)
        old = known.spot if self._trusted and known.spot_fresh(now) else {}
        missing = tuple(name for name in types if name not in old)
        if not missing:
            return known
        asked = types if not old else missing
        told = self._try(lambda: self._spot(asked, now))
        if told is None:
            return known
        # Those that were young enough keep the older date: a price is never said to be younger than it is.
        when = known.spot_asked if old else now
        known = replace(known, spot={**old, **told}, spot_asked=when)
        self._keep(known)
        return known

    def distrust(self) -> None:
        """The next question goes to AWS; where it does not answer, the old figures stand in."""
        self._trusted = False

    def _keep(self, known: PriceList) -> None:
        # The prices are known, whether or not they can be kept.
        self._try(lambda: pricelist.write(self._cache, known))

    def _try(self, ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except GpuError as error:
            text = error.what
            if text in self.troubles:
                self.troubles.remove(text)
            self.troubles.append(text)
            return None

    def _list(self, now: datetime, types: Sequence[str], *, whole: bool) -> PriceList:
        named = _by_type(self._products("AmazonEC2", {**LINUX, **({} if whole else GPU)}))
        if not named:
            raise GpuError(f"the price list has nothing of {self._session.region}", "Check the region's name")
        if not whole:
            named.update(self._hours([name for name in types if name not in named]))
        disk = [usd for _, usd in self._products("AmazonEC2", GP3)]
        addresses = self._products("AmazonVPC", {})
        address = [usd for about, usd in addresses if str(about.get("usagetype", "")).endswith(IN_USE)]
        return PriceList(
            self._session.region,
            asked=now,
            whole=whole,
            hour=named,
            disk_gb_month=min(disk, default=None),
            address_hour=min(address, default=None),
        )

    def _hours(self, types: Iterable[str]) -> dict[str, float]:
        return _by_type(pair for name in types for pair in self._products("AmazonEC2", {**LINUX, "instanceType": name}))

    @in_words
    def _products(self, service: str, wanted: dict[str, str]) -> list[tuple[dict[str, Any], float]]:
        """Attributes and US dollars a unit of every product in the region that is as `wanted`."""
        filters: list[FilterTypeDef] = [
            {"Type": "TERM_MATCH", "Field": name, "Value": value}
            for name, value in {**wanted, **IN_A_REGION, "regionCode": self._session.region}.items()
        ]
        pages = self._session.pricing.get_paginator("get_products").paginate(
            ServiceCode=service, Filters=filters, FormatVersion="aws_v1"
        )
        return [found for page in pages for text in page["PriceList"] for found in read_product(text)]

    @in_words
    def _spot(self, types: Sequence[str], now: datetime) -> dict[str, float]:
        """The latest price of each type in its cheapest zone."""
        latest: dict[tuple[str, str], tuple[datetime, float]] = {}
        for start in range(0, len(types), TYPES_A_CALL):
            pages = self._session.ec2.get_paginator("describe_spot_price_history").paginate(
                InstanceTypes=list(types[start : start + TYPES_A_CALL]),  # type: ignore[arg-type]
                ProductDescriptions=["Linux/UNIX"],
                StartTime=now,
            )
            for entry in (entry for page in pages for entry in page["SpotPriceHistory"]):
                where = (str(entry["InstanceType"]), entry["AvailabilityZone"])
                told = (entry["Timestamp"], float(entry["SpotPrice"]))
                latest[where] = max(told, latest.get(where, told), key=lambda one: one[0])
        return {name: min(usd for (one, _), (_, usd) in latest.items() if one == name) for name, _ in latest}


def _by_type(products: Iterable[tuple[dict[str, Any], float]]) -> dict[str, float]:
    """Of several prices of a type the highest: a machine shall never cost more than was said."""
    found: dict[str, float] = {}
    for about, usd in products:
        name = about.get("instanceType")
        # Capacity blocks are paid in advance, at a price of their own.
        if isinstance(name, str) and about.get("marketoption", "OnDemand") == "OnDemand":
            found[name] = max(usd, found.get(name, usd))
    return found


def read_product(text: str) -> Iterator[tuple[dict[str, Any], float]]:
    """A product of the price list: its attributes, and US dollars a unit where it is priced by one. What is not in
    the shape that is known is left out: no price rather than a wrong one."""
    try:
        product = json.loads(text)
        attributes = product["product"]["attributes"]
        rates = [
            float(dimension["pricePerUnit"]["USD"])
            for offer in product["terms"]["OnDemand"].values()
            for dimension in offer["priceDimensions"].values()
            if dimension.get("beginRange", "0") == "0"
        ]
        if isinstance(attributes, dict) and len(rates) == 1 and rates[0] > 0:
            yield attributes, rates[0]
    except (ValueError, KeyError, TypeError, AttributeError):
        return
