"""What a machine depends on in an account and on this computer, looked at one by one. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import botocore.session

from ...bounded import TooLong, within
from ...errors import GpuError, nearest
from ...settings import Home, Profile
from ..base import Finding
from . import clock
from .inspection import Inspection
from .session import AwsError, Session, Throttled, Unanswered, in_words

SECONDS = 20.0
"""For one look."""
DENIED = ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException")


def examine(session: Session, profile: Profile, home: Home, kind: str) -> Iterator[Finding]:
    """From what everything else depends on to what depends on everything else."""
    inspection = Inspection(session, profile, home, kind)
    yield _look("keys", inspection.keys)
    hopeless = ""
    for name, look in Basis(session, profile).looks:
        finding = _skipped(name, hopeless) if hopeless else _look(name, look)
        yield finding
        # A wrong clock is seen again in the identity, unless AWS tolerates it.
        if not finding.good and not hopeless and name != "clock":
            hopeless = f"the {name} comes first"
    for name, look in inspection.looks.items():
        yield _skipped(name, hopeless) if hopeless else _look(name, look)


def _skipped(name: str, why: str) -> Finding:
    return Finding(name, None, f"not looked at: {why}")


def _look(name: str, look: Callable[[], str]) -> Finding:
    """A refusal to say is no bad news: only what was seen is."""
    try:
        return Finding(name, True, within(SECONDS, look))
    except (TooLong, Unanswered, Throttled) as error:
        return Finding(name, None, error.what, error.remedy)
    except GpuError as error:
        denied = isinstance(error, AwsError) and error.code in DENIED
        return Finding(name, None if denied else False, error.what, error.remedy)
    except OSError as error:
        return Finding(name, None, f"{error.filename or 'a file'}: {error.strerror}", "Check its owner and mode")


class Basis:
    """Without each of these the rest cannot be looked at."""

    def __init__(self, session: Session, profile: Profile) -> None:
        self._session = session
        self._profile = profile
        self._answer: clock.Answer | None = None

    @property
    def looks(self) -> tuple[tuple[str, Callable[[], str]], ...]:
        return (
            ("region name", self._region_name),
            ("network", self._network),
            ("clock", self._clock),
            ("identity", self._identity),
            ("region", self._region),
        )

    def _region_name(self) -> str:
        known = botocore.session.Session().get_available_regions("ec2")
        name = self._profile.region
        if name not in known:
            raise GpuError(
                f"AWS has no region {name}", f"Change `region` in the profile. {nearest(name, known)}".strip()
            )
        return name

    def _network(self) -> str:
        url = str(self._session.sts.meta.endpoint_url)
        self._answer = clock.ask(url, direct=self._profile.emulated)
        return f"{url} answers in {self._answer.seconds * 1000:.0f} ms"

    def _clock(self) -> str:
        assert self._answer is not None
        return clock.check(self._answer)

    @in_words
    def _identity(self) -> str:
        identity = self._session.sts.get_caller_identity()
        return f"account {identity['Account']}, {identity['Arn']}"

    @in_words
    def _region(self) -> str:
        name = self._profile.region
        found = self._session.ec2.describe_regions(AllRegions=True, RegionNames=[name])["Regions"]
        if not found or found[0].get("OptInStatus") == "not-opted-in":
            raise GpuError(
                f"the region {name} is not enabled for this account", "Enable it in the AWS console, under Account"
            )
        return f"{name} is enabled"
