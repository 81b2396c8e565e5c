"""What a machine depends on in an account and on this computer, looked at one by one. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, urlsplit

import botocore.session

from ...bounded import TooLong, within
from ...errors import GpuError, nearest
from ...settings import Home, Profile
from ..base import Finding
from . import clock
from .inspection import Inspection
from .session import Denied, Session, Throttled, Unanswered, in_words

SECONDS = 20.0
"""For one look."""


def examine(session: Session, profile: Profile, home: Home, kind: str) -> Iterator[Finding]:
    """From what everything else depends on to what depends on everything else."""
    basis, inspection, chain = Basis(session, profile), Inspection(session, profile, home, kind), Chain()
    yield _look("keys", inspection.keys)
    credentials = _look("credentials", basis.credentials)
    yield credentials
    yield chain.look("region name", basis.region_name)
    yield chain.look("network", basis.network)
    # A wrong clock is seen again in the identity, unless AWS tolerates it.
    yield chain.look("clock", basis.clock, needed=False)
    chain.need(credentials)
    yield chain.look("identity", basis.identity)
    yield chain.look("region", basis.region)
    for name, look in inspection.looks.items():
        yield chain.look(name, look, needed=False)


class Chain:
    """Looks of which some can be had only after others were good."""

    def __init__(self) -> None:
        self._broken = ""

    def look(self, name: str, look: Callable[[], str], *, needed: bool = True) -> Finding:
        if self._broken:
            return Finding(name, None, f"not looked at: first the {self._broken}")
        finding = _look(name, look)
        if needed:
            self.need(finding)
        return finding

    def need(self, finding: Finding) -> None:
        if not finding.good:
            self._broken = self._broken or finding.name


def _look(name: str, look: Callable[[], str]) -> Finding:
    """A refusal to say is no bad news: only what was seen is."""
    try:
        return Finding(name, True, within(SECONDS, look))
    except (TooLong, Denied, Unanswered, Throttled) as error:
        return Finding(name, None, error.what, error.remedy)
    except GpuError as error:
        return Finding(name, False, error.what, error.remedy)
    except OSError as error:
        return Finding(name, None, f"{error.filename or 'a file'}: {error.strerror}", "Check its owner and mode")


class Basis:
    """Without each of these the rest cannot be looked at."""

    def __init__(self, session: Session, profile: Profile) -> None:
        self._session = session
        self._profile = profile
        self._answer: clock.Answer | None = None

    @in_words
    def credentials(self) -> str:
        """Whether there are any, asked of nobody where they lie on this computer."""
        if self._profile.emulated:
            return "the sandbox takes any"
        # Signing is what needs them, and what says where they are missing.
        signed = self._session.sts.generate_presigned_url("get_caller_identity")
        key = parse_qs(urlsplit(signed).query)["X-Amz-Credential"][0].partition("/")[0]
        return f"the access key that ends with {key[-4:]}"

    def region_name(self) -> str:
        known = botocore.session.Session().get_available_regions("ec2")
        name = self._profile.region
        if name not in known:
            raise GpuError(
                f"AWS has no region {name}", f"Change `region` in the profile. {nearest(name, known)}".strip()
            )
        return name

    def network(self) -> str:
        url = str(self._session.sts.meta.endpoint_url)
        self._answer = clock.ask(url, direct=self._profile.emulated)
        return f"{url} answers in {self._answer.seconds * 1000:.0f} ms"

    def clock(self) -> str:
        assert self._answer is not None
        return clock.check(self._answer)

    @in_words
    def identity(self) -> str:
        identity = self._session.sts.get_caller_identity()
        return f"account {identity['Account']}, {identity['Arn']}"

    @in_words
    def region(self) -> str:
        name = self._profile.region
        found = self._session.ec2.describe_regions(AllRegions=True, RegionNames=[name])["Regions"]
        if not found or found[0].get("OptInStatus") == "not-opted-in":
            raise GpuError(
                f"the region {name} is not enabled for this account", "Enable it in the AWS console, under Account"
            )
        return f"{name} is enabled"
