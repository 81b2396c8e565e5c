"""One WSGI layer around moto: what EC2 does and moto does not."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from moto.ec2.models import ec2_backends

from . import wsgi
from .catalog import ACCOUNT
from .instances import Instances
from .wsgi import Call, Environ, Handler, Refusal, Reply, StartResponse, Wsgi

_BREAKS = (NotImplementedError, LookupError, AttributeError, TypeError, ValueError)
"""What moto raises where it was not made for a request."""


class Gateway:
    """The application that the region serves; `handlers` know better than moto what their actions do."""

    def __init__(self, moto: Wsgi, instances: Instances, handlers: Mapping[str, Handler]) -> None:
        self.moto = moto
        self.instances = instances
        self.handlers = handlers
        self._tokens: dict[tuple[str, str, str], tuple[str, Reply]] = {}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        call = wsgi.read(environ)
        if call is None or call.service != "ec2":
            return self.moto(environ, start_response)
        # One request at a time: a token sent twice at once must find the first one's answer.
        with self.instances.lock:
            try:
                reply = self._once(environ, call)
            except Refusal as refusal:
                reply = wsgi.refused(refusal)
        return reply.give(start_response)

    def _once(self, environ: Environ, call: Call) -> Reply:
        """The same answer for the same token."""
        if call.params.get("DryRun") == "true":
            raise Refusal("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)
        token = call.params.get("ClientToken")
        if not token or not call.changes:
            return self._act(environ, call)
        same = {name: value for name, value in call.params.items() if name != "ClientToken"}
        digest = hashlib.sha256(repr(sorted(same.items())).encode()).hexdigest()
        key = (call.region, call.action, token)
        if key in self._tokens:
            before, reply = self._tokens[key]
            if before != digest:
                raise Refusal(
                    "IdempotentParameterMismatch",
                    "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
                )
            self._refuse_dead(reply)
            return reply
        reply = self._act(environ, call)
        if reply.good:
            self._tokens[key] = digest, reply
        return reply

    def _refuse_dead(self, reply: Reply) -> None:
        """A token is of no more use when its machine is gone: github.com/boto/boto3/issues/4406."""
        made = [
            self.instances.get(name.decode()) for name in re.findall(rb"<instanceId>([^<]+)</instanceId>", reply.body)
        ]
        if any(one is not None and one._state.name == "terminated" for one in made):
            raise Refusal(
                "IdempotentInstanceTerminated",
                "The client token you have provided is associated with a terminated instance. Please use a different "
                "client token.",
            )

    def _act(self, environ: Environ, call: Call) -> Reply:
        def forward() -> Reply:
            try:
                return wsgi.ask(self.moto, environ)
            except _BREAKS as error:
                raise _not_known(call) from error

        if call.action == "DescribeTags":
            _forget_tags()
        handler = self.handlers.get(call.action)
        return handler(call, forward) if handler else forward()


def _not_known(call: Call) -> Refusal:
    """Where moto breaks off: most often at a filter that it does not have."""
    names = [form.get("Name", "") for form in call.listed("Filter")]
    if names:
        return Refusal("InvalidParameterValue", f"The filter '{', '.join(names)}' is invalid")
    return Refusal("UnsupportedOperation", f"The sandbox has no {call.action} in this form")


def _forget_tags() -> None:
    """DescribeTags goes on listing what has been deleted; EC2 does not."""
    for backend in list(ec2_backends[ACCOUNT].values()):
        for kind, living in (("vol-", backend.volumes), ("vpc-", backend.vpcs), ("rtb-", backend.route_tables)):
            _keep_tags(backend.tags, kind, set(living))
        _keep_tags(backend.tags, "ami-", set(backend.amis))
        _keep_tags(backend.tags, "snap-", set(backend.snapshots))
        _keep_tags(backend.tags, "igw-", set(backend.internet_gateways))
        _keep_tags(backend.tags, "key-", {pair.id for pair in backend.key_pairs.values()})
        _keep_tags(backend.tags, "eipalloc-", {str(one.allocation_id) for one in backend.addresses})
        groups = {one: group for here in backend.groups.values() for one, group in here.items()}
        rules = [rule for group in groups.values() for rule in (*group.ingress_rules, *group.egress_rules)]
        _keep_tags(backend.tags, "sg-", set(groups))
        _keep_tags(backend.tags, "sgr-", {rule.id for rule in rules})
        _keep_tags(backend.tags, "eni-", set(backend.enis))
        _keep_tags(backend.tags, "subnet-", {one for zone in backend.subnets.values() for one in zone})


def _keep_tags(tags: dict[str, Any], kind: str, living: set[str]) -> None:
    for gone in [one for one in tags if one.startswith(kind) and one not in living]:
        del tags[gone]
