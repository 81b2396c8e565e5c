"""Who is calling, and from where: whose things are ours, and to whom the machine's door is open."""

from __future__ import annotations

import ipaddress
import re
import urllib.error
import urllib.request

from ...errors import GpuError
from .session import Session, in_words

CHECK_IP = "https://checkip.amazonaws.com"


def address(endpoint_url: str | None) -> str:
    """The caller's own network as the region sees it, a /32; GpuError where that cannot be told."""
    url = f"{endpoint_url.rstrip('/')}/checkip" if endpoint_url else CHECK_IP
    # The sandbox is on this computer: no proxy of the environment may come between.
    handlers = [urllib.request.ProxyHandler({})] if endpoint_url else []
    try:
        with urllib.request.build_opener(*handlers).open(url, timeout=10) as answer:
            text = answer.read(100).decode("ascii", "replace").strip()
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise GpuError(f"{url} does not tell this computer's address: {reason}", "Check the network") from error
    try:
        return f"{ipaddress.IPv4Address(text)}/32"
    except ValueError as error:
        raise GpuError(f"{url} answered {text[:60]!r}, which is no IPv4 address", "Check the network") from error


@in_words
def owner(session: Session) -> str:
    """`ACCOUNT/user/NAME`: the same on each call, whatever temporary session the credentials are of."""
    identity = session.sts.get_caller_identity()
    resource = re.sub(r"/botocore-session-\d+$", "", identity["Arn"].split(":", 5)[5])
    return f"{identity['Account']}/{resource}"
