"""What is to be said of each sort of thing in an account: what it is, what it costs, how it goes away."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ... import prices
from . import own
from .inventory import BUILDER


@dataclass(frozen=True)
class Sight:
    """What is said of one thing; `remove` are the words after `aws ec2`, none for what goes with another thing."""

    about: str
    per_month: float | None = 0.0
    remove: tuple[tuple[str, ...], ...] = ()
    orphaned: bool = False
    """Nothing uses it: it was left behind."""


@dataclass(frozen=True)
class Found:
    """All of one owner's things in one region, in EC2's words, by their sort."""

    region: str
    things: Mapping[str, list[Mapping[str, Any]]]

    def machines(self, profile: str) -> list[str]:
        """The profile's instances that are not on their way out."""
        return [m["InstanceId"] for m in self.things.get("instance", []) if tag(m, "gpu:profile") == profile]

    def lonely(self, thing: Mapping[str, Any]) -> bool:
        """Its profile has no machine here."""
        return not self.machines(tag(thing, "gpu:profile"))

    def goes_with_its_machine(self, volume: str) -> bool:
        """EC2 removes it when it terminates the machine that has it."""
        disks = [disk["Ebs"] for m in self.things.get("instance", []) for disk in m.get("BlockDeviceMappings", [])]
        return any(disk.get("VolumeId") == volume and disk.get("DeleteOnTermination") for disk in disks)

    def imaged(self, snapshot: str) -> bool:
        """An image of ours is made of it."""
        disks = [disk for image in self.things.get("image", []) for disk in image.get("BlockDeviceMappings", [])]
        return any(disk.get("Ebs", {}).get("SnapshotId") == snapshot for disk in disks)


@dataclass(frozen=True)
class Look:
    """How one sort of things is asked for: the ids' beginning, the method, where its answer has them, and their id."""

    resource: str
    prefix: str
    method: str
    answer: str
    id: str
    see: Callable[[Found, Mapping[str, Any]], Sight]


def tag(thing: Mapping[str, Any], key: str) -> str:
    # A network interface has them under another name than everything else.
    pairs = thing.get("Tags") or thing.get("TagSet") or []
    return next((str(pair["Value"]) for pair in pairs if pair["Key"] == key), "")


def state(thing: Mapping[str, Any]) -> str:
    state = thing.get("State")
    return str(state["Name"]) if isinstance(state, dict) else str(state or "")


def _spot_request(found: Found, thing: Mapping[str, Any]) -> Sight:
    request, machine = str(thing["SpotInstanceRequestId"]), thing.get("InstanceId")
    about = f"{thing['State']}, for {machine}" if machine else f"{thing['State']}: EC2 may start a machine for it"
    lonely = machine not in found.machines(tag(thing, "gpu:profile"))
    return Sight(about, 0.0, (("cancel-spot-instance-requests", "--spot-instance-request-ids", request),), lonely)


def _instance(found: Found, thing: Mapping[str, Any]) -> Sight:
    machine, kind, spot = str(thing["InstanceId"]), str(thing["InstanceType"]), "SpotInstanceRequestId" in thing
    phase = state(thing)
    told = prices.price(kind, region=found.region, disk_gb=0, spot=spot)
    # The spot price of the day may not be at hand; it is hardly ever above the price on demand.
    price = told or prices.price(kind, region=found.region, disk_gb=0)
    hourly = price.per_hour * prices.HOURS_A_MONTH if price else None
    free = phase == "stopped"
    unprotect = (("modify-instance-attribute", "--instance-id", machine, "--no-disable-api-termination"),)
    end = (
        ("terminate-instances", "--instance-ids", machine),
        ("wait", "instance-terminated", "--instance-ids", machine),
    )
    bakes = tag(thing, "gpu:role") == BUILDER
    about = f"{'spot ' if spot else ''}{kind}, {phase} since {thing['LaunchTime']:%Y-%m-%d}"
    about += ", made to bake an image" if bakes else ""
    about += ", shown at the price on demand" if price and not told else ""
    # No bake leaves its machine stopped: one that does stopped itself, forgotten.
    return Sight(about, 0.0 if free else hourly, end if spot or bakes else (*unprotect, *end), bakes and free)


def _volume(found: Found, thing: Mapping[str, Any]) -> Sight:
    size, kind, used = int(thing["Size"]), str(thing["VolumeType"]), list(thing.get("Attachments", []))
    per_month = size * prices.storage(found.region).disk_gb_month if kind == "gp3" else None
    about = f"{size} GB {kind}"
    if used:
        goes = found.goes_with_its_machine(str(thing["VolumeId"])) or bool(used[0].get("DeleteOnTermination"))
        about += f", the disk of {used[0]['InstanceId']}" + (" and removed with it" if goes else "")
        if goes:
            return Sight(about, per_month)
    return Sight(about, per_month, (("delete-volume", "--volume-id", str(thing["VolumeId"])),), not used)


def _image(found: Found, thing: Mapping[str, Any]) -> Sight:
    del found
    about = f"{thing.get('Name', '')} of {str(thing.get('CreationDate', ''))[:10]}; its snapshots are what costs"
    if own.is_own(thing):
        about += ", and go with it by: gpu ami prune"
    words = ("deregister-image", "--image-id", str(thing["ImageId"]))
    # Only the move of a spot machine to another type makes images that name a machine, and removes them again.
    return Sight(about, 0.0, (words,), bool(tag(thing, "gpu:replaces")))


def _snapshot(found: Found, thing: Mapping[str, Any]) -> Sight:
    size, name = int(thing["VolumeSize"]), str(thing["SnapshotId"])
    about = f"of a disk of {size} GB, at most at this price"
    words = ("delete-snapshot", "--snapshot-id", name)
    return Sight(about, size * prices.SNAPSHOT_GB_MONTH, (words,), not found.imaged(name))


def _address(found: Found, thing: Mapping[str, Any]) -> Sight:
    used = thing.get("InstanceId") or thing.get("AssociationId")
    about = f"{thing['PublicIp']}, of {used}" if used else f"{thing['PublicIp']}, of no machine"
    per_month = prices.storage(found.region).address_hour * prices.HOURS_A_MONTH
    return Sight(about, per_month, (("release-address", "--allocation-id", str(thing["AllocationId"])),), not used)


def _interface(found: Found, thing: Mapping[str, Any]) -> Sight:
    del found
    used = thing.get("Attachment", {}).get("InstanceId")
    if used:
        return Sight(f"the network interface of {used}, removed with it")
    words = ("delete-network-interface", "--network-interface-id", str(thing["NetworkInterfaceId"]))
    return Sight("a network interface of no machine", 0.0, (words,), True)


def _key_pair(found: Found, thing: Mapping[str, Any]) -> Sight:
    name = str(thing["KeyName"])
    return Sight(name, 0.0, (("delete-key-pair", "--key-name", name),), found.lonely(thing))


def _group(found: Found, thing: Mapping[str, Any]) -> Sight:
    words = ("delete-security-group", "--group-id", str(thing["GroupId"]))
    return Sight(f"{thing['GroupName']} in {thing['VpcId']}", 0.0, (words,), found.lonely(thing))


def _table(found: Found, thing: Mapping[str, Any]) -> Sight:
    links = [str(link["RouteTableAssociationId"]) for link in thing["Associations"] if link.get("SubnetId")]
    unlink = tuple(("disassociate-route-table", "--association-id", link) for link in links)
    words = ("delete-route-table", "--route-table-id", str(thing["RouteTableId"]))
    return Sight(f"in {thing['VpcId']}", 0.0, (*unlink, words), found.lonely(thing))


def _subnet(found: Found, thing: Mapping[str, Any]) -> Sight:
    words = ("delete-subnet", "--subnet-id", str(thing["SubnetId"]))
    return Sight(f"{thing['CidrBlock']} in {thing['AvailabilityZone']}", 0.0, (words,), found.lonely(thing))


def _gateway(found: Found, thing: Mapping[str, Any]) -> Sight:
    name, vpcs = str(thing["InternetGatewayId"]), [str(one["VpcId"]) for one in thing.get("Attachments", [])]
    own = ("--internet-gateway-id", name)
    detach = tuple(("detach-internet-gateway", *own, "--vpc-id", vpc) for vpc in vpcs)
    about = f"attached to {', '.join(vpcs) or 'nothing'}"
    return Sight(about, 0.0, (*detach, ("delete-internet-gateway", *own)), found.lonely(thing))


def _vpc(found: Found, thing: Mapping[str, Any]) -> Sight:
    words = ("delete-vpc", "--vpc-id", str(thing["VpcId"]))
    return Sight(f"the network {thing['CidrBlock']}", 0.0, (words,), found.lonely(thing))


LOOKS = (
    Look(
        "spot-request",
        "sir",
        "describe_spot_instance_requests",
        "SpotInstanceRequests",
        "SpotInstanceRequestId",
        _spot_request,
    ),
    Look("instance", "i", "describe_instances", "Reservations", "InstanceId", _instance),
    Look("volume", "vol", "describe_volumes", "Volumes", "VolumeId", _volume),
    Look("image", "ami", "describe_images", "Images", "ImageId", _image),
    Look("snapshot", "snap", "describe_snapshots", "Snapshots", "SnapshotId", _snapshot),
    Look("elastic-ip", "eipalloc", "describe_addresses", "Addresses", "AllocationId", _address),
    Look(
        "network-interface", "eni", "describe_network_interfaces", "NetworkInterfaces", "NetworkInterfaceId", _interface
    ),
    Look("key-pair", "key", "describe_key_pairs", "KeyPairs", "KeyPairId", _key_pair),
    Look("security-group", "sg", "describe_security_groups", "SecurityGroups", "GroupId", _group),
    Look("route-table", "rtb", "describe_route_tables", "RouteTables", "RouteTableId", _table),
    Look("subnet", "subnet", "describe_subnets", "Subnets", "SubnetId", _subnet),
    Look("internet-gateway", "igw", "describe_internet_gateways", "InternetGateways", "InternetGatewayId", _gateway),
    Look("vpc", "vpc", "describe_vpcs", "Vpcs", "VpcId", _vpc),
)
"""In the order of removal: what depends on another thing before it."""
