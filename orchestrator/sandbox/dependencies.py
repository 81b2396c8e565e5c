"""What EC2 does not let go as long as something else depends on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from moto.ec2.models import ec2_backends

from .catalog import ACCOUNT
from .instances import Instances
from .wsgi import Call, Forward, Handler, Refusal, Reply


class Dependencies:
    """An instance's network card is there until it is terminated; moto forgets it at once."""

    def __init__(self, instances: Instances) -> None:
        self._instances = instances

    def handlers(self) -> dict[str, Handler]:
        return {
            "DeleteSubnet": self._delete_subnet,
            "DeleteSecurityGroup": self._delete_group,
            "DetachInternetGateway": self._detach_gateway,
            "DeleteVpc": self._delete_vpc,
            "ReleaseAddress": self._release,
        }

    def _delete_subnet(self, call: Call, forward: Forward) -> Reply:
        subnet = call.params.get("SubnetId", "")
        if any(one.subnet_id == subnet for one in self._present()):
            raise _violation(f"The subnet '{subnet}' has dependencies and cannot be deleted.")
        return forward()

    def _delete_group(self, call: Call, forward: Forward) -> Reply:
        group = call.params.get("GroupId", "")
        if any(group in _groups(one) for one in self._present()):
            raise _violation(f"resource {group} has a dependent object")
        return forward()

    def _detach_gateway(self, call: Call, forward: Forward) -> Reply:
        vpc = call.params.get("VpcId", "")
        addresses = ec2_backends[ACCOUNT][call.region].addresses
        if any(one.instance is not None and one.instance.vpc_id == vpc for one in addresses):
            raise _violation(
                f"Network {vpc} has some mapped public address(es). Please unmap those public address(es) before "
                "detaching the gateway."
            )
        return forward()

    def _delete_vpc(self, call: Call, forward: Forward) -> Reply:
        vpc, backend = call.params.get("VpcId", ""), ec2_backends[ACCOUNT][call.region]
        subnets = [one for zone in backend.subnets.values() for one in zone.values() if one.vpc_id == vpc]
        gateways = [one for one in backend.internet_gateways.values() if one.vpc and one.vpc.id == vpc]
        groups = [one for one in backend.groups.get(vpc, {}).values() if one.name != "default"]
        tables = [one for one in backend.route_tables.values() if one.vpc_id == vpc and not _is_main(one)]
        if subnets or gateways or groups or tables:
            raise _violation(f"The vpc '{vpc}' has dependencies and cannot be deleted.")
        return forward()

    def _release(self, call: Call, forward: Forward) -> Reply:
        for one in ec2_backends[ACCOUNT][call.region].addresses:
            if one.allocation_id == call.params.get("AllocationId") and one.association_id:
                raise Refusal("InvalidIPAddress.InUse", f"Address {one.public_ip} is in use.")
        return forward()

    def _present(self) -> Iterator[Any]:
        return (one for one in self._instances.all() if one._state.name != "terminated")


def _groups(instance: Any) -> set[str]:
    cards = [group.id for card in instance.nics.values() for group in card.group_set]
    return {group.id for group in instance.security_groups} | set(cards)


def _is_main(table: Any) -> bool:
    return bool(table.main_association_id)


def _violation(message: str) -> Refusal:
    return Refusal("DependencyViolation", message)
