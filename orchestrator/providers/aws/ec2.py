"""EC2 in a typed handful of verbs: callers see our own data, never its responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timezone
from typing import TYPE_CHECKING, Any, cast

from .inventory import ElasticIp, Gateway, Group, Inventory, Machine, Rule, Subnet, Table, Tags, Vpc
from .session import Session, in_words
from .steps import NETWORK

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import FilterTypeDef, TagSpecificationTypeDef

RULE = "gpu: ssh from its owner"
"""The description of the rules that gpu writes, by which it knows them again."""


@dataclass(frozen=True)
class Image:
    id: str
    root_device: str
    created: str


class Ec2:
    """One region, seen through the tags of one profile and owner."""

    def __init__(self, session: Session, tags: Tags) -> None:
        self._ec2 = session.ec2
        self._tags = tags

    # --- looking

    @in_words
    def inventory(self) -> Inventory:
        """All that carries our tags."""
        return Inventory(
            vpcs=self._vpcs(),
            gateways=self._gateways(),
            subnets=self._subnets(),
            tables=self._tables(),
            groups=self._groups(),
            keys=tuple(sorted(k["KeyName"] for k in self._ec2.describe_key_pairs(Filters=self._mine())["KeyPairs"])),
            machines=self.machines(),
            addresses=self.addresses(),
        )

    @in_words
    def machines(self, kind: str | None = None) -> tuple[Machine, ...]:
        pages = self._ec2.get_paginator("describe_instances").paginate(Filters=self._mine(kind))
        found = [i for page in pages for reservation in page["Reservations"] for i in reservation["Instances"]]
        return tuple(
            Machine(
                id=i["InstanceId"],
                kind=_tag(i.get("Tags", []), "gpu:kind"),
                phase=i["State"]["Name"],
                type=i["InstanceType"],
                subnet=i.get("SubnetId"),
                key_name=i.get("KeyName"),
                launched=i["LaunchTime"].astimezone(timezone.utc),
            )
            for i in sorted(found, key=lambda i: i["InstanceId"])
        )

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
    def zones(self, instance_type: str) -> tuple[str, ...]:
        """The region's zones that offer the type, in order; none where the region does not have it."""
        pages = self._ec2.get_paginator("describe_instance_type_offerings").paginate(
            LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": [instance_type]}]
        )
        return tuple(sorted(o["Location"] for page in pages for o in page["InstanceTypeOfferings"]))

    @in_words
    def image(self, image: str) -> Image | None:
        found = self._ec2.describe_images(ImageIds=[image])["Images"]
        return Image(image, found[0].get("RootDeviceName") or "/dev/sda1", "") if found else None

    @in_words
    def newest_image(self, *, owner: str, name: str) -> Image | None:
        filters: list[FilterTypeDef] = [{"Name": "name", "Values": [name]}, {"Name": "state", "Values": ["available"]}]
        found = self._ec2.describe_images(Owners=[owner], Filters=filters)["Images"]
        images = [Image(i["ImageId"], i.get("RootDeviceName") or "/dev/sda1", i["CreationDate"]) for i in found]
        return max(images, key=lambda i: (i.created, i.id), default=None)

    # --- making

    @in_words
    def create_vpc(self) -> str:
        return self._ec2.create_vpc(CidrBlock=NETWORK, TagSpecifications=self._spec("vpc"))["Vpc"]["VpcId"]

    @in_words
    def enable_dns(self, vpc: str) -> None:
        self._ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsSupport={"Value": True})
        self._ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})

    @in_words
    def create_gateway(self) -> str:
        made = self._ec2.create_internet_gateway(TagSpecifications=self._spec("internet-gateway"))
        return made["InternetGateway"]["InternetGatewayId"]

    @in_words
    def attach_gateway(self, gateway: str, vpc: str) -> None:
        self._ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)

    @in_words
    def create_subnet(self, vpc: str, zone: str) -> str:
        made = self._ec2.create_subnet(
            VpcId=vpc, CidrBlock=NETWORK, AvailabilityZone=zone, TagSpecifications=self._spec("subnet")
        )
        return made["Subnet"]["SubnetId"]

    @in_words
    def create_table(self, vpc: str, token: str) -> str:
        made = self._ec2.create_route_table(VpcId=vpc, ClientToken=token, TagSpecifications=self._spec("route-table"))
        return made["RouteTable"]["RouteTableId"]

    @in_words
    def add_route(self, table: str, gateway: str) -> None:
        """0.0.0.0/0 through `gateway`; one that leads to a gateway of the past is replaced."""
        known = self._ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"][0]["Routes"]
        there = any(route.get("DestinationCidrBlock") == "0.0.0.0/0" for route in known)
        change = self._ec2.replace_route if there else self._ec2.create_route
        change(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)

    @in_words
    def link_table(self, table: str, subnet: str) -> None:
        self._ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)

    @in_words
    def create_group(self, vpc: str) -> str:
        name = self._tags.pairs()["Name"]
        made = self._ec2.create_security_group(
            GroupName=name, Description=RULE, VpcId=vpc, TagSpecifications=self._spec("security-group")
        )
        return made["GroupId"]

    @in_words
    def open_ssh(self, group: str, port: int, cidr: str) -> None:
        self._ec2.authorize_security_group_ingress(
            GroupId=group,
            IpPermissions=[
                {
                    "IpProtocol": "tcp",
                    "FromPort": port,
                    "ToPort": port,
                    "IpRanges": [{"CidrIp": cidr, "Description": RULE}],
                }
            ],
            TagSpecifications=self._spec("security-group-rule"),
        )

    @in_words
    def close_ssh(self, group: str, rule: str) -> None:
        self._ec2.revoke_security_group_ingress(GroupId=group, SecurityGroupRuleIds=[rule])

    @in_words
    def import_key(self, name: str, public_key: str) -> None:
        self._ec2.import_key_pair(
            KeyName=name, PublicKeyMaterial=public_key.encode(), TagSpecifications=self._spec("key-pair")
        )

    @in_words
    def allocate_address(self, kind: str) -> str:
        made = self._ec2.allocate_address(Domain="vpc", TagSpecifications=self._spec("elastic-ip", kind=kind))
        return made["AllocationId"]

    @in_words
    def associate_address(self, address: str, machine: str) -> None:
        self._ec2.associate_address(AllocationId=address, InstanceId=machine, AllowReassociation=True)

    @in_words
    def run_instance(self, request: dict[str, Any], token: str) -> str:
        """`request` is what `instance_request` makes."""
        return self._ec2.run_instances(**request, ClientToken=token)["Instances"][0]["InstanceId"]

    def instance_request(self, kind: str) -> dict[str, Any]:
        """The part of RunInstances that is the same for every machine."""
        return {
            "MinCount": 1,
            "MaxCount": 1,
            "MetadataOptions": {"HttpTokens": "required", "HttpEndpoint": "enabled", "HttpPutResponseHopLimit": 1},
            "InstanceInitiatedShutdownBehavior": "stop",
            "TagSpecifications": self._spec("instance", "volume", "network-interface", kind=kind),
        }

    @in_words
    def start_instance(self, machine: str) -> None:
        self._ec2.start_instances(InstanceIds=[machine])

    @in_words
    def stop_instance(self, machine: str) -> None:
        self._ec2.stop_instances(InstanceIds=[machine])

    # --- removing

    @in_words
    def terminate(self, machines: Sequence[str]) -> None:
        self._ec2.terminate_instances(InstanceIds=list(machines))

    @in_words
    def disassociate_address(self, association: str) -> None:
        self._ec2.disassociate_address(AssociationId=association)

    @in_words
    def release_address(self, address: str) -> None:
        self._ec2.release_address(AllocationId=address)

    @in_words
    def delete_key(self, name: str) -> None:
        self._ec2.delete_key_pair(KeyName=name)

    @in_words
    def delete_group(self, group: str) -> None:
        self._ec2.delete_security_group(GroupId=group)

    @in_words
    def delete_subnet(self, subnet: str) -> None:
        self._ec2.delete_subnet(SubnetId=subnet)

    @in_words
    def unlink_table(self, link: str) -> None:
        self._ec2.disassociate_route_table(AssociationId=link)

    @in_words
    def delete_table(self, table: str) -> None:
        self._ec2.delete_route_table(RouteTableId=table)

    @in_words
    def detach_gateway(self, gateway: str, vpc: str) -> None:
        self._ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)

    @in_words
    def delete_gateway(self, gateway: str) -> None:
        self._ec2.delete_internet_gateway(InternetGatewayId=gateway)

    @in_words
    def delete_vpc(self, vpc: str) -> None:
        self._ec2.delete_vpc(VpcId=vpc)

    # --- the inventory's parts

    def _mine(self, kind: str | None = None) -> list[FilterTypeDef]:
        wanted = {"gpu:profile": self._tags.profile, "gpu:owner": self._tags.owner}
        if kind:
            wanted["gpu:kind"] = kind
        return [{"Name": f"tag:{key}", "Values": [value]} for key, value in wanted.items()]

    def _spec(self, *resources: str, kind: str | None = None) -> list[TagSpecificationTypeDef]:
        tags = [{"Key": key, "Value": value} for key, value in self._tags.pairs(kind).items()]
        return cast("list[TagSpecificationTypeDef]", [{"ResourceType": r, "Tags": tags} for r in resources])

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


def _tag(tags: Sequence[Any], key: str) -> str:
    return next((str(tag["Value"]) for tag in tags if tag["Key"] == key), "")
