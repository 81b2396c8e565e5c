"""An instance's life as EC2 has it: made, started, stopped, rebooted, ended, and refused what cannot be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import wsgi
from .instances import CODES, Instances
from .wsgi import Call, Forward, Handler, Refusal, Reply

TRANSITIONS = {
    "StartInstances": {"stopped": "pending", "pending": "pending", "running": "running"},
    "StopInstances": {"running": "stopping", "stopping": "stopping", "stopped": "stopped"},
    "RebootInstances": {"running": "running"},
    "TerminateInstances": {
        **dict.fromkeys(("pending", "running", "stopping", "stopped", "shutting-down"), "shutting-down"),
        "terminated": "terminated",
    },
}
"""What each call makes of a state; a state that is not there is refused."""

VERBS = {"StartInstances": "started", "StopInstances": "stopped", "RebootInstances": "rebooted"}

Watcher = Callable[[Call, Any], None]
"""Told of each instance that a call is about."""


class Lifecycle:
    """`asked` may refuse a RunInstances and `before` a transition (with a Refusal); `made` and `changed` are told
    afterwards."""

    def __init__(self, instances: Instances) -> None:
        self._instances = instances
        self.asked: list[Callable[[Call], None]] = []
        self.before: list[Watcher] = []
        self.made: list[Watcher] = []
        self.changed: list[Watcher] = []

    def handlers(self) -> dict[str, Handler]:
        changes: dict[str, Handler] = dict.fromkeys(TRANSITIONS, self._change)
        return {**changes, "RunInstances": self._run, "AssociateAddress": self._associate}

    def _run(self, call: Call, forward: Forward) -> Reply:
        for check in self.asked:
            check(call)
        before = {one.id for one in self._instances.all()}
        reply = forward()
        if not reply.good:
            return reply
        for instance in [one for one in self._instances.all() if one.id not in before]:
            self._instances.set_state(instance, "pending")
            cards = call.listed("NetworkInterface")
            for interface in instance.nics.values():
                if not any("NetworkInterfaceId" in card or "DeleteOnTermination" in card for card in cards):
                    interface.delete_on_termination = True
                interface.add_tags(call.tags("network-interface"))
            for watcher in self.made:
                watcher(call, instance)
        return reply.replaced(
            reply.body.replace(b"<code>16</code><name>running</name>", b"<code>0</code><name>pending</name>")
        )

    def _change(self, call: Call, forward: Forward) -> Reply:
        """Start, stop, reboot, terminate: refused as EC2 refuses, then done by moto, then made to last."""
        named = [self._instances.get(value) for value in call.named("InstanceId")]
        if None in named:
            return forward()
        before = [(one, one._state.name) for one in named if one is not None]
        for instance, state in before:
            _refuse_impossible(call.action, instance, state)
            for watcher in self.before:
                watcher(call, instance)
        after = [(instance, TRANSITIONS[call.action][state]) for instance, state in before]
        if after == before and call.action != "RebootInstances":
            return _unchanged(call.action, before)
        reply = forward()
        for (instance, state), (_, new) in zip(before, after, strict=True):
            if not reply.good or state == new:
                instance._state.name, instance._state.code = state, CODES[state]
            else:
                self._instances.set_state(instance, new)
                for watcher in self.changed:
                    watcher(call, instance)
            if reply.good and call.action == "RebootInstances":
                self._instances.reboot(instance.id)
        return reply

    def _associate(self, call: Call, forward: Forward) -> Reply:
        instance = self._instances.get(call.params.get("InstanceId", ""))
        if instance is not None and instance._state.name not in ("running", "stopping", "stopped"):
            raise Refusal(
                "InvalidInstanceID",
                f"The {instance._state.name} instance '{instance.id}' is not in a valid state for this operation.",
            )
        return forward()


def _refuse_impossible(action: str, instance: Any, state: str) -> None:
    if state not in TRANSITIONS[action]:
        code = "IncorrectState" if action == "RebootInstances" else "IncorrectInstanceState"
        raise Refusal(code, f"The instance '{instance.id}' is not in a state from which it can be {VERBS[action]}.")


def _unchanged(action: str, states: list[tuple[Any, str]]) -> Reply:
    """The answer to a call that finds everything as it shall be: moto would go through the motions again."""
    items = "".join(
        f"<item><instanceId>{instance.id}</instanceId>"
        f"<currentState><code>{CODES[state]}</code><name>{state}</name></currentState>"
        f"<previousState><code>{CODES[state]}</code><name>{state}</name></previousState></item>"
        for instance, state in states
    )
    return wsgi.ec2_answer(action, f"<instancesSet>{items}</instancesSet>")
