"""The emulated Price List and Service Quotas: JSON 1.1, in the shapes that AWS answers with."""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .. import prices
from .catalog import ACCOUNT, REGION
from .products import products

SERVICE = "Amazon Elastic Compute Cloud (Amazon EC2)"

QUOTAS = {
    "L-1216C47A": ("Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", 32.0),
    "L-DB2E81BA": ("Running On-Demand G and VT instances", 8.0),
    "L-417A185B": ("Running On-Demand P instances", 8.0),
    "L-34B43A08": ("All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests", 32.0),
    "L-3819A6DF": ("All G and VT Spot Instance Requests", 8.0),
    "L-7212CCBC": ("All P Spot Instance Requests", 0.0),
}
"""Code, name, vCPUs: one p2.xlarge may be had, eight GPUs at once or a spot P machine only on request."""

OPENED_AFTER, DECIDED_AFTER = 2.0, 4.0
"""Seconds after which somebody looks at a request for an increase, and after which it is decided; days at AWS."""
TOO_MUCH = 512.0
"""vCPUs from which on a request is denied, so that this can be rehearsed too."""
OPEN = ("PENDING", "CASE_OPENED")


class Refusal(Exception):
    """An answer in AWS's own words: its exception's name and a sentence."""

    def __init__(self, name: str, message: str) -> None:
        self.name = name
        super().__init__(message)


@dataclass(frozen=True)
class Request:
    """An increase that was asked for, at `asked` seconds of the market's clock."""

    id: str
    code: str
    vcpus: float
    asked: float

    def status(self, now: float) -> str:
        if now < self.asked + OPENED_AFTER:
            return "PENDING"
        if now < self.asked + DECIDED_AFTER:
            return "CASE_OPENED"
        return "DENIED" if self.vcpus > TOO_MUCH else "APPROVED"


class Market:
    """What the emulated account may have, and for how much."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._requests: list[Request] = []
        self._lock = threading.Lock()

    def answer(self, target: str, body: bytes) -> tuple[int, bytes]:
        """HTTP status and JSON for a request whose `X-Amz-Target` is `target`."""
        action = target.rpartition(".")[2]
        verb = _ACTIONS.get(action)
        try:
            if verb is None:
                raise Refusal("UnknownOperationException", f"The sandbox has no {action}")
            params = _parse(body)
            with self._lock:
                return 200, json.dumps(verb(self, params)).encode()
        except Refusal as refusal:
            return 400, json.dumps({"__type": refusal.name, "Message": str(refusal)}).encode()

    def limit(self, code: str) -> float:
        """vCPUs that may run at once under the quota `code`; KeyError for one that there is not."""
        now = self._clock()
        granted = [r.vcpus for r in self._requests if r.code == code and r.status(now) == "APPROVED"]
        return max([QUOTAS[code][1], *granted])

    def spot_price(self, instance_type: str, zone: str) -> float:
        """Dollars an hour: a quarter to a half of the list price, another in each zone. For a type that the table has
        no price of it is made up from its size."""
        known = prices.table().types.get(instance_type)
        listed = known.hour.get(REGION) if known else None
        share = 0.25 + zlib.crc32(f"{instance_type} {zone}".encode()) % 1000 / 4000
        return round((listed or _of_size(instance_type)) * share, 4)

    # --- Price List

    def get_products(self, params: dict[str, Any]) -> dict[str, Any]:
        wanted = [_filter(one) for one in params.get("Filters", [])]
        service = params.get("ServiceCode")
        found = [
            product
            for product in products()
            if product["serviceCode"] == service and all(_matches(product, *one) for one in wanted)
        ]
        page, token = _page(found, params)
        return {"FormatVersion": "aws_v1", "PriceList": [json.dumps(one) for one in page], **token}

    # --- Service Quotas

    def get_service_quota(self, params: dict[str, Any]) -> dict[str, Any]:
        code = _code(params)
        return {"Quota": _quota(code, self.limit(code))}

    def get_default(self, params: dict[str, Any]) -> dict[str, Any]:
        code = _code(params)
        return {"Quota": _quota(code, QUOTAS[code][1])}

    def list_service_quotas(self, params: dict[str, Any]) -> dict[str, Any]:
        _service(params)
        page, token = _page([_quota(code, self.limit(code)) for code in QUOTAS], params)
        return {"Quotas": page, **token}

    def request_increase(self, params: dict[str, Any]) -> dict[str, Any]:
        code, wanted, now = _code(params), params.get("DesiredValue"), self._clock()
        if not isinstance(wanted, (int, float)) or isinstance(wanted, bool) or wanted <= self.limit(code):
            raise Refusal(
                "IllegalArgumentException", "You must provide a quota value greater than the current quota value."
            )
        if any(one.code == code and one.status(now) in OPEN for one in self._requests):
            raise Refusal(
                "ResourceAlreadyExistsException", "Only one open service quota increase request is allowed per quota."
            )
        request = Request(uuid.uuid4().hex, code, float(wanted), now)
        self._requests.append(request)
        return {"RequestedQuota": self._described(request)}

    def get_requested(self, params: dict[str, Any]) -> dict[str, Any]:
        found = [one for one in self._requests if one.id == params.get("RequestId")]
        if not found:
            raise Refusal("NoSuchResourceException", "The request failed because the specified resource was not found.")
        return {"RequestedQuota": self._described(found[0])}

    def history(self, params: dict[str, Any]) -> dict[str, Any]:
        if params.get("ServiceCode") not in (None, "ec2"):
            _service(params)
        code, status = params.get("QuotaCode"), params.get("Status")
        described = [self._described(one) for one in reversed(self._requests) if code in (None, one.code)]
        page, token = _page([one for one in described if status in (None, one["Status"])], params)
        return {"RequestedQuotas": page, **token}

    def _described(self, request: Request) -> dict[str, Any]:
        now, status = self._clock(), request.status(self._clock())
        moments = {"PENDING": 0.0, "CASE_OPENED": OPENED_AFTER}
        case = {"CaseId": str(zlib.crc32(request.id.encode()))} if status != "PENDING" else {}
        return {
            **_identity(request.code),
            "Id": request.id,
            "DesiredValue": request.vcpus,
            "Status": status,
            "Created": request.asked,
            "LastUpdated": min(now, request.asked + moments.get(status, DECIDED_AFTER)),
            "Requester": json.dumps({"accountId": ACCOUNT, "callerArn": f"arn:aws:iam::{ACCOUNT}:user/sandbox"}),
            "QuotaRequestedAtLevel": "ACCOUNT",
            **case,
        }


_ACTIONS: dict[str, Callable[[Market, dict[str, Any]], dict[str, Any]]] = {
    "GetProducts": Market.get_products,
    "GetServiceQuota": Market.get_service_quota,
    "GetAWSDefaultServiceQuota": Market.get_default,
    "ListServiceQuotas": Market.list_service_quotas,
    "RequestServiceQuotaIncrease": Market.request_increase,
    "GetRequestedServiceQuotaChange": Market.get_requested,
    "ListRequestedServiceQuotaChangeHistory": Market.history,
    "ListRequestedServiceQuotaChangeHistoryByQuota": Market.history,
}


def _of_size(instance_type: str) -> float:
    """Half a dollar for each time that the type is an `xlarge`."""
    size = instance_type.partition(".")[2]
    times = re.match(r"(\d*)xlarge", size)
    return 0.5 * (int(times[1] or 1) if times else 32 if "metal" in size else 0.5)


def _parse(body: bytes) -> dict[str, Any]:
    try:
        params = json.loads(body or b"{}")
    except ValueError as error:
        raise Refusal("SerializationException", "The request is not JSON") from error
    if not isinstance(params, dict):
        raise Refusal("SerializationException", "The request is not a JSON object")
    return params


def _page(found: list[Any], params: dict[str, Any]) -> tuple[list[Any], dict[str, str]]:
    """At most 100 at once, as AWS has it; the token of the next page is where it begins."""
    try:
        start, size = int(params.get("NextToken") or 0), int(params.get("MaxResults") or 100)
    except (TypeError, ValueError) as error:
        raise Refusal("InvalidNextTokenException", "The pagination token is invalid.") from error
    end = start + min(max(size, 1), 100)
    return found[start:end], ({"NextToken": str(end)} if end < len(found) else {})


def _filter(one: Any) -> tuple[str, str]:
    try:
        kind, name, value = one["Type"], str(one["Field"]), str(one["Value"])
    except (TypeError, KeyError) as error:
        raise Refusal("InvalidParameterException", "Input Parameters are invalid. A filter is incomplete.") from error
    if kind not in ("TERM_MATCH", "EQUALS"):
        raise Refusal("InvalidParameterException", f"Input Parameters are invalid. The sandbox has no filter {kind}.")
    return name, value


def _matches(product: dict[str, Any], name: str, value: str) -> bool:
    about = product["product"]
    return bool({"productFamily": about["productFamily"], **about["attributes"]}.get(name) == value)


def _service(params: dict[str, Any]) -> None:
    if params.get("ServiceCode") != "ec2":
        raise Refusal("NoSuchResourceException", "The request failed because the specified service does not exist.")


def _code(params: dict[str, Any]) -> str:
    _service(params)
    code = str(params.get("QuotaCode"))
    if code not in QUOTAS:
        raise Refusal(
            "NoSuchResourceException", f"The request failed because the specified quota {code} does not exist."
        )
    return code


def _identity(code: str) -> dict[str, Any]:
    return {
        "ServiceCode": "ec2",
        "ServiceName": SERVICE,
        "QuotaArn": f"arn:aws:servicequotas:{REGION}:{ACCOUNT}:ec2/{code}",
        "QuotaCode": code,
        "QuotaName": QUOTAS[code][0],
        "Unit": "None",
        "GlobalQuota": False,
    }


def _quota(code: str, vcpus: float) -> dict[str, Any]:
    return {**_identity(code), "Value": vcpus, "Adjustable": True, "QuotaAppliedAtLevel": "ACCOUNT"}
