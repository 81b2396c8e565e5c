"""What of ours there is in an account, in every region, what it costs, and how it goes away."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ...errors import GpuError
from ..base import Item
from .session import Session, in_words
from .sights import LOOKS, Found, Look, state, tag

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

AT_ONCE = 8
"""Regions that are asked at the same time."""
GONE = ("terminated", "shutting-down", "cancelled", "closed", "failed", "deregistered")


def audit(session: Session, owner: str) -> Iterator[Item]:
    """Region by region, each in the order of removal; one that cannot be looked at is an item of its own."""
    names = regions(session)
    # Made here: boto3's sessions do not like to make clients in several threads at once.
    clients = [session.in_region(region) for region in names]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for items in pool.map(_whole_region, clients, names, repeat(owner)):
            yield from items


@in_words
def regions(session: Session) -> list[str]:
    """Those that are enabled for the account."""
    return sorted(region["RegionName"] for region in session.ec2.describe_regions()["Regions"])


def _whole_region(client: EC2Client, region: str, owner: str) -> list[Item]:
    try:
        return Region(client, region, owner).items()
    except GpuError as error:
        about = f"could not be looked at: {error}"
        return [Item(region, "region", region, profile="", about=about, per_month=None, removal="")]


class Region:
    """One region, seen through one owner's tag."""

    def __init__(self, client: EC2Client, name: str, owner: str) -> None:
        self._client = client
        self._name = name
        self._owner = owner

    @in_words
    def items(self) -> list[Item]:
        # One question first: in most regions there is nothing.
        tags = self._pages("describe_tags", "Tags", {"key": "gpu:owner", "value": self._owner})
        prefixes = {str(pair["ResourceId"]).partition("-")[0] for pair in tags}
        looks = [look for look in LOOKS if look.prefix in prefixes]
        found = Found(self._name, {look.resource: self._ask(look) for look in looks})
        return [self._item(look, thing, found) for look in looks for thing in found.things[look.resource]]

    def _ask(self, look: Look) -> list[Mapping[str, Any]]:
        answer = self._pages(look.method, look.answer, {"tag:gpu:owner": self._owner})
        things = [i for one in answer for i in one["Instances"]] if look.answer == "Reservations" else answer
        return sorted((one for one in things if state(one) not in GONE), key=lambda one: str(one[look.id]))

    def _pages(self, method: str, answer: str, filters: Mapping[str, str]) -> list[Any]:
        wanted = {"Filters": [{"Name": name, "Values": [value]} for name, value in filters.items()]}
        client: Any = self._client
        if not client.can_paginate(method):
            return list(getattr(client, method)(**wanted)[answer])
        return [thing for page in client.get_paginator(method).paginate(**wanted) for thing in page[answer]]

    def _item(self, look: Look, thing: Mapping[str, Any], found: Found) -> Item:
        sight = look.see(found, thing)
        return Item(
            self._name,
            look.resource,
            str(thing[look.id]),
            profile=tag(thing, "gpu:profile"),
            about=sight.about,
            per_month=sight.per_month,
            removal=" && ".join(self._line(words) for words in sight.remove),
            orphaned=sight.orphaned,
        )

    def _line(self, words: Sequence[str]) -> str:
        endpoint = self._client.meta.endpoint_url
        elsewhere = "amazonaws.com" not in (urlsplit(endpoint).hostname or "")
        where = ["--region", self._name, *(["--endpoint-url", endpoint] if elsewhere else [])]
        return shlex.join(["aws", "ec2", *words, *where])
