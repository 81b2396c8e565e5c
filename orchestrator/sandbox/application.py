"""The region's application, put together: the panel, faults and log around the gateway, the gateway around moto."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from . import lookups, wsgi
from .attributes import Attributes
from .calls import CallLog
from .dependencies import Dependencies
from .faults import Faults
from .gateway import Gateway
from .images import Images
from .instances import Instances
from .lifecycle import Lifecycle
from .market import Market
from .metadata import Metadata
from .outside import Outside, place, places
from .panel import Panel
from .quotas import Quotas
from .spot import Spot
from .spotapi import SpotApi
from .striker import Striker
from .wsgi import Call, Environ, Reply, StartResponse, Wsgi


class Application:
    """`panel` is what is served; `step` is called several times a second."""

    def __init__(self, moto: Wsgi, instances: Instances, folder: Path) -> None:
        faults = Faults()
        instances.sticks = lambda instance: faults.sticks(instance.id, place(instance))
        self._outside = Outside(instances)
        lifecycle = Lifecycle(instances)
        self._market = Market()
        self._spot = Spot(instances, lifecycle, faults.has_room)
        self._images = Images(instances, folder / "snapshots")
        Quotas(instances, lifecycle, self._market.limit)
        handlers = {
            **lifecycle.handlers(),
            **Attributes(instances, lifecycle).handlers(),
            **SpotApi(self._spot, self._market.spot_price).handlers(),
            **self._images.handlers(),
            **Dependencies(instances).handlers(),
            "DescribeAddresses": lookups.describe_addresses,
            "DescribeInstances": lookups.describe_instances,
        }
        gateway = Gateway(self._sold(moto), instances, handlers)
        log = CallLog(folder / "calls.jsonl")

        def where(call: Call) -> list[tuple[str, str]]:
            return places(instances, call)

        striker = Striker(gateway, log, faults, where, self._outside.strike)
        self.panel = Panel(striker, self._outside.strike, Metadata(instances, self._outside))

    def _sold(self, moto: Wsgi) -> Wsgi:
        """`moto`, with the price list and the quotas of the market."""

        def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            target = environ.get("HTTP_X_AMZ_TARGET", "")
            if not target.startswith(("AWSPriceListService.", "ServiceQuotas")):
                return moto(environ, start_response)
            status, answer = self._market.answer(target, wsgi.body(environ))
            headers = [("Content-Type", "application/x-amz-json-1.1")]
            return Reply(f"{status} {wsgi.STATUS[status]}", headers, answer).give(start_response)

        return application

    def step(self) -> None:
        self._outside.step()
        self._spot.step()
        self._images.step()
