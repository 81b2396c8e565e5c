"""Spot instances: what EC2 keeps of the request that each came from."""

from __future__ import annotations

from typing import Any

from .lifecycle import Lifecycle
from .wsgi import Call, Refusal

OPTIONS = "InstanceMarketOptions.SpotOptions"


class Spot:
    def __init__(self, lifecycle: Lifecycle) -> None:
        self._one_time: set[str] = set()
        lifecycle.made.append(self._made)
        lifecycle.before.append(self._before)

    def _made(self, call: Call, instance: Any) -> None:
        spot = call.params.get("InstanceMarketOptions.MarketType") == "spot"
        if spot and call.params.get(f"{OPTIONS}.SpotInstanceType") != "persistent":
            self._one_time.add(instance.id)

    def _before(self, call: Call, instance: Any) -> None:
        if call.action == "StopInstances" and instance.id in self._one_time:
            raise Refusal(
                "UnsupportedOperation",
                f"You can't stop the Spot Instance '{instance.id}' because it is associated with a one-time Spot "
                "Instance request. You can only stop Spot Instances associated with persistent Spot Instance requests.",
            )
