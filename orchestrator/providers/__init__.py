"""Who can have the machine: the one place where providers are known by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from ..errors import GpuError, nearest
from ..settings import Home, Profile
from .base import Provider


class Factory(Protocol):
    def __call__(
        self, profile: Profile, *, kind: str, home: Home, endpoint_url: str | None, say: Callable[[str], None]
    ) -> Provider: ...


def _aws(profile: Profile, *, kind: str, home: Home, endpoint_url: str | None, say: Callable[[str], None]) -> Provider:
    # Imported when it is needed: boto3 takes longer to load than `gpu --help` may.
    from .aws.provider import AwsProvider

    return AwsProvider.open(profile, kind=kind, home=home, endpoint_url=endpoint_url, say=say)


def _server(
    profile: Profile, *, kind: str, home: Home, endpoint_url: str | None, say: Callable[[str], None]
) -> Provider:
    del home, endpoint_url, say
    from .server import ServerProvider

    return ServerProvider.open(profile, kind=kind)


FACTORIES: Mapping[str, Factory] = {"aws": _aws, "server": _server}


def open_provider(
    profile: Profile, *, kind: str, home: Home, endpoint_url: str | None, say: Callable[[str], None]
) -> Provider:
    """The profile's machine of `kind`; GpuError for a provider that there is not."""
    factory = FACTORIES.get(profile.provider)
    if factory is None:
        raise GpuError(
            f"the profile {profile.name} names a provider {profile.provider}, which there is not",
            f"{nearest(profile.provider, FACTORIES)} The providers are: {', '.join(FACTORIES)}".strip(),
        )
    return factory(profile, kind=kind, home=home, endpoint_url=endpoint_url, say=say)
