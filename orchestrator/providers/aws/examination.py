"""What a machine depends on in an account and on this computer, looked at one by one."""

from __future__ import annotations

from collections.abc import Iterator

from ...settings import Home, Profile
from ..base import Finding
from .session import Session


def examine(session: Session, profile: Profile, home: Home, kind: str) -> Iterator[Finding]:
    raise NotImplementedError
