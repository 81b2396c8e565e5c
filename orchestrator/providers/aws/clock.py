"""Whether AWS can be reached at all, and whether this computer's clock is right enough for it."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from ...errors import GpuError
from .session import Unanswered

TOLERATED = 240.0
"""Seconds. A signature is refused when its time is over five minutes away from AWS's.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html
"""
TIMEOUT = 8.0


@dataclass(frozen=True)
class Answer:
    url: str
    seconds: float
    """From the question to the answer."""
    skew: float | None
    """Seconds by which this computer is ahead; None where the answer has no date."""


def ask(url: str, *, direct: bool = False) -> Answer:
    """A question that needs no credentials; GpuError says why there is no answer. `direct`: through no proxy."""
    opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if direct else []))
    try:
        try:
            return _once(opener, url)
        except (urllib.error.URLError, ConnectionResetError) as error:
            # A server or a proxy that is busy drops a connection now and then; boto3 would try again, too.
            if not isinstance(getattr(error, "reason", error), ConnectionResetError):
                raise
            return _once(opener, url)
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = str(getattr(error, "reason", error)).rstrip(".")
        raise GpuError(f"{url} does not answer: {reason}", "Check the network and its proxy") from error


def _once(opener: urllib.request.OpenerDirector, url: str) -> Answer:
    began = time.time()
    try:
        with opener.open(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT) as answer:
            date = answer.headers["Date"]
    except urllib.error.HTTPError as error:
        date = error.headers["Date"]
    ended = time.time()
    return Answer(url, ended - began, _skew(date, (began + ended) / 2))


def _skew(date: str | None, now: float) -> float | None:
    try:
        return now - parsedate_to_datetime(date).timestamp() if date else None
    except (TypeError, ValueError):
        return None


def check(answer: Answer) -> str:
    """How far away the clock is, in words; GpuError where AWS would refuse what is signed by it."""
    if answer.skew is None:
        raise Unanswered(f"{answer.url} does not tell its time", "Look for a proxy in between")
    ahead = f"{abs(answer.skew):.0f} seconds {'ahead of' if answer.skew > 0 else 'behind'} AWS"
    if abs(answer.skew) > TOLERATED:
        raise GpuError(
            f"this computer's clock is {ahead}, and AWS refuses what it signs", "Set it: timedatectl set-ntp on"
        )
    return "right" if abs(answer.skew) < 2 else ahead
