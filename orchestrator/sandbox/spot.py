"""Spot instances: the requests they come from, and what EC2 does about these by itself.

A request that is not cancelled is a standing order: EC2 launches another instance when its own is terminated, untagged
(seen: github.com/fastai/fastec2/issues/14). What may be stopped, started and cancelled when:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/interruption-behavior.html and using-spot-instances-request.html.
"""

from __future__ import annotations

import datetime
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from moto.ec2.exceptions import EC2ClientError

from .faults import Place
from .instances import Instances
from .lifecycle import Lifecycle
from .outside import place
from .wsgi import Call, Refusal

MARKET = "InstanceMarketOptions"
OPTIONS = f"{MARKET}.SpotOptions"
RETURN = 75
"""How many delays of an instance pass until EC2 has capacity again for one that it has stopped: half a minute."""
LIVING = ("open", "active", "disabled")
STATES = {
    "fulfilled": ("active", "Your Spot request is fulfilled."),
    "marked-for-stop": ("active", "The Spot Instance is marked for stopping."),
    "instance-stopped-by-user": ("disabled", "The Spot Instance was stopped by the user."),
    "instance-stopped-no-capacity": ("open", "The Spot Instance was stopped because there was no capacity."),
    "pending-fulfillment": ("open", "Your Spot request is pending fulfillment."),
    "instance-terminated-by-user": ("closed", "The Spot Instance was terminated by the user."),
    "instance-terminated-no-capacity": ("closed", "The Spot Instance was terminated because there was no capacity."),
    "request-canceled-and-instance-running": ("cancelled", "The request was cancelled, the instance runs on."),
    "bad-parameters": ("closed", "Something that the request names is not there any more."),
    "canceled-before-fulfillment": ("cancelled", "The request was cancelled."),
}
"""The state of a request for each of its status codes."""


@dataclass
class SpotRequest:
    instance: Any
    """moto's; the last one that was launched for it."""
    persistent: bool
    behaviour: str
    id: str = field(default_factory=lambda: f"sir-{uuid.uuid4().hex[:8]}")
    status: str = "fulfilled"
    created: datetime.datetime = field(default_factory=lambda: datetime.datetime.now(datetime.timezone.utc))
    updated: float = field(default_factory=time.monotonic)

    @property
    def state(self) -> str:
        return STATES[self.status][0]

    def move(self, status: str) -> None:
        if status != self.status:
            self.status, self.updated = status, time.monotonic()


class Spot:
    """All of the region's spot requests. Every method is called with the instances' lock held, but for `step`."""

    def __init__(self, instances: Instances, lifecycle: Lifecycle, has_room: Callable[[Place], bool]) -> None:
        self._instances = instances
        self._has_room = has_room
        self.requests: dict[str, SpotRequest] = {}
        instances.interruption = lambda instance: self._of(instance).behaviour
        lifecycle.asked.append(_refuse_combinations)
        lifecycle.made.append(self._made)
        lifecycle.before.append(self._before)

    def cancel(self, request_id: str) -> SpotRequest:
        request = self.requests[request_id]
        if request.state in LIVING:
            self._follow(request)
            stopped = request.instance._state.name in ("stopping", "stopped")
            request.move("canceled-before-fulfillment" if stopped else "request-canceled-and-instance-running")
            if stopped:
                # «Amazon EC2 terminates any associated Spot Instances that are stopped.»
                self._instances.end(request.instance, "Server.SpotInstanceTermination", "Spot instance termination")
        return request

    def step(self) -> None:
        with self._instances.lock:
            for request in list(self.requests.values()):
                self._follow(request)
                if request.state == "open" and self._has_room(place(request.instance)):
                    self._fulfil(request)

    def _made(self, call: Call, instance: Any) -> None:
        if call.params.get(f"{MARKET}.MarketType") != "spot":
            return
        persistent = call.params.get(f"{OPTIONS}.SpotInstanceType") == "persistent"
        behaviour = call.params.get(f"{OPTIONS}.InstanceInterruptionBehavior", "terminate")
        request = SpotRequest(instance, persistent, behaviour)
        self.requests[request.id] = request
        instance.spot_instance_request_id = request.id
        tags = call.tags("spot-instances-request")
        if tags:
            instance.ec2_backend.create_tags([request.id], tags)

    def _before(self, call: Call, instance: Any) -> None:
        if instance.lifecycle != "spot":
            return
        request = self._of(instance)
        self._follow(request)
        if call.action == "StopInstances" and not request.persistent:
            raise Refusal(
                "UnsupportedOperation",
                f"You can't stop the Spot Instance '{instance.id}' because it is associated with a one-time Spot "
                "Instance request. You can only stop Spot Instances associated with persistent Spot Instance requests.",
            )
        if call.action == "StopInstances" and request.state == "cancelled":
            raise _wrong_state(instance, request, "stop")
        stopped = instance._state.name == "stopped"
        if call.action == "StartInstances" and stopped and request.status != "instance-stopped-by-user":
            raise _wrong_state(instance, request, "start")
        if call.action == "StartInstances" and stopped:
            request.move("fulfilled")

    def _of(self, instance: Any) -> SpotRequest:
        return self.requests[instance.spot_instance_request_id]

    def _follow(self, request: SpotRequest) -> None:
        """Let the request's status be what its instance's state makes of it."""
        state, why = request.instance._state.name, request.instance.state_reason.code or ""
        if request.state not in LIVING:
            return
        taken = why.startswith("Server.Spot")
        if state in ("stopping", "stopped"):
            stopped = "instance-stopped-no-capacity" if taken else "instance-stopped-by-user"
            request.move(stopped if state == "stopped" else "marked-for-stop")
        elif state in ("shutting-down", "terminated") and request.persistent:
            request.move("pending-fulfillment")
        elif state in ("shutting-down", "terminated"):
            request.move("instance-terminated-no-capacity" if taken else "instance-terminated-by-user")

    def _fulfil(self, request: SpotRequest) -> None:
        """EC2 starts what it has stopped, and replaces what was terminated."""
        waited = time.monotonic() - request.updated
        instance = request.instance
        if request.status == "instance-stopped-no-capacity" and waited > RETURN * self._instances.delay:
            instance.start()
            self._instances.set_state(instance, "pending")
            request.move("fulfilled")
        elif request.status == "pending-fulfillment" and waited > 3 * self._instances.delay:
            self._replace(request)

    def _replace(self, request: SpotRequest) -> None:
        try:
            request.instance = _launch(request.instance)
        except EC2ClientError:
            # Its network, image or key has been removed meanwhile.
            request.move("bad-parameters")
            return
        request.instance.spot_instance_request_id = request.id
        self._instances.set_state(request.instance, "pending")
        request.move("fulfilled")


def _launch(like: Any) -> Any:
    """Another one; what it is tagged with is not passed on."""
    reservation = like.ec2_backend.run_instances(
        like.image_id,
        1,
        like.user_data,
        [],
        instance_type=like.instance_type,
        is_instance_type_default=False,
        region_name=like.region_name,
        subnet_id=like.subnet_id,
        key_name=like.key_name,
        security_group_ids=[group.id for group in like.security_groups],
        associate_public_ip=False,
        instance_market_options="spot",
        instance_initiated_shutdown_behavior=like.instance_initiated_shutdown_behavior,
    )
    made = reservation.instances[0]
    for interface in made.nics.values():
        interface.delete_on_termination = True
    return made


def _refuse_combinations(call: Call) -> None:
    if call.params.get(f"{MARKET}.MarketType") != "spot":
        return
    kind = call.params.get(f"{OPTIONS}.SpotInstanceType", "one-time")
    behaviour = call.params.get(f"{OPTIONS}.InstanceInterruptionBehavior", "terminate")
    # Seen: github.com/diux-dev/cluster/issues/27, github.com/ComputeCanada/magic_castle/pull/193
    if (kind == "persistent") != (behaviour in ("stop", "hibernate")):
        raise Refusal(
            "InvalidParameterCombination",
            f"The request with type '{kind}' is not supported when instanceInterruptionBehavior is set to "
            f"'{behaviour}'.",
        )


def _wrong_state(instance: Any, request: SpotRequest, verb: str) -> Refusal:
    # Seen: github.com/hashicorp/terraform-provider-aws/issues/33399
    return Refusal(
        "IncorrectSpotRequestState",
        f"You can't {verb} the Spot Instance '{instance.id}' because the associated Spot Instance request "
        f"'{request.id}' is not in an appropriate state: {request.state}, {request.status}.",
    )
