"""Which images of a class are kept for validation, and which make the sample: pure functions of their names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Shares:
    """How a class is divided: `valid_share` of it, at most `valid_most`, and samples of so many images."""

    valid_share: float = 0.2
    valid_most: int = 1000
    sample_train: int = 100
    sample_valid: int = 25


def shuffled(names: Iterable[str], *salt: object) -> list[str]:
    """The names in an order that the salt alone decides, the same for every Python and every order given."""
    prefix = b"".join(_bytes(f"{part}\0") for part in salt)
    return sorted(names, key=lambda name: (hashlib.sha256(prefix + _bytes(name)).digest(), name))


def divided(names: Iterable[str], shares: Shares, *salt: object) -> tuple[list[str], list[str]]:
    """The names for train and for validation: both have at least one where there are two."""
    order = shuffled(names, *salt)
    held = min(shares.valid_most, int(len(order) * shares.valid_share + 1e-9))
    held = min(max(held, 1), len(order) - 1) if order else 0
    return sorted(order[held:]), sorted(order[:held])


def sampled(names: Iterable[str], most: int, *salt: object) -> list[str]:
    """A quarter of the names, at most `most`, but never fewer than eight where there are so many."""
    order = shuffled(names, *salt)
    return sorted(order[: min(most, max(8, len(order) // 4))])


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
