"""What has just been made and is not known everywhere yet: EC2 is eventually consistent.

https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html
"""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ElementTree

from .wsgi import Call, Refusal, Reply

BIRTHS = {
    "CreateVpc": ("vpcId",),
    "CreateSubnet": ("subnetId",),
    "CreateInternetGateway": ("internetGatewayId",),
    "CreateRouteTable": ("routeTableId",),
    "CreateSecurityGroup": ("groupId",),
    "CreateKeyPair": ("keyName",),
    "ImportKeyPair": ("keyName",),
    "AllocateAddress": ("allocationId",),
    "CreateVolume": ("volumeId",),
    "CreateSnapshot": ("snapshotId",),
    "CreateImage": ("imageId",),
    "CopyImage": ("imageId",),
    "RunInstances": ("instanceId", "spotInstanceRequestId"),
}
"""What each call makes, by the name of its id in the answer."""

CODES = {
    "vpcId": "InvalidVpcID.NotFound",
    "subnetId": "InvalidSubnetID.NotFound",
    "internetGatewayId": "InvalidInternetGatewayID.NotFound",
    "routeTableId": "InvalidRouteTableID.NotFound",
    "groupId": "InvalidGroup.NotFound",
    "keyName": "InvalidKeyPair.NotFound",
    "allocationId": "InvalidAllocationID.NotFound",
    "volumeId": "InvalidVolume.NotFound",
    "snapshotId": "InvalidSnapshot.NotFound",
    "imageId": "InvalidAMIID.NotFound",
    "instanceId": "InvalidInstanceID.NotFound",
    "spotInstanceRequestId": "InvalidSpotInstanceRequestID.NotFound",
}

LISTS = {
    "DescribeVpcs": "vpcId",
    "DescribeSubnets": "subnetId",
    "DescribeInternetGateways": "internetGatewayId",
    "DescribeRouteTables": "routeTableId",
    "DescribeSecurityGroups": "groupId",
    "DescribeSecurityGroupRules": "groupId",
    "DescribeKeyPairs": "keyName",
    "DescribeAddresses": "allocationId",
    "DescribeVolumes": "volumeId",
    "DescribeSnapshots": "snapshotId",
    "DescribeImages": "imageId",
    "DescribeInstances": "instanceId",
    "DescribeInstanceStatus": "instanceId",
    "DescribeSpotInstanceRequests": "spotInstanceRequestId",
    "DescribeTags": "resourceId",
}
"""What the items of each list are known by."""

NO_NAMES = ("Filter", "Tag")
"""Parts of a form that name nothing."""


class Newborn:
    """Ids that calls do not know yet, each until its time."""

    def __init__(self) -> None:
        self._until: dict[str, tuple[str, float]] = {}

    def is_birth(self, call: Call) -> bool:
        return call.service == "ec2" and call.action in BIRTHS

    def remember(self, call: Call, reply: Reply, seconds: float) -> None:
        for tag in BIRTHS[call.action]:
            for found in re.findall(rb"<%s>([^<]+)</%s>" % (tag.encode(), tag.encode()), reply.body):
                self._until.setdefault(found.decode(), (tag, time.monotonic() + seconds))

    def refuse_unknown(self, call: Call) -> None:
        """A call that names one of them is told that it does not exist."""
        hidden = self._hidden() if call.action not in ("CreateKeyPair", "ImportKeyPair") else {}
        for key, value in call.params.items() if hidden else ():
            if value in hidden and _is_named(key, hidden[value]) and not key.startswith(NO_NAMES):
                raise Refusal(CODES[hidden[value]], f"The ID '{value}' does not exist")

    def without(self, call: Call, reply: Reply) -> Reply:
        """The list as somebody sees it who has not heard of them."""
        hidden = self._hidden()
        if not hidden or call.action not in LISTS:
            return reply
        root = ElementTree.fromstring(reply.body)
        space = root.tag.partition("}")[0] + "}"
        tag = f"{space}{LISTS[call.action]}"
        for parent in list(root.iter()):
            for item in parent.findall(f"{space}item"):
                if (known := item.find(tag)) is not None and known.text in hidden:
                    parent.remove(item)
        for reservations in root.findall(f"{space}reservationSet"):
            for item in reservations.findall(f"{space}item"):
                if not item.findall(f"{space}instancesSet/{space}item"):
                    reservations.remove(item)
        ElementTree.register_namespace("", space[1:-1])
        return reply.replaced(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))

    def _hidden(self) -> dict[str, str]:
        now = time.monotonic()
        # One set of items at once: other threads add to it.
        return {known: tag for known, (tag, until) in list(self._until.items()) if now < until}


def _is_named(key: str, tag: str) -> bool:
    # A key pair is known by a name that other things may have too; all others by an id.
    return tag != "keyName" or key.startswith("KeyName")
