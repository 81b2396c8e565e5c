"""What of ours there is in an account, in every region."""

from __future__ import annotations

from collections.abc import Iterator

from ..base import Item
from .session import Session


def audit(session: Session, owner: str) -> Iterator[Item]:
    raise NotImplementedError
