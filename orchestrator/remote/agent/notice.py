"""EC2's notice, two minutes ahead, that it takes a spot machine back: asked of the instance's metadata service.

«We recommend that you check for these interruption notices every 5 seconds.»
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

EVERY_SECONDS = 5.0
_SERVICE = "http://169.254.169.254"
_TOKEN_SECONDS = 21600
_ANSWER_SECONDS = 2.0
_UNAUTHORIZED = 401


def service() -> str:
    """The address of the metadata service; an emulated machine has one of its own, kept under $GPU_ROOT."""
    root = os.environ.get("GPU_ROOT")
    if not root:
        return _SERVICE
    try:
        return (Path(root) / "run/imds").read_text().strip()
    except OSError:
        return ""


class Notices:
    """Version 2 of the service: a token first, kept for as long as it is taken."""

    def __init__(self, base: str) -> None:
        self._base = base.rstrip("/")
        self._token = ""
        # The service is on the machine itself: never through a proxy that the environment names.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def look(self) -> dict[str, Any] | None:
        """`action` and `time` as EC2 gives them; None while there is none, or the service does not answer."""
        if not self._base:
            return None
        try:
            if not self._token:
                ttl = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_SECONDS)}
                self._token = self._ask("api/token", "PUT", ttl)
            found = json.loads(self._ask("meta-data/spot/instance-action", "GET", self._proof()))
        except urllib.error.HTTPError as error:
            if error.code == _UNAUTHORIZED:
                self._token = ""
            return None
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def _proof(self) -> dict[str, str]:
        return {"X-aws-ec2-metadata-token": self._token}

    def _ask(self, path: str, method: str, headers: dict[str, str]) -> str:
        request = urllib.request.Request(f"{self._base}/latest/{path}", headers=headers, method=method)
        with self._opener.open(request, timeout=_ANSWER_SECONDS) as answer:
            return str(answer.read(1 << 16).decode())
