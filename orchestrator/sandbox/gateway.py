"""One WSGI layer around moto: what EC2 does and moto does not."""

from __future__ import annotations

import hashlib
import io
import urllib.parse
import uuid
from collections.abc import Callable, Iterable
from typing import Any
from xml.sax.saxutils import escape

from moto.ec2.models import ec2_backends

from .catalog import ACCOUNT
from .instances import CODES, Instances

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Wsgi = Callable[[Environ, StartResponse], Iterable[bytes]]

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


class Refusal(Exception):
    """An answer in EC2's own words: `code` and a sentence."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class Reply:
    """A whole answer, so that it can be given again."""

    def __init__(self, status: str, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def good(self) -> bool:
        return self.status.startswith("200")

    def give(self, start_response: StartResponse) -> Iterable[bytes]:
        start_response(self.status, self.headers)
        return [self.body]


class Gateway:
    """The application that the region serves. Faults, when there are any, wrap this one."""

    def __init__(self, moto: Wsgi, instances: Instances) -> None:
        self.moto = moto
        self.instances = instances
        self._tokens: dict[tuple[str, str], tuple[str, Reply]] = {}
        self._one_time_spot: set[str] = set()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("PATH_INFO") == "/checkip":
            return _plain(environ.get("REMOTE_ADDR", "") + "\n").give(start_response)
        params = _parameters(environ)
        if "Action" not in params or "/ec2/" not in environ.get("HTTP_AUTHORIZATION", ""):
            return self.moto(environ, start_response)
        # One request at a time: a token sent twice at once must find the first one's answer.
        with self.instances.lock:
            try:
                reply = self._ec2(environ, params)
            except Refusal as refusal:
                reply = _error(refusal)
        return reply.give(start_response)

    def _ec2(self, environ: Environ, params: dict[str, str]) -> Reply:
        token = params.get("ClientToken")
        if not token or params["Action"].startswith("Describe"):
            return self._act(environ, params)
        same = {name: value for name, value in params.items() if name != "ClientToken"}
        digest = hashlib.sha256(repr(sorted(same.items())).encode()).hexdigest()
        key = (params["Action"], token)
        if key in self._tokens:
            before, reply = self._tokens[key]
            if before != digest:
                raise Refusal(
                    "IdempotentParameterMismatch",
                    "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
                )
            return reply
        reply = self._act(environ, params)
        if reply.good:
            self._tokens[key] = digest, reply
        return reply

    def _act(self, environ: Environ, params: dict[str, str]) -> Reply:
        action = params["Action"]
        if action == "RunInstances":
            return self._run(environ, params)
        if action in TRANSITIONS and params.get("DryRun", "false") != "true":
            return self._change(environ, params)
        if action == "AssociateAddress":
            self._refuse_unready(params.get("InstanceId", ""))
        reply = self._forward(environ)
        if reply.good and action.startswith(("Delete", "Release")):
            self._forget_tags()
        return reply

    def _run(self, environ: Environ, params: dict[str, str]) -> Reply:
        before = {one.id for one in self.instances.all()}
        reply = self._forward(environ)
        if not reply.good:
            return reply
        for instance in list(self.instances.all()):
            if instance.id not in before:
                self.instances.set_state(instance, "pending")
                if not any(name.endswith(("NetworkInterfaceId", "DeleteOnTermination")) for name in params):
                    for interface in instance.nics.values():
                        interface.delete_on_termination = True
                spot = params.get("InstanceMarketOptions.MarketType") == "spot"
                if spot and params.get("InstanceMarketOptions.SpotOptions.SpotInstanceType") != "persistent":
                    self._one_time_spot.add(instance.id)
        body = reply.body.replace(b"<code>16</code><name>running</name>", b"<code>0</code><name>pending</name>")
        return Reply(reply.status, [h for h in reply.headers if h[0].lower() != "content-length"], body)

    def _change(self, environ: Environ, params: dict[str, str]) -> Reply:
        """Start, stop, reboot, terminate: refused as EC2 refuses, then done by moto, then made to last."""
        action = params["Action"]
        named = [self.instances.get(value) for name, value in params.items() if name.startswith("InstanceId")]
        if None in named:
            return self._forward(environ)
        before = [(one, one._state.name) for one in named if one is not None]
        for instance, state in before:
            self._refuse_impossible(action, instance, state)
        after = [(instance, TRANSITIONS[action][state]) for instance, state in before]
        if after == before and action != "RebootInstances":
            return _unchanged(action, before)
        reply = self._forward(environ)
        for (instance, state), (_, new) in zip(before, after, strict=True):
            if not reply.good or state == new:
                _put_back(instance, state)
            else:
                self.instances.set_state(instance, new)
            if reply.good and action == "RebootInstances":
                self.instances.reboot(instance.id)
        return reply

    def _refuse_impossible(self, action: str, instance: Any, state: str) -> None:
        if action == "StopInstances" and instance.id in self._one_time_spot:
            raise Refusal(
                "UnsupportedOperation",
                f"You can't stop the Spot Instance '{instance.id}' because it is associated with a one-time Spot "
                "Instance request. You can only stop Spot Instances associated with persistent Spot Instance requests.",
            )
        if state not in TRANSITIONS[action]:
            code = "IncorrectState" if action == "RebootInstances" else "IncorrectInstanceState"
            raise Refusal(code, f"The instance '{instance.id}' is not in a state from which it can be {VERBS[action]}.")

    def _refuse_unready(self, instance_id: str) -> None:
        instance = self.instances.get(instance_id)
        if instance is not None and instance._state.name not in ("running", "stopping", "stopped"):
            raise Refusal(
                "InvalidInstanceID",
                f"The {instance._state.name} instance '{instance_id}' is not in a valid state for this operation.",
            )

    def _forget_tags(self) -> None:
        """DescribeTags goes on listing what has been deleted; EC2 does not."""
        for backend in list(ec2_backends[ACCOUNT].values()):
            for kind, living in (("vol-", backend.volumes), ("vpc-", backend.vpcs), ("rtb-", backend.route_tables)):
                _keep_tags(backend.tags, kind, set(living))
            _keep_tags(backend.tags, "igw-", set(backend.internet_gateways))
            _keep_tags(backend.tags, "key-", {pair.id for pair in backend.key_pairs.values()})
            _keep_tags(backend.tags, "eipalloc-", {str(one.allocation_id) for one in backend.addresses})
            _keep_tags(backend.tags, "sg-", {one for groups in backend.groups.values() for one in groups})
            _keep_tags(backend.tags, "subnet-", {one for zone in backend.subnets.values() for one in zone})

    def _forward(self, environ: Environ) -> Reply:
        answer: dict[str, Any] = {}

        def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> Any:
            answer.update(status=status, headers=headers)
            return lambda _: None

        pieces = self.moto(environ, start_response)
        body = b"".join(pieces)
        if close := getattr(pieces, "close", None):
            close()
        return Reply(answer["status"], list(answer["headers"]), body)


def _parameters(environ: Environ) -> dict[str, str]:
    """The form of an AWS query; the body is put back for whoever comes next."""
    if not environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        return {}
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    return dict(urllib.parse.parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def _put_back(instance: Any, state: str) -> None:
    instance._state.name, instance._state.code = state, CODES[state]


def _keep_tags(tags: dict[str, Any], kind: str, living: set[str]) -> None:
    for gone in [one for one in tags if one.startswith(kind) and one not in living]:
        del tags[gone]


def _unchanged(action: str, states: list[tuple[Any, str]]) -> Reply:
    """The answer to a call that finds everything as it shall be: moto would go through the motions again."""
    items = "".join(
        f"<item><instanceId>{instance.id}</instanceId>"
        f"<currentState><code>{CODES[state]}</code><name>{state}</name></currentState>"
        f"<previousState><code>{CODES[state]}</code><name>{state}</name></previousState></item>"
        for instance, state in states
    )
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?><{action}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
        f"<requestId>{uuid.uuid4()}</requestId><instancesSet>{items}</instancesSet></{action}Response>"
    )
    return Reply("200 OK", [("Content-Type", "text/xml")], body.encode())


def _error(refusal: Refusal) -> Reply:
    body = (
        '<?xml version="1.0" encoding="UTF-8"?><Response><Errors><Error>'
        f"<Code>{refusal.code}</Code><Message>{escape(str(refusal))}</Message>"
        f"</Error></Errors><RequestID>{uuid.uuid4()}</RequestID></Response>"
    )
    return Reply("400 Bad Request", [("Content-Type", "text/xml")], body.encode())


def _plain(text: str) -> Reply:
    return Reply("200 OK", [("Content-Type", "text/plain")], text.encode())
