"""The region's own switches, from outside: its log of calls and its faults. Imports neither moto nor boto3."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from ..errors import GpuError, UsageError

ANSWER_LIMIT = 30.0
"""Seconds for an answer, beyond those that were asked to be waited."""


class Control:
    """One region, by its endpoint. Every method raises GpuError when nobody answers there."""

    def __init__(self, endpoint_url: str) -> None:
        self._endpoint = endpoint_url.rstrip("/")
        # A proxy of the environment must not stand between this computer and its own sandbox.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def calls(self, after: int = 0) -> list[dict[str, Any]]:
        """Each API request after number `after`: n, service, action, changes, outcome (None: under way), region, at."""
        found: list[dict[str, Any]] = self._ask("GET", f"/gpu/calls?after={after}")
        return found

    def faults(self) -> list[dict[str, Any]]:
        """Those that are active: id, name, times (None: until cleared), struck, and what narrows them."""
        found: list[dict[str, Any]] = self._ask("GET", "/gpu/faults")
        return found

    def set(self, name: str, **options: Any) -> dict[str, Any]:
        """Begin a fault: action, times, skip, zone, type, seconds, when. UsageError for what cannot be."""
        given = {key: value for key, value in options.items() if value is not None}
        made: dict[str, Any] = self._ask("POST", "/gpu/faults", {"name": name, **given})
        return made

    def clear(self, name: str | None = None) -> int:
        """End the faults of that name, or all; a call that is held goes on. Returns how many there were."""
        ended: dict[str, int] = self._ask(
            "DELETE", f"/gpu/faults/{urllib.parse.quote(name)}" if name else "/gpu/faults"
        )
        return ended["cleared"]

    def held(self, seconds: float) -> dict[str, Any] | None:
        """The entry of a call that is held now, waited for that long; None when none came."""
        found: dict[str, Any] | None = self._ask("GET", f"/gpu/held?seconds={seconds}", wait=seconds)
        return found

    def release(self) -> int:
        """Let every held call go on; the fault stays, and holds the next one. Returns how many were held."""
        let_go: dict[str, int] = self._ask("POST", "/gpu/release")
        return let_go["released"]

    def _ask(self, method: str, path: str, content: Any = None, *, wait: float = 0.0) -> Any:
        data = json.dumps(content).encode() if content is not None else None
        request = urllib.request.Request(f"{self._endpoint}{path}", data, method=method)
        request.add_header("Content-Type", "application/json")
        try:
            with self._opener.open(request, timeout=ANSWER_LIMIT + wait) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise UsageError(
                error.read().decode(errors="replace").strip().rstrip("."), "See: gpu sandbox fault"
            ) from error
        except OSError as error:
            raise GpuError("the sandbox's region does not answer", "Start it again with: gpu sandbox up") from error
