"""Which machine can be made of which image, and what may be changed of it afterwards."""

from __future__ import annotations

from typing import Any

from moto.ec2.models import ec2_backends
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, INSTANCE_TYPES

from . import wsgi
from .catalog import ACCOUNT
from .instances import Instances
from .lifecycle import Lifecycle
from .outside import place, places
from .wsgi import Call, Forward, Handler, Refusal, Reply


class Attributes:
    def __init__(self, instances: Instances, lifecycle: Lifecycle) -> None:
        self._instances = instances
        lifecycle.asked += [self._refuse_unfit, self._refuse_unoffered]
        lifecycle.made.append(_complete)
        lifecycle.before += [_protect, _refuse_start]

    def handlers(self) -> dict[str, Handler]:
        return {"ModifyInstanceAttribute": self._modify}

    def _refuse_unfit(self, call: Call) -> None:
        image = ec2_backends[ACCOUNT][call.region].amis.get(call.params.get("ImageId", ""))
        if image is None:
            return
        if image.state != "available":
            raise Refusal("InvalidAMIID.Unavailable", f"The image ID '{image.id}' is not available")
        _refuse_architecture(call.params.get("InstanceType", ""), str(image.architecture))

    def _refuse_unoffered(self, call: Call) -> None:
        [(zone, kind)] = places(self._instances, call)
        _refuse_place(call.region, zone, kind)

    def _modify(self, call: Call, forward: Forward) -> Reply:
        instance = self._instances.get(call.params.get("InstanceId", ""))
        wanted = call.params.get("InstanceType.Value")
        if call.params.get("Attribute") == "instanceType":
            wanted = call.params.get("Value")
        if instance is None:
            return forward()
        if wanted is None:
            return _modify_other(call, instance, forward)
        if instance.lifecycle == "spot":
            raise Refusal("UnsupportedOperation", "Modifying the instance type of a Spot Instance is not supported.")
        if instance._state.name != "stopped":
            raise Refusal("IncorrectInstanceState", f"The instance '{instance.id}' is not in the 'stopped' state.")
        if wanted not in INSTANCE_TYPES:
            raise Refusal("InvalidInstanceAttributeValue", f"Invalid value '{wanted}' for InstanceType.")
        _refuse_architecture(wanted, str(instance.architecture))
        return forward()


def _modify_other(call: Call, instance: Any, forward: Forward) -> Reply:
    behaviour = call.params.get("InstanceInitiatedShutdownBehavior.Value")
    if behaviour is None:
        return forward()
    # moto would take the group list that is not there for an empty one.
    if behaviour not in ("stop", "terminate"):
        raise Refusal("InvalidParameterValue", f"Value ({behaviour}) for parameter value is invalid.")
    instance.instance_initiated_shutdown_behavior = behaviour
    return wsgi.ec2_answer(call.action, "<return>true</return>")


def _refuse_place(region: str, zone: str, kind: str) -> None:
    offers = INSTANCE_TYPE_OFFERINGS["availability-zone"].get(region, [])
    zones = sorted(offer["Location"] for offer in offers if offer["InstanceType"] == kind)
    if zone and zones and zone not in zones:
        raise Refusal(
            "Unsupported",
            f"Your requested instance type ({kind}) is not supported in your requested Availability Zone ({zone}). "
            f"Please retry your request by not specifying an Availability Zone or choosing {', '.join(zones)}.",
        )


def _refuse_architecture(instance_type: str, architecture: str) -> None:
    shape = INSTANCE_TYPES.get(instance_type, {})
    supported = shape.get("ProcessorInfo", {}).get("SupportedArchitectures", [architecture])
    if architecture not in supported:
        raise Refusal(
            "InvalidParameterValue",
            f"The architecture '{','.join(supported)}' of the specified instance type does not match the architecture "
            f"'{architecture}' of the specified AMI. Specify an instance type and an AMI that have matching "
            "architectures, and try again.",
        )


def _complete(call: Call, instance: Any) -> None:
    """What moto forgets of a request, and what EC2 adds to it."""
    instance.disable_api_termination = call.params.get("DisableApiTermination") == "true"
    image = ec2_backends[ACCOUNT][call.region].amis.get(instance.image_id)
    instance.boot_mode = image.boot_mode if image else None
    modes = INSTANCE_TYPES.get(instance.instance_type, {}).get("SupportedBootModes", [])
    uefi = instance.boot_mode in ("uefi", "uefi-preferred") and "uefi" in modes
    instance.current_instance_boot_mode = "uefi" if uefi else "legacy-bios"


def _refuse_start(call: Call, instance: Any) -> None:
    # Its type may have been changed to one that its zone has not.
    if call.action == "StartInstances" and instance._state.name == "stopped":
        _refuse_place(call.region, *place(instance))


def _protect(call: Call, instance: Any) -> None:
    # Before anything is done: moto would end the instances that are named first.
    if call.action == "TerminateInstances" and str(instance.disable_api_termination).lower() == "true":
        raise Refusal(
            "OperationNotPermitted",
            f"The instance '{instance.id}' may not be terminated. Modify its 'disableApiTermination' instance "
            "attribute and try again.",
        )
