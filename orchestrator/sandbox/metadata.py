"""What an instance asks about itself: the metadata service, version 2, at `/imds/INSTANCE_ID` of the region.

On EC2 it is http://169.254.169.254 for every instance; here each has a base URL of its own.
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-v2-how-it-works.html
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable

from . import wsgi
from .instances import Instances
from .outside import Outside
from .wsgi import Environ, Reply, StartResponse

LONGEST = 21600
"""Seconds that a token may live."""


class Metadata:
    def __init__(self, instances: Instances, outside: Outside) -> None:
        self._instances = instances
        self._outside = outside
        self._tokens: dict[str, tuple[str, float]] = {}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        instance_id, _, path = environ.get("PATH_INFO", "").removeprefix("/imds/").partition("/")
        if path == "latest/api/token":
            reply = self._token(environ, instance_id)
        else:
            reply = self._look_up(environ, instance_id, path.removeprefix("latest/meta-data/"))
        return reply.give(start_response)

    def _token(self, environ: Environ, instance_id: str) -> Reply:
        if environ["REQUEST_METHOD"] != "PUT":
            return wsgi.plain("", 405)
        seconds = environ.get("HTTP_X_AWS_EC2_METADATA_TOKEN_TTL_SECONDS", "")
        if not seconds.isdigit() or not 1 <= int(seconds) <= LONGEST:
            return wsgi.plain("", 400)
        token = secrets.token_urlsafe(42)
        self._tokens[token] = instance_id, time.monotonic() + int(seconds)
        return wsgi.plain(token)

    def _look_up(self, environ: Environ, instance_id: str, path: str) -> Reply:
        owner, until = self._tokens.get(environ.get("HTTP_X_AWS_EC2_METADATA_TOKEN", ""), ("", 0.0))
        if owner != instance_id or time.monotonic() > until:
            return wsgi.plain("", 401)
        found = self._facts(instance_id).get(path)
        return wsgi.plain(found) if found is not None else wsgi.plain("", 404)

    def _facts(self, instance_id: str) -> dict[str, str]:
        with self._instances.lock:
            instance = self._instances.get(instance_id)
            if instance is None:
                return {}
            facts = {
                "instance-id": str(instance.id),
                "instance-type": str(instance.instance_type),
                "instance-life-cycle": str(instance.lifecycle or "on-demand"),
                "placement/availability-zone": str(instance.placement.zone),
                "placement/region": str(instance.region_name),
            }
        if notice := self._outside.notices.get(instance_id):
            at = f"{notice.at:%Y-%m-%dT%H:%M:%SZ}"
            facts["spot/instance-action"] = json.dumps({"action": notice.action, "time": at})
        return facts
