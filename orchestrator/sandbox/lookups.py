"""What moto's Describe calls lack: filters that EC2 has, sizes that are true, no values that are empty."""

from __future__ import annotations

import fnmatch
import re
from typing import Any

from .wsgi import Call, Forward, Reply


class Pattern(str):
    """A value that equals every text, wildcards included, that matches it: as EC2's filters compare."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and fnmatch.fnmatchcase(str(self), other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


def describe_addresses(call: Call, forward: Forward) -> Reply:
    """An address that belongs to nothing has no empty instance."""
    del call
    reply = forward()
    return reply.replaced(re.sub(rb"<(\w+)></\1>|<(instanceId|associationId|networkInterfaceId)/>", b"", reply.body))


def describe_instances(call: Call, forward: Forward) -> Reply:
    """One that runs has no reason for its state."""
    del call
    reply = forward()
    return reply.replaced(reply.body.replace(b"<stateReason><code/><message/></stateReason>", b""))


def complete() -> None:
    """Teach moto the filters and the sizes that it has not."""
    from moto.ec2.models.amis import Ami
    from moto.ec2.models.elastic_block_store import Snapshot
    from moto.ec2.models.instances import Instance
    from moto.ec2.utils import filter_dict_attribute_mapping

    # Without an entry DescribeInstances with the filter is an internal error.
    filter_dict_attribute_mapping.update(
        {
            "client-token": "client_token",
            "instance-lifecycle": "lifecycle",
            "instance-state-code": "_state.code",
            "launch-time": "launch_stamp",
            "spot-instance-request-id": "spot_instance_request_id",
            "virtualization-type": "virtualization_type",
            "hypervisor": "hypervisor",
            "root-device-name": "root_device_name",
        }
    )
    extra: Any = Instance
    extra.launch_stamp = property(lambda one: Pattern(f"{one.launch_time:%Y-%m-%dT%H:%M:%S.000Z}"))
    extra.spot_instance_request_id = extra.boot_mode = extra.current_instance_boot_mode = None
    extra.instance_lifecycle = property(lambda one: one.lifecycle)
    snapshot: Any = Snapshot
    snapshot.progress = property(lambda one: "50%" if one.status == "pending" else "100%")
    image: Any = Ami
    image.block_device_mappings = property(_mappings)


def _mappings(image: Any) -> list[dict[str, Any]]:
    snapshot = image.ebs_snapshot
    disk = {
        "SnapshotId": snapshot.id,
        "VolumeSize": snapshot.volume.size,
        "DeleteOnTermination": True,
        "VolumeType": "gp3",
        "Encrypted": False,
    }
    return [{"DeviceName": image.root_device_name, "Ebs": disk}]
