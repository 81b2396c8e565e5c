"""What of ours there is anywhere, what it costs, and what would remove it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import NotOffered
from ..providers.base import Auditable, Item
from .desk import Desk


@dataclass(frozen=True)
class Report:
    items: tuple[Item, ...]
    per_month: float
    """US dollars for 730 hours as everything is now, without what has no known price."""
    unknown: int
    """How many things have no known price; regions that could not be looked at are among them."""
    orphans: int

    @property
    def profiles(self) -> list[str]:
        """Those that have things, by name."""
        return sorted({item.profile for item in self.items if item.profile})


def audit(desk: Desk) -> Report:
    """Every region is asked; NotOffered by a provider that has nothing but the machine itself."""
    provider = desk.provider()
    if not isinstance(provider, Auditable):
        raise NotOffered(
            f"the profile {desk.profile.name} has a machine of your own, and nothing else", "There is nothing to audit"
        )
    desk.reporter.line("asking every region of the account; this takes some seconds")
    return report(provider.audit())


def report(items: Iterable[Item]) -> Report:
    kept = tuple(items)
    prices = [item.per_month for item in kept if item.per_month is not None]
    return Report(kept, sum(prices), len(kept) - len(prices), sum(item.orphaned for item in kept))
