"""How many vCPUs the account may run at once, how many it does, and asking for more.

A quota counts vCPUs of a group of families, on demand and spot apart, per region, whoever in the account uses them:
https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timezone
from typing import TYPE_CHECKING

from ...errors import GpuError, NotOffered
from ..base import Need, Quota, QuotaRequest
from .session import AwsError, Denied, Session, in_words

if TYPE_CHECKING:
    from mypy_boto3_service_quotas.type_defs import RequestedServiceQuotaChangeTypeDef

SERVICE = "ec2"
OPEN = ("PENDING", "CASE_OPENED")


@dataclass(frozen=True)
class Family:
    """One of EC2's vCPU quotas."""

    code: str
    name: str
    letters: frozenset[str]
    """How its types' names begin, up to the first digit."""
    spot: bool


_STANDARD = frozenset({"a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"})
_G, _P = frozenset({"g", "gr", "vt"}), frozenset({"p"})

FAMILIES = (
    Family("L-417A185B", "P, on demand", _P, False),
    Family("L-DB2E81BA", "G and VT, on demand", _G, False),
    Family("L-1216C47A", "standard, on demand", _STANDARD, False),
    Family("L-7212CCBC", "P, spot", _P, True),
    Family("L-3819A6DF", "G and VT, spot", _G, True),
    Family("L-34B43A08", "standard, spot", _STANDARD, True),
)


def family(machine_type: str, *, spot: bool) -> Family | None:
    """None for what counts against another quota: X, Inf, Trn, u-, ..."""
    letters = re.split(r"[\d-]", machine_type.partition(".")[0], maxsplit=1)[0]
    return next((one for one in FAMILIES if one.spot == spot and letters in one.letters), None)


class Quotas:
    def __init__(self, session: Session) -> None:
        self._session = session

    def all(self) -> tuple[Quota, ...]:
        """Limits, with what is in use; `used` is None where these credentials may not look at the instances."""
        used = self._used()
        return tuple(
            Quota(one.code, one.name, self._limit(one.code), None if used is None else used[one.code])
            for one in FAMILIES
        )

    def allows(self, machine_type: str, vcpus: int, *, spot: bool) -> bool:
        """Whether one machine of the type could run at all; True where these credentials may not ask."""
        one = family(machine_type, spot=spot)
        try:
            return one is None or vcpus <= self._limit(one.code)
        except AwsError:
            return True

    def need(self, machine_type: str, *, spot: bool) -> Need:
        """NotOffered where the region does not have the type."""
        one = family(machine_type, spot=spot)
        if one is None:
            raise GpuError(
                f"gpu does not know which quota {machine_type} counts against",
                "See the Service Quotas console: EC2",
            )
        if not self._offered(machine_type):
            raise NotOffered(f"the region {self._session.region} does not offer {machine_type}", "See: gpu types")
        return Need(machine_type, one.code, self._vcpus([machine_type])[machine_type])

    def request(self, code: str, vcpus: float) -> QuotaRequest:
        """What is open already is returned instead of asked again, also when somebody else was quicker."""
        waiting = self._open(code)
        if waiting:
            return waiting
        try:
            return self._file(code, vcpus)
        except AwsError as error:
            waiting = self._open(code) if error.code == "ResourceAlreadyExistsException" else None
            if waiting is None:
                raise
            return waiting

    def requests(self) -> Sequence[QuotaRequest]:
        """Newest first."""
        mine = {one.code for one in FAMILIES}
        return _newest_first(one for one in self._history() if one.code in mine)

    # --- asking Service Quotas

    def _limit(self, code: str) -> float:
        try:
            return self._applied(code)
        except AwsError as error:
            # Of a quota that was never changed some regions know the default alone.
            if error.code != "NoSuchResourceException":
                raise
            return self._default(code)

    @in_words
    def _applied(self, code: str) -> float:
        return self._session.quotas.get_service_quota(ServiceCode=SERVICE, QuotaCode=code)["Quota"]["Value"]

    @in_words
    def _default(self, code: str) -> float:
        return self._session.quotas.get_aws_default_service_quota(ServiceCode=SERVICE, QuotaCode=code)["Quota"]["Value"]

    def _open(self, code: str) -> QuotaRequest | None:
        return next((one for one in _newest_first(self._history_of(code)) if one.status in OPEN), None)

    @in_words
    def _file(self, code: str, vcpus: float) -> QuotaRequest:
        made = self._session.quotas.request_service_quota_increase(
            ServiceCode=SERVICE, QuotaCode=code, DesiredValue=vcpus
        )
        return _read(made["RequestedQuota"])

    @in_words
    def _history(self) -> list[QuotaRequest]:
        pages = self._session.quotas.get_paginator("list_requested_service_quota_change_history").paginate(
            ServiceCode=SERVICE
        )
        return [_read(one) for page in pages for one in page["RequestedQuotas"]]

    @in_words
    def _history_of(self, code: str) -> list[QuotaRequest]:
        pages = self._session.quotas.get_paginator("list_requested_service_quota_change_history_by_quota").paginate(
            ServiceCode=SERVICE, QuotaCode=code
        )
        return [_read(one) for page in pages for one in page["RequestedQuotas"]]

    # --- asking EC2

    def _used(self) -> Mapping[str, float] | None:
        try:
            running = self._running()
            vcpus = self._vcpus(sorted({machine_type for machine_type, _ in running}))
        except Denied:
            return None
        used = dict.fromkeys((one.code for one in FAMILIES), 0.0)
        for machine_type, spot in running:
            if one := family(machine_type, spot=spot):
                used[one.code] += vcpus[machine_type]
        return used

    @in_words
    def _running(self) -> list[tuple[str, bool]]:
        """Type, and whether it is spot, of every instance of the account in the region that counts."""
        pages = self._session.ec2.get_paginator("describe_instances").paginate(
            Filters=[{"Name": "instance-state-name", "Values": ["pending", "running"]}]
        )
        return [
            (str(instance["InstanceType"]), instance.get("InstanceLifecycle") == "spot")
            for page in pages
            for reservation in page["Reservations"]
            for instance in reservation["Instances"]
        ]

    @in_words
    def _vcpus(self, types: Sequence[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for start in range(0, len(types), 100):
            told = self._session.ec2.describe_instance_types(
                InstanceTypes=list(types[start : start + 100])  # type: ignore[arg-type]
            )
            found.update({str(one["InstanceType"]): one["VCpuInfo"]["DefaultVCpus"] for one in told["InstanceTypes"]})
        return found

    @in_words
    def _offered(self, machine_type: str) -> bool:
        found = self._session.ec2.describe_instance_type_offerings(
            Filters=[{"Name": "instance-type", "Values": [machine_type]}]
        )
        return bool(found["InstanceTypeOfferings"])


def _read(told: RequestedServiceQuotaChangeTypeDef) -> QuotaRequest:
    asked = told.get("Created")
    return QuotaRequest(
        id=told["Id"],
        code=told["QuotaCode"],
        vcpus=told["DesiredValue"],
        status=told["Status"],
        asked=asked.astimezone(timezone.utc) if asked else None,
    )


def _newest_first(found: Iterator[QuotaRequest] | Sequence[QuotaRequest]) -> list[QuotaRequest]:
    return sorted(found, key=lambda one: (one.asked.timestamp() if one.asked else 0.0, one.id), reverse=True)
