"""What EC2 answers about spot requests and spot prices."""

from __future__ import annotations

import datetime
import fnmatch
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from xml.sax.saxutils import escape

from moto.ec2.models import ec2_backends

from . import wsgi
from .catalog import ACCOUNT
from .spot import STATES, Spot, SpotRequest
from .wsgi import Call, Forward, Handler, Refusal, Reply

Price = Callable[[str, str], float]
"""Dollars an hour for an instance type in a zone."""
OTHER_WAYS = ("RequestSpotInstances", "RequestSpotFleet", "CreateFleet")
"""The older ways to a spot instance; the region knows the one through RunInstances."""


class SpotApi:
    def __init__(self, spot: Spot, price: Price) -> None:
        self._spot = spot
        self._price = price

    def handlers(self) -> dict[str, Handler]:
        return {
            "DescribeSpotInstanceRequests": self._describe,
            "CancelSpotInstanceRequests": self._cancel,
            "DescribeSpotPriceHistory": self._history,
            **dict.fromkeys(OTHER_WAYS, _refuse_other_way),
        }

    def _describe(self, call: Call, forward: Forward) -> Reply:
        del forward
        named = call.named("SpotInstanceRequestId")
        self._check(call.region, named)
        here = {one.id: one for one in self._spot.requests.values() if one.instance.region_name == call.region}
        found = [one for one in here.values() if not named or one.id in named]
        for name, wanted in filters(call):
            found = [one for one in found if matches(_facts(one), name, wanted)]
        items = "".join(f"<item>{_item(one, self._price)}</item>" for one in found)
        return wsgi.ec2_answer(call.action, f"<spotInstanceRequestSet>{items}</spotInstanceRequestSet>")

    def _cancel(self, call: Call, forward: Forward) -> Reply:
        del forward
        named = call.named("SpotInstanceRequestId")
        self._check(call.region, named)
        items = "".join(
            f"<item><spotInstanceRequestId>{one.id}</spotInstanceRequestId><state>{one.state}</state></item>"
            for one in map(self._spot.cancel, named)
        )
        return wsgi.ec2_answer(call.action, f"<spotInstanceRequestSet>{items}</spotInstanceRequestSet>")

    def _history(self, call: Call, forward: Forward) -> Reply:
        """One price for each type and zone, of now: that is what `StartTime` of now asks for."""
        del forward
        rows = list(offered(call.region))
        asked = [*filters(call), ("instance-type", call.named("InstanceType"))]
        asked.append(("product-description", call.named("ProductDescription")))
        if zone := call.params.get("AvailabilityZone"):
            asked.append(("availability-zone", [zone]))
        for name, wanted in asked:
            rows = [row for row in rows if not wanted or matches(row, name, wanted)]
        items = "".join(
            f"<item><instanceType>{row['instance-type']}</instanceType>"
            f"<productDescription>{row['product-description']}</productDescription>"
            f"<spotPrice>{price:.6f}</spotPrice><timestamp>{_stamp(_now())}</timestamp>"
            f"<availabilityZone>{row['availability-zone']}</availabilityZone></item>"
            for row in rows
            if (price := self._price(str(row["instance-type"]), str(row["availability-zone"]))) > 0
        )
        return wsgi.ec2_answer(call.action, f"<spotPriceHistorySet>{items}</spotPriceHistorySet><nextToken/>")

    def _check(self, region: str, named: Iterable[str]) -> None:
        for one in named:
            if one not in self._spot.requests or self._spot.requests[one].instance.region_name != region:
                raise Refusal(
                    "InvalidSpotInstanceRequestID.NotFound", f"The spot instance request ID '{one}' does not exist"
                )


def _refuse_other_way(call: Call, forward: Forward) -> Reply:
    del forward
    raise Refusal(
        "UnsupportedOperation", f"The sandbox has no {call.action}: use RunInstances with InstanceMarketOptions"
    )


def filters(call: Call) -> list[tuple[str, list[str]]]:
    """(name, values) of each filter of a Describe call."""
    found = []
    for form in call.listed("Filter"):
        values = [value for key, value in form.items() if key.startswith("Value")]
        found.append((form.get("Name", ""), values))
    return found


def matches(facts: Mapping[str, Any], name: str, wanted: Iterable[str]) -> bool:
    """Whether one of the wanted values, which may have wildcards, is there; Refusal for a filter that is none."""
    if name not in facts and not name.startswith("tag:"):
        raise Refusal("InvalidParameterValue", f"The filter '{name}' is invalid")
    value = facts.get(name)
    there = value if isinstance(value, list) else [value]
    return any(one is not None and fnmatch.fnmatchcase(str(one), pattern) for one in there for pattern in wanted)


def offered(region: str) -> Iterable[dict[str, str]]:
    """Types and zones where a spot instance can be had."""
    from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS

    for offer in INSTANCE_TYPE_OFFERINGS["availability-zone"].get(region, []):
        yield {
            "instance-type": offer["InstanceType"],
            "availability-zone": offer["Location"],
            "product-description": "Linux/UNIX",
        }


def _facts(request: SpotRequest) -> dict[str, Any]:
    tags = _tags(request)
    return {
        "spot-instance-request-id": request.id,
        "state": request.state,
        "status-code": request.status,
        "instance-id": request.instance.id,
        "type": "persistent" if request.persistent else "one-time",
        "launch.instance-type": request.instance.instance_type,
        "launched-availability-zone": request.instance.placement.zone,
        "create-time": _stamp(request.created),
        "tag-key": list(tags),
        "tag-value": list(tags.values()),
        **{f"tag:{key}": value for key, value in tags.items()},
    }


def _tags(request: SpotRequest) -> dict[str, str]:
    tags = ec2_backends[ACCOUNT][request.instance.region_name].tags
    return dict(tags.get(request.id, {}))


def _item(request: SpotRequest, price: Price) -> str:
    instance, zone = request.instance, request.instance.placement.zone
    plain = {
        "spotInstanceRequestId": request.id,
        "spotPrice": f"{price(instance.instance_type, zone):.6f}",
        "type": "persistent" if request.persistent else "one-time",
        "state": request.state,
        "instanceId": instance.id,
        "createTime": _stamp(request.created),
        "productDescription": "Linux/UNIX",
        "launchedAvailabilityZone": zone,
        "instanceInterruptionBehavior": request.behaviour,
    }
    status = {"code": request.status, "updateTime": _stamp(_now()), "message": STATES[request.status][1]}
    launch = {"imageId": instance.image_id, "instanceType": instance.instance_type, "keyName": instance.key_name}
    tags = "".join(f"<item>{_xml({'key': key, 'value': value})}</item>" for key, value in _tags(request).items())
    inner = f"<status>{_xml(status)}</status><launchSpecification>{_xml(launch)}</launchSpecification>"
    return f"{_xml(plain)}{inner}<tagSet>{tags}</tagSet>"


def _xml(facts: Mapping[str, Any]) -> str:
    return "".join(f"<{key}>{escape(str(value))}</{key}>" for key, value in facts.items() if value is not None)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


def _stamp(when: datetime.datetime) -> str:
    return f"{when:%Y-%m-%dT%H:%M:%S.000Z}"
