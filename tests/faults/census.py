"""Everything that there is in a region: counted where it carries our tags, listed to the letter where it does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

DEAD = ("shutting-down", "terminated")
LIVING = ("open", "active", "disabled")


@dataclass(frozen=True)
class Census:
    ours: Mapping[str, int]
    """How many of each sort carry our tags; a sort without any is not in it."""
    others: Mapping[str, frozenset[str]]
    """What is not ours, with what might be done to it: phases, rules, attachments."""


def _instances(ec2: Any) -> list[dict[str, Any]]:
    found = [i for r in ec2.describe_instances()["Reservations"] for i in r["Instances"]]
    return [i for i in found if i["State"]["Name"] not in DEAD]


def _spot_requests(ec2: Any) -> list[dict[str, Any]]:
    found = ec2.describe_spot_instance_requests()["SpotInstanceRequests"]
    return [request for request in found if request["State"] in LIVING]


SORTS: Mapping[str, tuple[Callable[[Any], list[dict[str, Any]]], tuple[str, ...]]] = {
    "machine": (_instances, ("InstanceId", "State", "InstanceType", "PublicIpAddress")),
    "spot request": (_spot_requests, ("SpotInstanceRequestId",)),
    "volume": (lambda ec2: ec2.describe_volumes()["Volumes"], ("VolumeId", "State")),
    "card": (lambda ec2: ec2.describe_network_interfaces()["NetworkInterfaces"], ("NetworkInterfaceId", "Status")),
    "address": (lambda ec2: ec2.describe_addresses()["Addresses"], ("AllocationId", "InstanceId")),
    "image": (lambda ec2: ec2.describe_images(Owners=["self"])["Images"], ("ImageId",)),
    "snapshot": (lambda ec2: ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"], ("SnapshotId",)),
    "key": (lambda ec2: ec2.describe_key_pairs()["KeyPairs"], ("KeyPairId", "KeyFingerprint")),
    "group": (lambda ec2: ec2.describe_security_groups()["SecurityGroups"], ("GroupId", "IpPermissions")),
    "table": (lambda ec2: ec2.describe_route_tables()["RouteTables"], ("RouteTableId", "Routes")),
    "subnet": (lambda ec2: ec2.describe_subnets()["Subnets"], ("SubnetId",)),
    "gateway": (lambda ec2: ec2.describe_internet_gateways()["InternetGateways"], ("InternetGatewayId", "Attachments")),
    "vpc": (lambda ec2: ec2.describe_vpcs()["Vpcs"], ("VpcId",)),
}
"""How each sort is listed, and what of it is compared."""

NETWORK = dict.fromkeys(("vpc", "subnet", "gateway", "table", "group", "key"), 1)
MACHINE = {**NETWORK, "machine": 1, "volume": 1, "card": 1, "address": 1}
"""What one machine on demand takes, and nothing else."""
SPOT = {**MACHINE, "spot request": 1}


def take(ec2: Any) -> Census:
    ours, others = {}, {}
    networks: set[str] = set()
    for sort, (listing, told) in reversed(SORTS.items()):
        mine, rest = [], set()
        for one in listing(ec2):
            if any(tag["Key"] == "gpu:profile" for tag in one.get("Tags", one.get("TagSet", []))):
                mine.append(one)
            elif one.get("VpcId") not in networks or not _comes_with_a_network(sort, one):
                rest.add(repr([one.get(key) for key in told]))
        if sort == "vpc":
            networks = {one["VpcId"] for one in mine}
        ours.update({sort: len(mine)} if mine else {})
        others[sort] = frozenset(rest)
    return Census(ours, others)


def _comes_with_a_network(sort: str, one: dict[str, Any]) -> bool:
    """EC2 makes them with each VPC, removes them with it, and gives them no tags."""
    if sort == "table":
        return any(link.get("Main") for link in one["Associations"])
    return sort == "group" and one["GroupName"] == "default"
