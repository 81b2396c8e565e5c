"""What EC2 says of a region, as our own data: callers never see its responses. Changes are in `changes.py`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ..base import MachineImage
from . import own
from .changes import RULE
from .inventory import (
    Build,
    ElasticIp,
    Gateway,
    Group,
    Hardware,
    Inventory,
    Loose,
    Machine,
    Rule,
    Snapshot,
    SpotRequest,
    Subnet,
    Table,
    Tags,
    Vpc,
)
from .session import Session, in_words

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import FilterTypeDef


@dataclass(frozen=True)
class Image:
    id: str
    root_device: str
    created: str
    name: str = ""


class Ec2:
    """One region, seen through the tags of one profile and owner."""

    def __init__(self, session: Session, tags: Tags) -> None:
        self._ec2 = session.ec2
        self._region = session.region
        self._tags = tags

    # --- looking

    @in_words
    def inventory(self) -> Inventory:
        """All that carries our tags. A dozen questions, asked at once: each takes EC2 a tenth of a second or two."""
        questions = {
            "vpcs": self._vpcs,
            "gateways": self._gateways,
            "subnets": self._subnets,
            "tables": self._tables,
            "groups": self._groups,
            "keys": self._keys,
            "machines": self.machines,
            "addresses": self.addresses,
            "spot_requests": self._spot_requests,
            "images": self._images,
            "snapshots": self._snapshots,
        }
        with ThreadPoolExecutor(max_workers=len(questions)) as pool:
            asked = {name: pool.submit(question) for name, question in questions.items()}
            answers: dict[str, Any] = {name: answer.result() for name, answer in asked.items()}
        told = _imaged(answers.pop("images"), answers.pop("snapshots"), self._region)
        return Inventory(**answers, **told)

    @in_words
    def shelf(self) -> Inventory:
        """The owner's images for machines to begin with, and the machines, of whatever profile: of any of them an image
        may be in use. What another profile is just making is left out, and so are the snapshots without an image that
        may be a part of it."""
        # In this order: a snapshot whose image comes into being meanwhile is under none otherwise.
        snapshots = self._snapshots()
        images = self._ec2.describe_images(Owners=["self"], Filters=self._owned())["Images"]
        told = _imaged(images, snapshots, self._region)
        told["baked"] = tuple(
            one for one in told["baked"] if one.state != "pending" or one.profile == self._tags.profile
        )
        return Inventory(machines=self._machines(self._owned()), **told)

    @in_words
    def machines(self, kind: str | None = None) -> tuple[Machine, ...]:
        return self._machines(self._mine(kind))

    def _machines(self, filters: list[FilterTypeDef]) -> tuple[Machine, ...]:
        pages = self._ec2.get_paginator("describe_instances").paginate(Filters=filters)
        found = [i for page in pages for reservation in page["Reservations"] for i in reservation["Instances"]]
        return tuple(_machine(i) for i in sorted(found, key=lambda i: i["InstanceId"]))

    @in_words
    def addresses(self, kind: str | None = None) -> tuple[ElasticIp, ...]:
        found = self._ec2.describe_addresses(Filters=self._mine(kind))["Addresses"]
        return tuple(
            ElasticIp(
                id=a["AllocationId"],
                ip=a["PublicIp"],
                kind=_tag(a.get("Tags", []), "gpu:kind"),
                association=a.get("AssociationId") or None,
                machine=a.get("InstanceId") or None,
            )
            for a in sorted(found, key=lambda a: a["AllocationId"])
        )

    @in_words
    def phase(self, machine: str) -> str:
        found = self._ec2.describe_instances(InstanceIds=[machine])["Reservations"]
        return found[0]["Instances"][0]["State"]["Name"] if found else "pending"

    @in_words
    def hardware(self, instance_type: str) -> Hardware | None:
        """None where the region does not know the type."""
        wanted: list[FilterTypeDef] = [{"Name": "instance-type", "Values": [instance_type]}]
        found = self._ec2.describe_instance_types(Filters=wanted)["InstanceTypes"]
        if not found:
            return None
        about = found[0]
        return Hardware(
            instance_type,
            architectures=frozenset(about.get("ProcessorInfo", {}).get("SupportedArchitectures", [])),
            virtualizations=frozenset(about.get("SupportedVirtualizationTypes", [])),
            boot_modes=frozenset(about.get("SupportedBootModes", [])),
            needs_ena=about.get("NetworkInfo", {}).get("EnaSupport") == "required",
            vcpus=about.get("VCpuInfo", {}).get("DefaultVCpus", 0),
        )

    @in_words
    def image_state(self, image: str) -> str:
        found = self._ec2.describe_images(ImageIds=[image])["Images"]
        return str(found[0].get("State", "pending")) if found else "pending"

    @in_words
    def image_snapshots(self, image: str) -> tuple[str, ...]:
        found = self._ec2.describe_images(ImageIds=[image])["Images"]
        return _snapshot(found[0]).snapshots if found else ()

    @in_words
    def protected(self, machine: str) -> bool:
        """Whether EC2 refuses to terminate it."""
        about = self._ec2.describe_instance_attribute(InstanceId=machine, Attribute="disableApiTermination")
        return bool(about.get("DisableApiTermination", {}).get("Value"))

    @in_words
    def zones(self, instance_type: str) -> tuple[str, ...]:
        """The region's zones that offer the type, in order; none where the region does not have it."""
        pages = self._ec2.get_paginator("describe_instance_type_offerings").paginate(
            LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": [instance_type]}]
        )
        return tuple(sorted(o["Location"] for page in pages for o in page["InstanceTypeOfferings"]))

    @in_words
    def offered(self, zone: str) -> frozenset[str]:
        """Every instance type that the zone offers."""
        pages = self._ec2.get_paginator("describe_instance_type_offerings").paginate(
            LocationType="availability-zone", Filters=[{"Name": "location", "Values": [zone]}]
        )
        return frozenset(str(o["InstanceType"]) for page in pages for o in page["InstanceTypeOfferings"])

    @in_words
    def image(self, image: str) -> Image | None:
        found = self._ec2.describe_images(ImageIds=[image])["Images"]
        return _image(found[0]) if found else None

    @in_words
    def own_images(self) -> tuple[MachineImage, ...]:
        """The owner's, of whatever profile, newest first."""
        found = self._ec2.describe_images(Owners=["self"], Filters=self._owned())["Images"]
        images = [own.read(one, self._region) for one in found if own.is_own(one)]
        return tuple(sorted(images, key=lambda i: (i.made, i.id), reverse=True))

    @in_words
    def progress(self, image: str) -> float:
        """Per cent of the snapshots that are being made for the image: those that carry its name."""
        images = self._ec2.describe_images(ImageIds=[image])["Images"]
        name = _tag(images[0].get("Tags", []), "Name") if images else ""
        wanted: list[FilterTypeDef] = [{"Name": "tag:Name", "Values": [name]}]
        found = self._ec2.describe_snapshots(OwnerIds=["self"], Filters=self._mine() + wanted)["Snapshots"]
        told = [float(one.get("Progress", "").rstrip("%") or 0) for one in found if one.get("State") == "pending"]
        return min(told, default=0.0)

    @in_words
    def newest_image(self, *, owner: str, name: str) -> Image | None:
        filters: list[FilterTypeDef] = [{"Name": "name", "Values": [name]}, {"Name": "state", "Values": ["available"]}]
        found = self._ec2.describe_images(Owners=[owner], Filters=filters)["Images"]
        images = [_image(one) for one in found]
        return max(images, key=lambda i: (i.created, i.id), default=None)

    # --- the inventory's parts

    def _owned(self) -> list[FilterTypeDef]:
        return [{"Name": "tag:gpu:owner", "Values": [self._tags.owner]}]

    def _mine(self, kind: str | None = None) -> list[FilterTypeDef]:
        wanted = {"gpu:profile": self._tags.profile, "gpu:owner": self._tags.owner}
        if kind:
            wanted["gpu:kind"] = kind
        return [{"Name": f"tag:{key}", "Values": [value]} for key, value in wanted.items()]

    def _keys(self) -> tuple[str, ...]:
        return tuple(sorted(k["KeyName"] for k in self._ec2.describe_key_pairs(Filters=self._mine())["KeyPairs"]))

    def _spot_requests(self) -> tuple[SpotRequest, ...]:
        alive: list[FilterTypeDef] = [{"Name": "state", "Values": ["open", "active", "disabled"]}]
        pages = self._ec2.get_paginator("describe_spot_instance_requests").paginate(Filters=self._mine() + alive)
        found = [request for page in pages for request in page["SpotInstanceRequests"]]
        return tuple(
            SpotRequest(
                r["SpotInstanceRequestId"], r.get("InstanceId") or None, r["State"], _tag(r.get("Tags", []), "gpu:kind")
            )
            for r in found
        )

    def _images(self) -> list[Any]:
        found = self._ec2.describe_images(Owners=["self"], Filters=self._mine())["Images"]
        return sorted(found, key=lambda i: i["ImageId"])

    def _snapshots(self) -> list[Any]:
        pages = self._ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"], Filters=self._mine())
        found = [snapshot for page in pages for snapshot in page["Snapshots"]]
        return sorted(found, key=lambda s: s["SnapshotId"])

    def _vpcs(self) -> tuple[Vpc, ...]:
        ids = sorted(v["VpcId"] for v in self._ec2.describe_vpcs(Filters=self._mine())["Vpcs"])
        return tuple(Vpc(vpc, dns=self._has_dns(vpc)) for vpc in ids)

    def _has_dns(self, vpc: str) -> bool:
        attribute = self._ec2.describe_vpc_attribute(VpcId=vpc, Attribute="enableDnsHostnames")
        return bool(attribute["EnableDnsHostnames"].get("Value"))

    def _gateways(self) -> tuple[Gateway, ...]:
        found = self._ec2.describe_internet_gateways(Filters=self._mine())["InternetGateways"]
        return tuple(
            Gateway(g["InternetGatewayId"], next((a["VpcId"] for a in g.get("Attachments", [])), None)) for g in found
        )

    def _subnets(self) -> tuple[Subnet, ...]:
        found = self._ec2.describe_subnets(Filters=self._mine())["Subnets"]
        return tuple(Subnet(s["SubnetId"], s["VpcId"], s["AvailabilityZone"]) for s in found)

    def _tables(self) -> tuple[Table, ...]:
        found = self._ec2.describe_route_tables(Filters=self._mine())["RouteTables"]
        return tuple(
            Table(
                id=t["RouteTableId"],
                vpc=t["VpcId"],
                gateway=next(
                    (r.get("GatewayId") for r in t["Routes"] if r.get("DestinationCidrBlock") == "0.0.0.0/0"), None
                ),
                links=tuple(
                    (a["RouteTableAssociationId"], a["SubnetId"]) for a in t["Associations"] if a.get("SubnetId")
                ),
            )
            for t in found
        )

    def _groups(self) -> tuple[Group, ...]:
        found = self._ec2.describe_security_groups(Filters=self._mine())["SecurityGroups"]
        return tuple(Group(g["GroupId"], g["VpcId"], self._rules(g["GroupId"])) for g in found)

    def _rules(self, group: str) -> tuple[Rule, ...]:
        found = self._ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [group]}])
        return tuple(
            Rule(r["SecurityGroupRuleId"], r["FromPort"], r["CidrIpv4"])
            for r in found["SecurityGroupRules"]
            if not r["IsEgress"] and r.get("Description") == RULE and r.get("CidrIpv4")
        )


def _machine(about: Any) -> Machine:
    tags = about.get("Tags", [])
    disks = [d["Ebs"]["VolumeId"] for d in about.get("BlockDeviceMappings", []) if d.get("Ebs", {}).get("VolumeId")]
    cards = [card["NetworkInterfaceId"] for card in about.get("NetworkInterfaces", [])]
    said = about.get("StateTransitionReason") or ""
    return Machine(
        id=about["InstanceId"],
        kind=_tag(tags, "gpu:kind"),
        phase=about["State"]["Name"],
        type=about["InstanceType"],
        subnet=about.get("SubnetId"),
        key_name=about.get("KeyName"),
        launched=about["LaunchTime"].astimezone(timezone.utc),
        zone=about.get("Placement", {}).get("AvailabilityZone", ""),
        build=Build(
            architecture=about.get("Architecture") or "x86_64",
            virtualization=about.get("VirtualizationType") or "hvm",
            boot_mode=about.get("CurrentInstanceBootMode") or about.get("BootMode") or "legacy-bios",
            ena=about.get("EnaSupport", True),
        ),
        root_device=about.get("RootDeviceName") or "/dev/sda1",
        spot_request=about.get("SpotInstanceRequestId") or None,
        spot=about.get("InstanceLifecycle") == "spot",
        stopped=_moment(said) if about["State"]["Name"] != "running" else None,
        reason=said or about.get("StateReason", {}).get("Message", ""),
        parts=(*disks, *cards),
        replaces=_tag(tags, "gpu:replaces") or None,
        image=about.get("ImageId", ""),
        public_ip=about.get("PublicIpAddress") or None,
    )


def _imaged(images: Sequence[Any], snapshots: Sequence[Any], region: str) -> dict[str, Any]:
    """Images on the way from one machine to another apart from those for machines to begin with, and the snapshots of
    either sort that are under none of them."""
    moved = tuple(_snapshot(one) for one in images if _tag(one.get("Tags", []), "gpu:replaces"))
    baked = tuple(own.read(one, region) for one in images if own.is_own(one))
    used = {snapshot for image in moved for snapshot in image.snapshots}
    used |= {snapshot for image in baked for snapshot in image.snapshots}
    free = [one for one in snapshots if one["SnapshotId"] not in used]
    replaced = [(one["SnapshotId"], _tag(one.get("Tags", []), "gpu:replaces")) for one in free]
    return {
        "images": moved,
        "loose": tuple(Loose(snapshot, machine) for snapshot, machine in replaced if machine),
        "baked": baked,
        "layers": tuple(one["SnapshotId"] for one in free if own.is_own(one)),
    }


def _snapshot(about: Any) -> Snapshot:
    disks = about.get("BlockDeviceMappings", [])
    return Snapshot(
        image=about["ImageId"],
        replaces=_tag(about.get("Tags", []), "gpu:replaces"),
        state=about.get("State", "pending"),
        created=datetime.fromisoformat(about["CreationDate"].replace("Z", "+00:00")),
        root_device=about.get("RootDeviceName") or "/dev/sda1",
        snapshots=tuple(d["Ebs"]["SnapshotId"] for d in disks if d.get("Ebs", {}).get("SnapshotId")),
    )


def _image(about: Any) -> Image:
    root = about.get("RootDeviceName") or "/dev/sda1"
    return Image(about["ImageId"], root, about.get("CreationDate", ""), about.get("Name", ""))


def _moment(reason: str) -> datetime | None:
    """`User initiated (2026-11-23 12:00:00 GMT)`: the only place where EC2 tells when a machine was stopped."""
    found = re.search(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:GMT|UTC)\)", reason)
    return datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc) if found else None


def _tag(tags: Sequence[Any], key: str) -> str:
    return next((str(tag["Value"]) for tag in tags if tag["Key"] == key), "")
