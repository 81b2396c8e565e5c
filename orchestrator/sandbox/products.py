"""The emulated price list: every product of the region that a machine of ours takes, and some that it does not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from .. import prices
from .catalog import REGION


def products() -> Iterator[dict[str, Any]]:
    """Every product of the region: beside each that a machine of ours takes, one that it must not be mistaken for."""
    known = prices.table()
    for name, entry in known.types.items():
        hour = entry.hour.get(REGION)
        if hour is None:
            continue
        about = {
            "instanceType": name,
            "instanceFamily": "GPU instance" if entry.gpu else "General purpose",
            "vcpu": str(entry.vcpus),
            "memory": f"{entry.memory_gb} GiB",
            "operatingSystem": "Linux",
            "tenancy": "Shared",
            "preInstalledSw": "NA",
            "licenseModel": "No License required",
            "capacitystatus": "Used",
            "operation": "RunInstances",
            "usagetype": f"USW2-BoxUsage:{name}",
        }
        yield _product("AmazonEC2", "Compute Instance", about, "Hrs", hour)
        reserved = {"capacitystatus": "UnusedCapacityReservation", "usagetype": f"USW2-UnusedBox:{name}"}
        yield _product("AmazonEC2", "Compute Instance", {**about, **reserved}, "Hrs", hour)
        windows = {"operatingSystem": "Windows", "operation": "RunInstances:0002"}
        yield _product("AmazonEC2", "Compute Instance", {**about, **windows}, "Hrs", hour + 0.046 * entry.vcpus)
    for volume, month in (("gp2", 0.10), ("gp3", known.disk_gb_month)):
        disk = {"volumeApiName": volume, "volumeType": "General Purpose", "usagetype": f"USW2-EBS:VolumeUsage.{volume}"}
        yield _product("AmazonEC2", "Storage", disk, "GB-Mo", month)
    for use in ("InUseAddress", "IdleAddress"):
        address = {"usagetype": f"USW2-PublicIPv4:{use}", "group": "VPCPublicIPv4Address"}
        yield _product("AmazonVPC", "", address, "Hrs", known.address_hour)


def _product(service: str, family: str, attributes: dict[str, str], unit: str, usd: float) -> dict[str, Any]:
    """As `aws pricing get-products` shows it."""
    sku = hashlib.sha256(repr((service, family, sorted(attributes.items()))).encode()).hexdigest()[:16].upper()
    term = f"{sku}.JRTCKXETXF"
    rate = f"{term}.6YS6EN2CT7"
    dimension = {
        "unit": unit,
        "beginRange": "0",
        "endRange": "Inf",
        "description": f"${usd:.10g} per {unit}",
        "appliesTo": [],
        "rateCode": rate,
        "pricePerUnit": {"USD": f"{usd:.10f}"},
    }
    offer = {"priceDimensions": {rate: dimension}, "sku": sku, "offerTermCode": "JRTCKXETXF", "termAttributes": {}}
    place = {"regionCode": REGION, "location": "US West (Oregon)", "locationType": "AWS Region", "servicecode": service}
    return {
        "product": {"productFamily": family, "attributes": {**place, **attributes}, "sku": sku},
        "serviceCode": service,
        "terms": {"OnDemand": {term: {**offer, "effectiveDate": "2025-06-01T00:00:00Z"}}},
        "version": "20250601000000",
        "publicationDate": "2025-06-01T00:00:00Z",
    }
