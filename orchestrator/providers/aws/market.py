"""What the region offers to this account: types, prices, quotas."""

from __future__ import annotations

from collections.abc import Sequence

from ...settings import Home
from ..base import Need, Offer, Quota, QuotaRequest
from .ec2 import Ec2
from .session import Session


class AwsMarket:
    def __init__(self, session: Session, ec2: Ec2, home: Home) -> None:
        self._session, self._ec2, self._home = session, ec2, home

    def offers(self, *, gpu_only: bool = True) -> Sequence[Offer]:
        raise NotImplementedError

    def quotas(self) -> Sequence[Quota]:
        raise NotImplementedError

    def need(self, machine_type: str, *, spot: bool) -> Need:
        raise NotImplementedError

    def request(self, code: str, vcpus: float) -> QuotaRequest:
        raise NotImplementedError

    def requests(self) -> Sequence[QuotaRequest]:
        raise NotImplementedError
