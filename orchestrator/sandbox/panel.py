"""The region's own addresses beside EC2's: its log, its switches, and what an instance asks about itself."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterable

from . import wsgi
from .faults import Fault
from .striker import Strike, Striker
from .wsgi import Environ, Reply, StartResponse, Wsgi

HELD_LIMIT = 600.0
"""Seconds after which even a patient question for a held call is answered."""
AT_ONCE = ("terminate", "spot-notice")
"""Faults that strike when they are set, unless they wait for an action."""


class Panel:
    """The outermost application: `striker` and all that is inside answer what is not for the region itself."""

    def __init__(self, striker: Striker, strike: Strike, metadata: Wsgi) -> None:
        self._striker = striker
        self._strike = strike
        self._metadata = metadata

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path.startswith("/imds/"):
            return self._metadata(environ, start_response)
        if path == "/checkip":
            return wsgi.plain(environ.get("REMOTE_ADDR", "") + "\n").give(start_response)
        if not path.startswith("/gpu/"):
            return self._striker(environ, start_response)
        try:
            reply = self._answer(environ, environ["REQUEST_METHOD"], path.removeprefix("/gpu/").rstrip("/"))
        except ValueError as error:
            reply = wsgi.plain(f"{error}\n", 400)
        return reply.give(start_response)

    def _answer(self, environ: Environ, method: str, path: str) -> Reply:
        faults = self._striker.faults
        head, _, name = path.partition("/")
        query = dict(urllib.parse.parse_qsl(environ.get("QUERY_STRING", "")))
        if (method, path) == ("GET", "calls"):
            return wsgi.document(self._striker.log.after(int(query.get("after", 0))))
        if (method, path) == ("GET", "held"):
            return wsgi.document(self._striker.held(min(float(query.get("seconds", 0)), HELD_LIMIT)))
        if (method, path) == ("POST", "release"):
            return wsgi.document({"released": self._striker.release()})
        if (method, path) == ("GET", "faults"):
            return wsgi.document(faults.active())
        if (method, path) == ("POST", "faults"):
            return wsgi.document(self._set(faults.new(json.loads(wsgi.body(environ)))))
        if (method, head) == ("DELETE", "faults"):
            return wsgi.document({"cleared": faults.clear(name or None)})
        return wsgi.plain("there is no such page of the region\n", 404)

    def _set(self, fault: Fault) -> object:
        if fault.name not in AT_ONCE or fault.action is not None:
            self._striker.faults.add(fault)
            return fault.document()
        fault.struck, fault.times = self._strike(fault), 0
        if not fault.struck:
            raise ValueError(f"there is no instance for {fault.name} to strike")
        return fault.document()
