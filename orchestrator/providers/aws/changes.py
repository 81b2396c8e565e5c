"""Every change that there is, with its parameters. What it is sent through decides whether it is made or shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import own
from .api import Api
from .inventory import BUILDER, Tags
from .steps import NETWORK

RULE = "gpu: ssh from its owner"
"""The description of the rules that gpu writes, by which it knows them again."""

SPOT: Mapping[str, Any] = {
    "MarketType": "spot",
    "SpotOptions": {"SpotInstanceType": "persistent", "InstanceInterruptionBehavior": "stop"},
}
"""Only a persistent request's machine can be stopped and keeps its disk.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/stopping-spot-instances.html
"""


@dataclass(frozen=True)
class Birth:
    """What differs from one new machine to another."""

    kind: str
    type: str
    image: str
    root_device: str
    disk_gb: int
    key_name: str
    subnet: str
    group: str
    user_data: str
    spot: bool = False
    replaces: str | None = None


class Changes:
    """One profile's and owner's: everything that is made carries their tags in the same request."""

    def __init__(self, api: Api, tags: Tags) -> None:
        self._api = api
        self._tags = tags

    # --- making

    def create_vpc(self) -> str:
        return self._api.make("CreateVpc", CidrBlock=NETWORK, TagSpecifications=self._spec("vpc"))

    def enable_dns(self, vpc: str) -> None:
        self._api.change("ModifyVpcAttribute", VpcId=vpc, EnableDnsSupport={"Value": True})
        self._api.change("ModifyVpcAttribute", VpcId=vpc, EnableDnsHostnames={"Value": True})

    def create_gateway(self) -> str:
        return self._api.make("CreateInternetGateway", TagSpecifications=self._spec("internet-gateway"))

    def attach_gateway(self, gateway: str, vpc: str) -> None:
        self._api.change("AttachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)

    def create_subnet(self, vpc: str, zone: str) -> str:
        return self._api.make(
            "CreateSubnet",
            VpcId=vpc,
            CidrBlock=NETWORK,
            AvailabilityZone=zone,
            TagSpecifications=self._spec("subnet"),
        )

    def create_table(self, vpc: str, token: str) -> str:
        return self._api.make(
            "CreateRouteTable", VpcId=vpc, ClientToken=token, TagSpecifications=self._spec("route-table")
        )

    def add_route(self, table: str, gateway: str, *, instead: bool) -> None:
        """0.0.0.0/0 through `gateway`, `instead` of one that leads to a gateway of the past."""
        route = {"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0", "GatewayId": gateway}
        if instead:
            self._api.change("ReplaceRoute", **route)
        else:
            self._api.change("CreateRoute", **route)

    def link_table(self, table: str, subnet: str) -> None:
        self._api.change("AssociateRouteTable", RouteTableId=table, SubnetId=subnet)

    def create_group(self, vpc: str) -> str:
        return self._api.make(
            "CreateSecurityGroup",
            GroupName=self._tags.pairs()["Name"],
            Description=RULE,
            VpcId=vpc,
            TagSpecifications=self._spec("security-group"),
        )

    def open_ssh(self, group: str, port: int, cidr: str) -> None:
        ranges = [{"CidrIp": cidr, "Description": RULE}]
        permission = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": ranges}
        self._api.change(
            "AuthorizeSecurityGroupIngress",
            GroupId=group,
            IpPermissions=[permission],
            TagSpecifications=self._spec("security-group-rule"),
        )

    def close_ssh(self, group: str, rule: str) -> None:
        self._api.change("RevokeSecurityGroupIngress", GroupId=group, SecurityGroupRuleIds=[rule])

    def import_key(self, name: str, public_key: str) -> None:
        self._api.change(
            "ImportKeyPair",
            KeyName=name,
            PublicKeyMaterial=public_key.encode(),
            TagSpecifications=self._spec("key-pair"),
        )

    def allocate_address(self, kind: str) -> str:
        return self._api.make("AllocateAddress", Domain="vpc", TagSpecifications=self._spec("elastic-ip", kind=kind))

    def associate_address(self, address: str, machine: str) -> None:
        self._api.change("AssociateAddress", AllocationId=address, InstanceId=machine, AllowReassociation=True)

    # --- the machine

    def run_instance(self, request: Mapping[str, Any], token: str) -> str:
        """`request` is what `birth_request` makes."""
        return self._api.make("RunInstances", **request, ClientToken=token)

    def birth_request(self, birth: Birth) -> dict[str, Any]:
        """RunInstances without its token: the same for the same birth, so that a token can be used again."""
        disk = {"VolumeSize": birth.disk_gb, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}
        # No automatic public address: the elastic IP is the machine's one address, stopped or not. A builder has none.
        passing = birth.kind == BUILDER
        network = {
            "DeviceIndex": 0,
            "SubnetId": birth.subnet,
            "Groups": [birth.group],
            "AssociatePublicIpAddress": passing,
        }
        # EC2 refuses to protect a spot machine from its termination; a builder must be easy to remove.
        protected = not birth.spot and not passing
        resources = ("instance", "volume", "network-interface", *(["spot-instances-request"] if birth.spot else []))
        return {
            "MinCount": 1,
            "MaxCount": 1,
            "ImageId": birth.image,
            "InstanceType": birth.type,
            "KeyName": birth.key_name,
            "NetworkInterfaces": [network],
            "BlockDeviceMappings": [{"DeviceName": birth.root_device, "Ebs": disk}],
            "MetadataOptions": {"HttpTokens": "required", "HttpEndpoint": "enabled", "HttpPutResponseHopLimit": 1},
            # A builder that nobody removes any more is not kept when it stops itself, nor is its disk.
            "InstanceInitiatedShutdownBehavior": "terminate" if passing else "stop",
            **({"InstanceMarketOptions": SPOT} if birth.spot else {}),
            **({"DisableApiTermination": True} if protected else {}),
            "TagSpecifications": self._spec(*resources, kind=birth.kind, replaces=birth.replaces),
            "UserData": birth.user_data,
        }

    def start_instance(self, machine: str) -> None:
        self._api.change("StartInstances", InstanceIds=[machine])

    def stop_instance(self, machine: str) -> None:
        self._api.change("StopInstances", InstanceIds=[machine])

    def change_type(self, machine: str, instance_type: str) -> None:
        self._api.change("ModifyInstanceAttribute", InstanceId=machine, InstanceType={"Value": instance_type})

    def change_kind(self, resources: Sequence[str], kind: str) -> None:
        """The tags of what belongs to one kind of machine: it is of another kind from now on."""
        tags = [{"Key": key, "Value": value} for key, value in self._tags.pairs(kind).items()]
        self._api.change("CreateTags", Resources=list(resources), Tags=tags)

    def create_image(self, machine: str, *, kind: str, name: str) -> str:
        return self._api.make(
            "CreateImage",
            InstanceId=machine,
            Name=name,
            TagSpecifications=self._spec("image", "snapshot", kind=kind, replaces=machine),
        )

    def reboot(self, machine: str) -> None:
        self._api.change("RebootInstances", InstanceIds=[machine])

    def bake_image(self, machine: str, *, name: str, labels: Mapping[str, str]) -> str:
        """For machines to begin with; `labels` are what it says of itself."""
        return self._api.make(
            "CreateImage", InstanceId=machine, Name=name, TagSpecifications=self._labelled(name, labels)
        )

    def copy_image(self, image: str, *, source: str, name: str, labels: Mapping[str, str], token: str) -> str:
        """From the region `source` into that of the `Api`."""
        return self._api.make(
            "CopyImage",
            SourceImageId=image,
            SourceRegion=source,
            Name=name,
            Encrypted=True,
            ClientToken=token,
            TagSpecifications=self._labelled(name, labels),
        )

    # --- removing

    def cancel_spot(self, request: str) -> None:
        self._api.change("CancelSpotInstanceRequests", SpotInstanceRequestIds=[request])

    def unprotect(self, machine: str) -> None:
        self._api.change("ModifyInstanceAttribute", InstanceId=machine, DisableApiTermination={"Value": False})

    def protect(self, machine: str) -> None:
        self._api.change("ModifyInstanceAttribute", InstanceId=machine, DisableApiTermination={"Value": True})

    def terminate(self, machines: Sequence[str]) -> None:
        self._api.change("TerminateInstances", InstanceIds=list(machines))

    def deregister_image(self, image: str) -> None:
        self._api.change("DeregisterImage", ImageId=image)

    def delete_snapshot(self, snapshot: str) -> None:
        self._api.change("DeleteSnapshot", SnapshotId=snapshot)

    def disassociate_address(self, association: str) -> None:
        self._api.change("DisassociateAddress", AssociationId=association)

    def release_address(self, address: str) -> None:
        self._api.change("ReleaseAddress", AllocationId=address)

    def delete_key(self, name: str) -> None:
        self._api.change("DeleteKeyPair", KeyName=name)

    def delete_group(self, group: str) -> None:
        self._api.change("DeleteSecurityGroup", GroupId=group)

    def delete_subnet(self, subnet: str) -> None:
        self._api.change("DeleteSubnet", SubnetId=subnet)

    def unlink_table(self, link: str) -> None:
        self._api.change("DisassociateRouteTable", AssociationId=link)

    def delete_table(self, table: str) -> None:
        self._api.change("DeleteRouteTable", RouteTableId=table)

    def detach_gateway(self, gateway: str, vpc: str) -> None:
        self._api.change("DetachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)

    def delete_gateway(self, gateway: str) -> None:
        self._api.change("DeleteInternetGateway", InternetGatewayId=gateway)

    def delete_vpc(self, vpc: str) -> None:
        self._api.change("DeleteVpc", VpcId=vpc)

    def _labelled(self, name: str, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        pairs = {**self._tags.pairs(), **own.tags(labels), "Name": name}
        tags = [{"Key": key, "Value": value} for key, value in pairs.items()]
        return [{"ResourceType": resource, "Tags": tags} for resource in ("image", "snapshot")]

    def _spec(self, *resources: str, kind: str | None = None, replaces: str | None = None) -> list[dict[str, Any]]:
        tags = [{"Key": key, "Value": value} for key, value in self._tags.pairs(kind, replaces).items()]
        return [{"ResourceType": resource, "Tags": tags} for resource in resources]
