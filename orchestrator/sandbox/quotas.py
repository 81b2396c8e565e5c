"""How many vCPUs of a family may run at once in a region, on demand and as spot instances.

https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from moto.ec2.models.instance_types import INSTANCE_TYPES

from .instances import Instances
from .lifecycle import Lifecycle
from .wsgi import Call, Refusal

CODES = {
    "standard": ("L-1216C47A", "L-34B43A08"),
    "g": ("L-DB2E81BA", "L-3819A6DF"),
    "p": ("L-417A185B", "L-7212CCBC"),
}
"""Of each bucket of families: on demand, spot."""
BUCKETS = {**dict.fromkeys("acdhimrtz", "standard"), "g": "g", "vt": "g", "p": "p"}


class Quotas:
    def __init__(self, instances: Instances, lifecycle: Lifecycle, limit: Callable[[str], float]) -> None:
        self._instances = instances
        self._limit = limit
        lifecycle.asked.append(self._run)
        lifecycle.before.append(self._start)

    def _run(self, call: Call) -> None:
        spot = call.params.get("InstanceMarketOptions.MarketType") == "spot"
        kind, count = call.params.get("InstanceType", "m1.small"), int(call.params.get("MinCount", 1))
        self._check(call.region, kind, spot=spot, more=count * vcpus(kind))

    def _start(self, call: Call, instance: Any) -> None:
        if call.action == "StartInstances" and instance._state.name == "stopped":
            kind = instance.instance_type
            self._check(call.region, kind, spot=instance.lifecycle == "spot", more=vcpus(kind))

    def _check(self, region: str, instance_type: str, *, spot: bool, more: int) -> None:
        code = quota_code(instance_type, spot=spot)
        if code is None:
            return
        used = sum(
            vcpus(one.instance_type)
            for one in self._instances.all()
            if one.region_name == region
            and one._state.name in ("pending", "running")
            and quota_code(one.instance_type, spot=one.lifecycle == "spot") == code
        )
        limit = self._limit(code)
        if used + more > limit:
            raise exceeded(instance_type, spot=spot, limit=limit)


def quota_code(instance_type: str, *, spot: bool) -> str | None:
    """None for families that are counted by nothing here."""
    family = re.match(r"[a-z]+", instance_type)
    bucket = BUCKETS.get(family[0]) if family else None
    return CODES[bucket][spot] if bucket else None


def vcpus(instance_type: str) -> int:
    return int(INSTANCE_TYPES.get(instance_type, {}).get("VCpuInfo", {}).get("DefaultVCpus", 1))


def exceeded(instance_type: str, *, spot: bool, limit: float) -> Refusal:
    if spot:
        return Refusal("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")
    return Refusal(
        "VcpuLimitExceeded",
        f"You have requested more vCPU capacity than your current vCPU limit of {limit:.0f} allows for the instance "
        f"bucket that the specified instance type {instance_type} belongs to. Please visit "
        "http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit.",
    )
