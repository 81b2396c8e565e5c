"""How a change reaches EC2. Two ways: sent (`Live`), or only written down as a command (`scribe.Scribe`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import jmespath
from botocore import xform_name

from .session import Already, Session, in_words

MADE: Mapping[str, str] = {
    "CreateVpc": "Vpc.VpcId",
    "CreateInternetGateway": "InternetGateway.InternetGatewayId",
    "CreateSubnet": "Subnet.SubnetId",
    "CreateRouteTable": "RouteTable.RouteTableId",
    "CreateSecurityGroup": "GroupId",
    "AllocateAddress": "AllocationId",
    "RunInstances": "Instances[0].InstanceId",
    "CreateImage": "ImageId",
    "CopyImage": "ImageId",
}
"""Where each creating call's answer has the id of what it made (JMESPath, as `aws --query` takes it)."""

AT_ONCE = frozenset({"StartInstances"})
"""Changes whose refusal is told at once: EC2 says "no capacity" with a status that a patient client would sit out."""


class Api(Protocol):
    def make(self, operation: str, **params: Any) -> str:
        """Create something and return its id. A call without an answer is not sent again: it may have been done."""

    def change(self, operation: str, **params: Any) -> None:
        """Change or delete something; what is so already is no error."""


class Live:
    """Sends it."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def make(self, operation: str, **params: Any) -> str:
        return str(jmespath.search(MADE[operation], self._send(operation, params, patient=False)))

    def change(self, operation: str, **params: Any) -> None:
        try:
            self._send(operation, params, patient=operation not in AT_ONCE)
        except Already:
            return

    @in_words
    def _send(self, operation: str, params: dict[str, Any], *, patient: bool) -> dict[str, Any]:
        client: Any = self._session.ec2 if patient else self._session.ec2_once
        answer: dict[str, Any] = getattr(client, xform_name(operation))(**params)
        return answer
